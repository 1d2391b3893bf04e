use super::*;
use crate::agent::configs::{Kind, Pending};
use crate::agent::wake::Wake;
use serde_json::json;
use smol::future::block_on;

/// Volumes in a folder of the test's own, whose mounts go with it.
struct Node {
    volumes: Volumes,
    folder: PathBuf,
}

impl Node {
    fn new(name: &str) -> Node {
        let folder = std::env::temp_dir().join(format!("midge-volumes-{name}-{}", std::process::id()));
        let configs = Configs::new(folder.join("configs"));
        let volumes = Volumes::new(
            configs,
            folder.join("pods"),
            folder.join("storage"),
            Evictions::new(Wake::default()),
            Tokens::default(),
            Resources::default(),
        );
        Node { volumes, folder }
    }

    fn say(&self, kind: Kind, name: &str, data: Value) {
        let mut pending = Pending::default();
        pending.put(kind, "default", name, json!({ "data": data }).to_string().into_bytes());
        assert!(block_on(self.volumes.configs.apply(pending)));
    }

    fn path(&self, volume: &str) -> PathBuf {
        self.folder.join("pods/u-1/volumes").join(volume)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        assert_eq!(unmount_all(&self.folder).len(), 0);
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn pod(spec: Value) -> Object {
    let metadata = json!({"uid": "u-1", "name": "web", "namespace": "default", "labels": {"a": "1"}});
    Object::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

#[test]
fn volumes_are_set_up_once_and_kept_up_to_date() {
    let node = Node::new("life");
    let pod = pod(json!({
        "securityContext": {"fsGroup": 4321},
        "volumes": [
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "map", "configMap": {"name": "map"}},
            {"name": "secret", "secret": {"secretName": "secret"}},
            {"name": "self", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ],
    }));
    let set_up = || block_on(node.volumes.set_up(&pod));
    let error = set_up().unwrap_err().to_string();
    assert_eq!(error, "MountVolume.SetUp failed for volume \"map\" : configmap \"map\" not found");
    node.say(Kind::ConfigMap, "map", json!({"key": "one"}));
    node.say(Kind::Secret, "secret", json!({"key": "cHN0"}));
    set_up().unwrap();

    let found = |path: &str| node.folder.join("pods/u-1/volumes").join(path).metadata().unwrap();
    for (volume, in_memory) in
        [("disk", false), ("memory", true), ("map", false), ("secret", true), ("self", true)]
    {
        assert_eq!(is_mounted(&node.path(volume)).unwrap(), in_memory, "{volume}");
        assert_eq!((found(volume).mode() & 0o7777, found(volume).gid()), (0o2777, 4321), "{volume}");
    }
    let read = |path: &str| fs::read_to_string(node.folder.join("pods/u-1/volumes").join(path)).unwrap();
    assert_eq!(
        (read("map/key"), read("secret/key"), read("self/labels")),
        ("one".into(), "pst".into(), "a=\"1\"".into())
    );
    assert_eq!(found("secret/key").gid(), 4321);
    assert!(fs::write(node.path("memory").join("big"), vec![0; 2 << 20]).is_err(), "1 MiB is the limit");

    // What a container did stays; what the objects say comes.
    fs::write(node.path("disk").join("file"), "kept").unwrap();
    fs::set_permissions(node.path("disk"), fs::Permissions::from_mode(0o700)).unwrap();
    node.say(Kind::ConfigMap, "map", json!({"key": "two", "more": ""}));
    block_on(node.volumes.refresh(&pod));
    assert_eq!(
        (read("map/key"), read("map/more"), read("disk/file")),
        ("two".into(), "".into(), "kept".into())
    );
    set_up().unwrap();
    assert_eq!(found("disk").mode() & 0o7777, 0o700);

    // One that goes leaves what is there.
    let mut pending = Pending::default();
    pending.begin();
    pending.end();
    assert!(block_on(node.volumes.configs.apply(pending)));
    block_on(node.volumes.refresh(&pod));
    set_up().unwrap();
    assert_eq!((read("map/key"), read("secret/key")), ("two".into(), "pst".into()));

    // After a reboot nothing is mounted, and what is on disk is still there.
    block_on(node.volumes.tear_down("u-1")).unwrap();
    block_on(node.volumes.refresh(&pod));
    assert!(!node.path("secret").join("key").exists());
    assert!(set_up().unwrap_err().to_string().contains("secret \"secret\" not found"));
    node.say(Kind::Secret, "secret", json!({"key": "cHN0"}));
    set_up().unwrap();
    assert_eq!((read("secret/key"), read("disk/file")), ("pst".into(), "kept".into()));
    block_on(node.volumes.tear_down("u-1")).unwrap();
    assert_eq!(mount::below(&node.folder.canonicalize().unwrap()).unwrap(), [] as [PathBuf; 0]);
}

#[test]
fn a_sub_path_is_bound_and_leads_nowhere_else() {
    let node = Node::new("subpath");
    let pod = pod(
        json!({"volumes": [{"name": "data", "emptyDir": {}}, {"name": "map", "configMap": {"name": "map"}}]}),
    );
    node.say(Kind::ConfigMap, "map", json!({"key": "one"}));
    block_on(node.volumes.set_up(&pod)).unwrap();
    std::os::unix::fs::symlink("/etc", node.path("data").join("out")).unwrap();
    let mount = |name: &str, path: &str| {
        let container =
            json!({"name": "main", "volumeMounts": [{"name": name, "mountPath": "/x", "subPath": path}]});
        let mounts = block_on(node.volumes.mounts(&pod, &container, &[]));
        mounts.map(|mounts| mounts[0].source.clone())
    };
    let error = mount("data", "out/ssh").unwrap_err();
    assert_eq!(
        chain(&error),
        "failed to prepare subPath for volumeMount \"data\" of container \"main\": the path leads out of the volume"
    );
    let source = mount("data", "a/b").unwrap();
    fs::write(source.join("file"), "x").unwrap();
    assert!(node.path("data").join("a/b/file").exists());
    assert_eq!(node.path("data").join("a/b").metadata().unwrap().mode() & 0o7777, 0o777);
    assert_eq!(mount("data", "a/b").unwrap(), source);

    // A file; after a change the next start of the container sees the new one.
    let source = mount("map", "key").unwrap();
    assert_eq!(fs::read_to_string(&source).unwrap(), "one");
    node.say(Kind::ConfigMap, "map", json!({"key": "two"}));
    block_on(node.volumes.refresh(&pod));
    assert_eq!(fs::read_to_string(&source).unwrap(), "one");
    assert_eq!(fs::read_to_string(mount("map", "key").unwrap()).unwrap(), "two");
    block_on(node.volumes.tear_down("u-1")).unwrap();
}

#[test]
fn a_huge_pages_size_is_what_is_asked_for() {
    let of = |medium: &str, requests: Value| {
        let containers = json!([{"name": "a"}, {"name": "b", "resources": {"requests": requests}}]);
        page_size(&Object::from_value(json!({"spec": {"containers": containers}})).unwrap(), medium)
    };
    let one = json!({"cpu": "1", "hugepages-2Mi": "4Mi"});
    let two = json!({"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"});
    assert_eq!(of("HugePages", one.clone()), Ok(2 << 20));
    assert_eq!(of("HugePages-1Gi", two.clone()), Ok(1 << 30));
    let refused = of("HugePages", two).unwrap_err();
    assert_eq!(refused, "medium: HugePages can't be used if container requests multiple huge page sizes");
    for medium in ["HugePages-1Gi", "HugePages-x"] {
        let refused = of(medium, one.clone()).unwrap_err();
        assert!(refused.ends_with("there is no resource request for huge pages"), "{refused}");
    }
}
