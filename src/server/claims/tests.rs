use super::*;
use crate::api::Kind;
use crate::server::accounts::Accounts;
use crate::server::links::Options;
use crate::server::registry::testing::{Cluster as Registered, node, pod};
use crate::server::scheduler;
use crate::server::tokens::Tokens;
use smol::block_on;

/// A claims loop that is run by hand, with a scheduler beside it.
struct Harness {
    cluster: Registered,
    claims: Claims,
    executor: Executor,
    _scheduler: smol::Task<()>,
    folder: std::path::PathBuf,
}

impl Harness {
    fn new(name: &str) -> Self {
        let cluster = Registered::new(&format!("claims-{name}"));
        let folder = std::env::temp_dir().join(format!("midge-claims-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let executor = Executor::default();
        let registry = Arc::clone(&cluster.registry);
        let store = registry.store().clone();
        let tokens = Arc::new(Tokens::open(&folder, [0; 32], None, store.clone()).unwrap());
        let options = Options {
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            cluster_dns: String::new(),
            cluster_domain: String::new(),
        };
        let accounts = Arc::new(Accounts::open(&folder, Arc::clone(&registry), "cluster.local").unwrap());
        let links = Links::new(options, registry.clone(), store, tokens, accounts, executor.clone());
        let scheduler = scheduler::run(registry.clone(), Default::default(), &executor);
        let claims = Claims {
            registry,
            links,
            executor: executor.clone(),
            said: BTreeMap::new(),
            reclaims: Arc::default(),
        };
        Self { cluster, claims, executor, _scheduler: scheduler, folder }
    }

    /// Passes until `done` says so.
    fn until(&mut self, what: &str, done: impl Fn(&Registry) -> bool) {
        let (executor, claims) = (self.executor.clone(), &mut self.claims);
        block_on(executor.run(async {
            for _ in 0..500 {
                claims.pass().await.unwrap();
                if done(&claims.registry) {
                    return;
                }
                smol::Timer::after(Duration::from_millis(10)).await;
            }
            panic!("never: {what}");
        }));
    }

    fn create(&self, object: Value) -> Result<Object, Status> {
        block_on(self.executor.run(self.cluster.create(object)))
    }

    fn delete(&self, kind: &'static Kind, name: &str) {
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        block_on(self.executor.run(self.cluster.registry.delete(kind, "default", name, options))).unwrap();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn claim(name: &str, class: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn mounting(name: &str, claim: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    pod
}

fn phase(registry: &Registry, kind: &'static Kind, name: &str) -> String {
    registry
        .get(kind, "default", name)
        .map_or(String::new(), |object| object.str_at("/status/phase").to_owned())
}

#[test]
fn a_claim_gets_a_folder_where_its_pod_goes_and_keeps_the_pod_there() {
    let mut harness = Harness::new("local");
    for name in ["a", "b"] {
        let mut node = node(name);
        node["metadata"]["labels"] = json!({"kubernetes.io/hostname": name});
        harness.create(node).unwrap();
    }
    // Without a class: the default one.
    harness.create(claim("data", Value::Null)).unwrap();
    harness.until("it waits for its first consumer", |registry| {
        let claim = registry.get(PERSISTENT_VOLUME_CLAIM, "default", "data").unwrap();
        claim.str_at("/spec/storageClassName") == "local-path" && claim.str_at("/status/phase") == "Pending"
    });
    harness.create(mounting("web", "data")).unwrap();
    harness.until("the pod has a node", |registry| {
        !registry.get(POD, "default", "web").unwrap().str_at("/spec/nodeName").is_empty()
    });
    let registry = Arc::clone(&harness.cluster.registry);
    let bound = registry.get(PERSISTENT_VOLUME_CLAIM, "default", "data").unwrap();
    assert_eq!(bound.str_at("/status/phase"), "Bound");
    assert_eq!(bound.str_at("/status/capacity/storage"), "1Gi");
    let volume = bound.str_at("/spec/volumeName").to_owned();
    let here = registry.get(POD, "default", "web").unwrap().str_at("/spec/nodeName").to_owned();
    let made = registry.get(PERSISTENT_VOLUME, "", &volume).unwrap();
    assert_eq!(made.str_at("/spec/claimRef/uid"), bound.uid());
    assert_eq!(
        made.at("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values"),
        Some(&json!([here]))
    );

    // Another pod of the claim goes to the same node, though the other one is emptier.
    harness.create(mounting("second", "data")).unwrap();
    harness.until("the second has a node", |registry| {
        registry.get(POD, "default", "second").unwrap().str_at("/spec/nodeName") == here
    });

    // The claim stays while pods use it, and the data as long as the claim.
    block_on(registry.delete(PERSISTENT_VOLUME_CLAIM, "default", "data", DeleteOptions::default())).unwrap();
    harness.until("a pass", |_| true);
    assert!(registry.get(PERSISTENT_VOLUME_CLAIM, "default", "data").unwrap().deletion_timestamp().is_some());
    assert_eq!(phase(&registry, PERSISTENT_VOLUME, &volume), "Bound");
    harness.delete(POD, "web");
    harness.delete(POD, "second");
    harness.until("the volume waits for its node", |registry| {
        phase(registry, PERSISTENT_VOLUME, &volume) == "Released"
    });
    assert!(registry.get(PERSISTENT_VOLUME_CLAIM, "default", "data").is_err());
    // Without its node nobody is left to remove the data.
    harness.delete(NODE, &here);
    harness.until("the volume is gone", |registry| registry.get(PERSISTENT_VOLUME, "", &volume).is_err());
}

#[test]
fn volumes_that_are_there_are_bound_and_kept() {
    let mut harness = Harness::new("static");
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}, "storageClassName": "manual",
            "hostPath": {"path": "/srv/disk"},
        },
    });
    harness.create(volume).unwrap();
    harness.until("it is available", |registry| phase(registry, PERSISTENT_VOLUME, "disk") == "Available");
    harness.create(claim("one", "manual".into())).unwrap();
    harness.until("it is bound", |registry| phase(registry, PERSISTENT_VOLUME_CLAIM, "one") == "Bound");
    harness.create(claim("two", "manual".into())).unwrap();
    harness.until("a pass", |_| true);
    assert_eq!(phase(&harness.cluster.registry, PERSISTENT_VOLUME_CLAIM, "two"), "Pending");
    harness.delete(PERSISTENT_VOLUME_CLAIM, "one");
    // Retain: nobody else gets it, or its data.
    harness.until("it is released", |registry| phase(registry, PERSISTENT_VOLUME, "disk") == "Released");
    assert_eq!(phase(&harness.cluster.registry, PERSISTENT_VOLUME_CLAIM, "two"), "Pending");

    // A pod whose claim is not there waits, and says so.
    harness.create(node("a")).unwrap();
    harness.create(mounting("web", "none")).unwrap();
    harness.until("it is told why", |registry| {
        let pod = registry.get(POD, "default", "web").unwrap();
        pod.str_at("/status/conditions/0/message")
            == "0/1 nodes are available: persistentvolumeclaim \"none\" not found. \
                preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    });
}

#[test]
fn pods_that_share_a_claim_get_one_node() {
    let mut harness = Harness::new("shared");
    for name in ["a", "b"] {
        let mut node = node(name);
        node["metadata"]["labels"] = json!({"kubernetes.io/hostname": name});
        harness.create(node).unwrap();
    }
    harness.create(claim("data", LOCAL_PATH.into())).unwrap();
    harness.until("the class", |registry| registry.item(STORAGE_CLASS, "", LOCAL_PATH).is_ok());
    let registry = Arc::clone(&harness.cluster.registry);
    let prefix = PERSISTENT_VOLUME_CLAIM.prefix(None);
    let mut writes = registry.store().watch(&prefix, registry.store().revision()).unwrap();
    for name in ["a", "b"] {
        let mut pod = mounting(name, "data");
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": name});
        harness.create(pod).unwrap();
    }
    // Nobody makes the volume meanwhile: the scheduler is alone with what it has decided.
    let executor = harness.executor.clone();
    let why = |name: &str| {
        let pod = registry.get(POD, "default", name).unwrap();
        pod.str_at("/status/conditions/0/message").to_owned()
    };
    let count = executor.run(async {
        let mut count = 0;
        for _ in 0..400 {
            smol::Timer::after(Duration::from_millis(5)).await;
            while writes.try_next().unwrap().is_some() {
                count += 1;
            }
            if !why("b").is_empty() {
                break;
            }
        }
        // What would be written again has its turn.
        smol::Timer::after(Duration::from_millis(50)).await;
        while writes.try_next().unwrap().is_some() {
            count += 1;
        }
        count
    });
    assert_eq!(block_on(count), 1, "writes of the claim");
    assert_eq!(
        why("b"),
        "0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't match \
         Pod's node affinity/selector. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    harness.until("the first has its node", |registry| {
        registry.get(POD, "default", "a").unwrap().str_at("/spec/nodeName") == "a"
    });
}
