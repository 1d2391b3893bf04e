use std::time::Duration;

use super::*;
use crate::api::time;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A set with what there is of it, on which plans are carried out.
struct Sim {
    set: Object,
    pods: Vec<Object>,
    revisions: Vec<Object>,
    claims: Vec<Object>,
    uids: u32,
}

impl Sim {
    fn new(replicas: i64, spec: Value) -> Self {
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "default", "uid": "set", "generation": 1},
            "spec": {"replicas": replicas, "serviceName": "dbs", "selector": {"matchLabels": {"app": "db"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "containers": [{"name": "c", "image": "1"}],
                    "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}},
        });
        for (key, value) in spec.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        let set = Object::from_value(set).unwrap();
        Self { set, pods: Vec::new(), revisions: Vec::new(), claims: Vec::new(), uids: 0 }
    }

    fn plan(&self) -> Plan {
        let claims = |name: &str| self.claims.iter().find(|claim| claim.name() == name).cloned();
        plan(&self.set, self.pods.clone(), self.revisions.clone(), &claims, now())
    }

    fn list(&mut self, kind: &str) -> &mut Vec<Object> {
        match kind {
            "Pod" => &mut self.pods,
            "PersistentVolumeClaim" => &mut self.claims,
            _ => &mut self.revisions,
        }
    }

    /// Carries out a plan as a server does, and says what it was.
    fn step(&mut self) -> Vec<String> {
        let plan = self.plan();
        let mut said = Vec::new();
        for action in plan.actions {
            match action {
                Action::Create(mut one, _) => {
                    said.push(format!("+{}", one.name()));
                    assert!(
                        self.list(one.kind()).iter().all(|other| other.name() != one.name()),
                        "two of a name"
                    );
                    self.uids += 1;
                    one.set("/metadata/uid", self.uids.to_string());
                    if one.kind() == "Pod" {
                        one.set("/status/phase", "Pending");
                    }
                    self.list(one.kind()).push(one);
                }
                Action::Update(one, _) => {
                    said.push(format!("={}", one.name()));
                    let list = self.list(one.kind());
                    list.retain(|other| other.name() != one.name());
                    list.push(one);
                }
                Action::Delete(one, _) => {
                    said.push(format!("-{}", one.name()));
                    match one.kind() {
                        "Pod" => {
                            let pod = self.pods.iter_mut().find(|pod| pod.name() == one.name()).unwrap();
                            pod.set("/metadata/deletionTimestamp", time::format(now()));
                        }
                        kind => self.list(kind).retain(|other| other.name() != one.name()),
                    }
                }
                Action::Event { .. } => {}
            }
        }
        if let Some(status) = plan.status {
            self.set.set("/status", status);
        }
        said.retain(|said| !said[1..].starts_with("db-") || ordinal("db", &said[1..]).is_some());
        said
    }

    fn pod(&mut self, ordinal: i64) -> &mut Object {
        let name = format!("db-{ordinal}");
        self.pods.iter_mut().find(|pod| pod.name() == name).unwrap()
    }

    fn ready(&mut self, ordinal: i64) {
        ready(self.pod(ordinal));
    }

    fn gone(&mut self, ordinal: i64) {
        let name = format!("db-{ordinal}");
        self.pods.retain(|pod| pod.name() != name);
    }

    fn number(&self, name: &str) -> i64 {
        self.set.i64_at(&format!("/status/{name}")).unwrap_or(0)
    }

    /// Lets all pods start, and those that leave go, until nothing is planned.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.pods.retain(|pod| pod.deletion_timestamp().is_none());
            self.pods.iter_mut().filter(|pod| !pods::has_ended(pod)).for_each(ready);
            let plan = self.plan();
            if plan.actions.is_empty() && plan.status.is_none() {
                return;
            }
            self.step();
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    fn images(&self) -> Vec<(i64, String)> {
        let mut images: Vec<_> = self
            .pods
            .iter()
            .map(|pod| {
                (ordinal("db", pod.name()).unwrap(), pod.str_at("/spec/containers/0/image").to_owned())
            })
            .collect();
        images.sort();
        images
    }
}

fn ready(pod: &mut Object) {
    pod.set("/status/phase", "Running");
    let since = time::format(now() - Duration::from_secs(60));
    pod.set("/status/conditions", json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]));
}

