use std::fs;

use serde_json::json;
use smol::block_on;

use super::*;
use crate::api::kinds::CONFIG_MAP;
use crate::server::registry::testing::Cluster;

struct Folder {
    cluster: Cluster,
    manifests: Loop,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midge-manifests-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        let cluster = Cluster::new(&format!("manifests-{name}"));
        let manifests = Loop::new(path, cluster.registry.clone());
        Self { cluster, manifests }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.manifests.folder.join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.manifests.folder.join(name)).unwrap();
    }

    /// Looks so many times; returns what failed in the last look, and the config maps that are there then.
    fn look(&mut self, times: usize) -> (usize, String) {
        let mut failures = BTreeSet::new();
        for _ in 0..times {
            failures = block_on(self.manifests.pass());
        }
        let maps = ["a", "b", "c", "copy"];
        let is_there = |name: &&str| self.cluster.registry.item(CONFIG_MAP, "default", name).is_ok();
        (failures.len(), maps.into_iter().filter(is_there).collect::<Vec<_>>().join(" "))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.manifests.folder));
    }
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn only_what_was_applied_and_is_missed_twice_is_removed() {
    let mut folder = Folder::new("removed");
    folder.write("a.yaml", map("a"));
    folder.write("b.yaml", format!("{}---\n{}", map("b"), map("c")));
    // Of somebody else, who copied the annotation with the rest.
    let copy = json!({"name": "copy", "namespace": "default", "annotations": {ANNOTATION: "b.yaml"}});
    block_on(folder.cluster.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": copy})))
        .unwrap();
    assert_eq!(folder.look(2), (0, "a b c copy".to_owned()));
    folder.write("b.yaml", map("b"));
    assert_eq!(folder.look(1), (0, "a b c copy".to_owned()), "the file may be half written");
    assert_eq!(folder.look(1), (0, "a b copy".to_owned()));
    folder.remove("b.yaml");
    assert_eq!(folder.look(1), (0, "a b copy".to_owned()));
    folder.write("b.yaml", map("b"));
    assert_eq!(folder.look(3), (0, "a b copy".to_owned()), "it came back");
    folder.remove("b.yaml");
    assert_eq!(folder.look(2), (0, "a copy".to_owned()));
}

#[test]
fn what_says_nothing_removes_nothing() {
    let mut folder = Folder::new("kept");
    for name in ["a", "b", "c"] {
        folder.write(&format!("{name}.yaml"), map(name));
    }
    assert_eq!(folder.look(1), (0, "a b c".to_owned()));
    folder.write("a.yaml", "");
    folder.write("b.yaml", [0xff, 0xfe]);
    folder.write("c.yaml", map("c").replace("Config", "Gadget"));
    assert_eq!(folder.look(3), (3, "a b c".to_owned()));
    let path = folder.manifests.folder.clone();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    assert_eq!(folder.look(3), (1, "a b c".to_owned()));
    // A disk that is not mounted yet.
    fs::create_dir(&path).unwrap();
    folder.manifests = Loop::new(path.clone(), folder.cluster.registry.clone());
    assert_eq!(folder.look(3), (0, "a b c".to_owned()));
    fs::remove_dir_all(&aside).unwrap();
}

#[test]
fn what_may_not_be_removed_is_tried_once() {
    let mut folder = Folder::new("refused");
    folder.write("a.yaml", map("a"));
    folder.write("system.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}\n");
    assert_eq!(folder.look(1).0, 0);
    folder.remove("system.yaml");
    assert_eq!(folder.look(2).0, 0);
    let told: Vec<&String> = folder.manifests.refused.values().collect();
    assert!(told.len() == 1 && told[0].contains("kube-system"), "{told:?}");
    assert_eq!(folder.look(2).0, 0);
    assert!(folder.manifests.missed.is_empty(), "nothing to come back for");
}