#[test]
fn pods_come_in_order_with_names_and_claims() {
    let mut sim = Sim::new(2, json!({"ordinals": {"start": 5}}));
    assert_eq!(sim.step(), ["+data-db-5", "+db-5"]);
    assert!(sim.step().is_empty());
    let pod = sim.pod(5).clone();
    let revision = sim.revisions[0].name().to_owned();
    assert_eq!(pod.label(POD_NAME), Some("db-5"));
    assert_eq!(pod.label(POD_INDEX), Some("5"));
    assert_eq!(pod.label(HASH), Some(revision.as_str()));
    assert_eq!((pod.str_at("/spec/hostname"), pod.str_at("/spec/subdomain")), ("db-5", "dbs"));
    assert_eq!(
        pod.at("/spec/volumes").unwrap(),
        &json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-5"}}, {"name": "tmp", "emptyDir": {}}])
    );
    assert_eq!(sim.claims[0].label("app"), Some("db"));
    sim.ready(5);
    assert_eq!(sim.step(), ["+data-db-6", "+db-6"]);
    sim.ready(6);
    sim.step();
    let status = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "currentReplicas": 2, "updatedReplicas": 2, "collisionCount": 0,
        "currentRevision": revision, "updateRevision": revision});
    assert_eq!(sim.set.at("/status"), Some(&status));
    assert_eq!(sim.plan(), Plan::default());
}

#[test]
fn parallel_pods_come_and_go_at_once() {
    let mut sim = Sim::new(3, json!({"podManagementPolicy": "Parallel", "volumeClaimTemplates": []}));
    assert_eq!(sim.step(), ["+db-0", "+db-1", "+db-2"]);
    sim.set.set("/spec/replicas", 0);
    assert_eq!(sim.step(), ["-db-2", "-db-1", "-db-0"]);
}

#[test]
fn one_that_leaves_is_not_replaced_before_it_is_gone() {
    for policy in ["OrderedReady", "Parallel"] {
        let mut sim = Sim::new(1, json!({"podManagementPolicy": policy}));
        sim.settle();
        sim.pod(0).set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
        assert!(sim.step().is_empty());
        // Its node is away: nobody knows whether it runs.
        sim.pod(0).set("/status/phase", "Unknown");
        assert!(sim.step().is_empty());
        sim.gone(0);
        assert_eq!(sim.step(), ["+db-0"], "its claim is there still");
    }
}

#[test]
fn one_that_ended_is_made_again() {
    let mut sim = Sim::new(2, json!({}));
    sim.settle();
    sim.pod(0).set("/status/phase", "Succeeded");
    assert_eq!(sim.step(), ["-db-0"]);
    assert!(sim.step().is_empty());
    sim.gone(0);
    assert_eq!(sim.step(), ["+db-0"]);
}

#[test]
fn scaling_down_ends_the_last_first_and_one_at_a_time() {
    let mut sim = Sim::new(3, json!({"volumeClaimTemplates": []}));
    sim.settle();
    sim.set.set("/spec/replicas", 1);
    assert_eq!(sim.step(), ["-db-2"]);
    assert!(sim.step().is_empty());
    sim.gone(2);
    assert_eq!(sim.step(), ["-db-1"]);
}

#[test]
fn updates_go_from_the_last_to_the_partition() {
    let mut sim =
        Sim::new(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}));
    sim.settle();
    sim.set.set("/spec/template/spec/containers/0/image", "2");
    assert_eq!(sim.step(), ["-db-2"]);
    sim.gone(2);
    assert_eq!(sim.step(), ["+db-2"]);
    assert!(sim.step().is_empty());
    sim.ready(2);
    assert_eq!(sim.step(), ["-db-1"]);
    sim.gone(1);
    sim.settle();
    let images = |sim: &Sim| sim.images().into_iter().map(|(_, image)| image).collect::<Vec<_>>();
    assert_eq!(images(&sim), ["1", "2", "2"]);
    assert_ne!(sim.set.str_at("/status/currentRevision"), sim.set.str_at("/status/updateRevision"));
    assert_eq!((sim.number("currentReplicas"), sim.number("updatedReplicas")), (1, 2));
    // What is under the partition comes back as it was.
    sim.gone(0);
    sim.settle();
    assert_eq!(images(&sim), ["1", "2", "2"]);
    sim.set.set("/spec/updateStrategy/rollingUpdate/partition", 0);
    sim.settle();
    assert_eq!(images(&sim), ["2", "2", "2"]);
    assert_eq!(sim.set.str_at("/status/currentRevision"), sim.set.str_at("/status/updateRevision"));
    // Back to the first revision.
    sim.set.set("/spec/template/spec/containers/0/image", "1");
    sim.settle();
    assert_eq!(images(&sim), ["1", "1", "1"]);
    assert_eq!(sim.revisions.len(), 2);
}

#[test]
fn pods_on_delete_are_updated_by_their_deletion() {
    let mut sim = Sim::new(2, json!({"updateStrategy": {"type": "OnDelete"}}));
    sim.settle();
    sim.set.set("/spec/template/spec/containers/0/image", "2");
    sim.settle();
    assert_eq!(sim.images(), [(0, "1".to_owned()), (1, "1".to_owned())]);
    sim.gone(0);
    sim.settle();
    assert_eq!(sim.images(), [(0, "2".to_owned()), (1, "1".to_owned())]);
}

#[test]
fn a_pod_counts_once_it_is_ready_for_long_enough() {
    let mut sim = Sim::new(2, json!({"minReadySeconds": 100}));
    sim.step();
    sim.ready(0);
    assert!(sim.step().is_empty());
    assert_eq!((sim.number("readyReplicas"), sim.number("availableReplicas")), (1, 0));
    assert_eq!(sim.plan().again, Some(now() + Duration::from_secs(40)));
}

#[test]
fn claims_go_with_what_the_policy_says() {
    let owner = |sim: &Sim, name: &str| {
        let claim = sim.claims.iter().find(|claim| claim.name() == name).unwrap();
        claim
            .array_at("/metadata/ownerReferences")
            .iter()
            .map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // (whenDeleted, whenScaled, whose the claims are, whose that of one that is too much)
    for (deleted, scaled, before, after) in [
        ("Retain", "Retain", vec![], vec![]),
        ("Delete", "Retain", vec!["StatefulSet"], vec!["StatefulSet"]),
        ("Retain", "Delete", vec![], vec!["Pod"]),
        ("Delete", "Delete", vec!["StatefulSet"], vec!["Pod"]),
    ] {
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        let mut sim = Sim::new(2, json!({"persistentVolumeClaimRetentionPolicy": policy}));
        sim.settle();
        assert_eq!([owner(&sim, "data-db-0"), owner(&sim, "data-db-1")], [before.clone(), before.clone()]);
        sim.set.set("/spec/replicas", 1);
        sim.step();
        assert_eq!([owner(&sim, "data-db-0"), owner(&sim, "data-db-1")], [before, after]);
    }
}

#[test]
fn no_pod_is_made_with_a_claim_that_goes() {
    let mut sim = Sim::new(1, json!({}));
    sim.settle();
    sim.gone(0);
    sim.claims[0].set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
    assert!(sim.step().is_empty());
    sim.claims.clear();
    assert_eq!(sim.step(), ["+data-db-0", "+db-0"]);
    assert!(
        is_claim(&sim.set, "data-db-0")
            && !is_claim(&sim.set, "data-db-x")
            && !is_claim(&sim.set, "other-db-0")
    );
}

#[test]
fn events_are_in_upstreams_words() {
    let sim = Sim::new(1, json!({}));
    let told: Vec<_> = sim
        .plan()
        .actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Create(_, Told::Events { done, failed }) => Some((done, failed)),
            _ => None,
        })
        .collect();
    let expected = [
        (
            "create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: {}",
        ),
        (
            "create Pod db-0 in StatefulSet db successful",
            "create Pod db-0 in StatefulSet db failed error: {}",
        ),
    ];
    assert_eq!(told, expected.map(|(done, failed)| (done.to_owned(), failed.to_owned())));
}

/// Whatever happens to pods and set: no pod is made while one before it is not ready, no more than one is ended at a
/// time by an update, and left alone it all comes to rest as asked for.
#[test]
fn random_sequences_keep_the_order_and_come_to_rest() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..150 {
        let ordered = round % 3 != 0;
        let policy = if ordered { "OrderedReady" } else { "Parallel" };
        let mut sim = Sim::new(4, json!({"podManagementPolicy": policy}));
        for _ in 0..40 {
            let index = random(6) as usize;
            match (random(7), sim.pods.get_mut(index)) {
                (0, Some(pod)) if pod.deletion_timestamp().is_none() => pod.set("/status/phase", "Failed"),
                (1, Some(pod)) => pod.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z"),
                (2, Some(pod)) if pod.deletion_timestamp().is_some() => drop(sim.pods.remove(index)),
                (3, _) => sim.set.set("/spec/replicas", random(6)),
                (4, _) => sim.set.set("/spec/template/spec/containers/0/image", random(3).to_string()),
                (5, Some(pod)) if is_ready(pod) => pod.set("/status/conditions", json!([])),
                (_, Some(pod)) if !pods::has_ended(pod) => ready(pod),
                _ => {}
            }
            let before = sim.pods.clone();
            let actions = sim.step();
            for said in actions.iter().filter(|said| ordered && said.starts_with('+')) {
                let Some(at) = ordinal("db", &said[1..]) else { continue };
                for earlier in 0..at {
                    let pod = before.iter().find(|pod| ordinal("db", pod.name()) == Some(earlier));
                    assert!(
                        pod.is_some_and(|pod| is_ready(pod) && pod.deletion_timestamp().is_none()),
                        "{said} before {earlier}"
                    );
                }
            }
            let pods =
                actions.iter().filter(|said| ordinal("db", &said[1..]).is_some() && !said.starts_with('='));
            assert!(!ordered || pods.count() <= 1, "{actions:?}");
        }
        sim.settle();
        let image = sim.set.str_at("/spec/template/spec/containers/0/image").to_owned();
        let wanted = sim.set.i64_at("/spec/replicas").unwrap();
        assert_eq!(sim.images(), (0..wanted).map(|ordinal| (ordinal, image.clone())).collect::<Vec<_>>());
    }
}
