use std::time::{Duration, Instant};

use futures_lite::future;
use serde_json::{Value, json};
use smol::block_on;

use super::*;
use crate::api::kinds::{CONFIG_MAP, EVENT, SECRET};
use crate::server::registry::testing::Cluster;
use crate::server::registry::{Change, DeleteOptions, WriteOptions};

impl Cluster {
    /// A config map; each owner is one of the same, and `+` says that it waits for this one.
    fn map(&self, name: &str, owners: &[(&Object, bool)]) -> Object {
        self.map_in("default", name, owners)
    }

    fn map_in(&self, namespace: &str, name: &str, owners: &[(&Object, bool)]) -> Object {
        let owners: Vec<Value> = owners
            .iter()
            .map(|(owner, blocks)| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name(), "uid": owner.uid(),
                       "blockOwnerDeletion": blocks})
            })
            .collect();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}});
        block_on(self.create(object)).unwrap()
    }

    fn remove(&self, name: &str, propagation: Option<Propagation>) {
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        block_on(self.registry.delete(CONFIG_MAP, "default", name, options)).unwrap();
    }

    fn maps(&self) -> String {
        let list = self.registry.all(CONFIG_MAP, None).unwrap();
        let names: Vec<String> =
            list.items.iter().map(|item| item.object().unwrap().name().to_owned()).collect();
        names.join(" ")
    }

    /// Lets the collector work until `done`.
    fn collect_until(&self, done: impl Fn() -> bool) {
        let executor = Executor::default();
        let task = run(self.registry.clone(), &executor);
        let deadline = Instant::now() + Duration::from_secs(20);
        let waiting = async {
            while !done() {
                assert!(Instant::now() < deadline, "left: {}", self.maps());
                smol::Timer::after(Duration::from_millis(5)).await;
            }
        };
        block_on(future::or(waiting, executor.run(future::pending())));
        block_on(executor.run(task.cancel()));
    }
}

#[test]
fn dependents_go_after_their_last_owner() {
    let cluster = Cluster::new("garbage-background");
    let (a, b) = (cluster.map("a", &[]), cluster.map("b", &[]));
    let c = cluster.map("c", &[(&a, false)]);
    cluster.map("d", &[(&c, false)]);
    cluster.map("e", &[(&a, false), (&b, false)]);
    cluster.remove("a", Some(Propagation::Background));
    let owners = || {
        let e = cluster.registry.get(CONFIG_MAP, "default", "e").unwrap();
        e.array_at("/metadata/ownerReferences").len()
    };
    cluster.collect_until(|| cluster.maps() == "b e" && owners() == 1);
    // An owner of the same name is another one.
    cluster.remove("b", None);
    cluster.map("b", &[]);
    cluster.collect_until(|| cluster.maps() == "b");
}

#[test]
fn owners_wait_for_dependents_that_block_them() {
    let cluster = Cluster::new("garbage-foreground");
    let a = cluster.map("a", &[]);
    cluster.map("b", &[(&a, true)]);
    cluster.map("c", &[(&a, false)]);
    let hold = |object: &mut Object| {
        object.set("/metadata/finalizers", json!(["example.org/wait"]));
        Ok(Change::Write)
    };
    let options = WriteOptions::default();
    block_on(cluster.registry.modify(CONFIG_MAP, "default", "b", options, hold)).unwrap();
    cluster.remove("a", Some(Propagation::Foreground));
    cluster.collect_until(|| {
        let b = cluster.registry.get(CONFIG_MAP, "default", "b").unwrap();
        cluster.maps() == "a b" && b.deletion_timestamp().is_some()
    });
    let free = |object: &mut Object| {
        object.remove("/metadata/finalizers");
        Ok(Change::Write)
    };
    block_on(cluster.registry.modify(CONFIG_MAP, "default", "b", WriteOptions::default(), free)).unwrap();
    cluster.collect_until(|| cluster.maps().is_empty());
}

#[test]
fn orphans_stay_and_circles_end() {
    let cluster = Cluster::new("garbage-orphan");
    let a = cluster.map("a", &[]);
    cluster.map("b", &[(&a, true)]);
    cluster.remove("a", Some(Propagation::Orphan));
    cluster.collect_until(|| cluster.maps() == "b");
    let b = cluster.registry.get(CONFIG_MAP, "default", "b").unwrap();
    assert!(b.at("/metadata/ownerReferences").is_none());
    let c = cluster.map("c", &[(&b, true)]);
    let circle = |object: &mut Object| {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": c.uid(),
                           "blockOwnerDeletion": true});
        object.set("/metadata/ownerReferences", json!([owner]));
        Ok(Change::Write)
    };
    block_on(cluster.registry.modify(CONFIG_MAP, "default", "b", WriteOptions::default(), circle)).unwrap();
    cluster.remove("b", Some(Propagation::Foreground));
    cluster.collect_until(|| cluster.maps().is_empty());
}

#[test]
fn owners_elsewhere_are_none_and_unknown_ones_are_left_alone() {
    let cluster = Cluster::new("garbage-elsewhere");
    let a = cluster.map("a", &[]);
    cluster.map_in("kube-system", "b", &[(&a, false)]);
    let strange = json!({"apiVersion": "example.org/v1", "kind": "Gadget", "name": "g", "uid": "u"});
    let object = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default", "ownerReferences": [strange]}});
    block_on(cluster.create(object)).unwrap();
    cluster.collect_until(|| cluster.maps() == "a");
    let events = || cluster.registry.all(EVENT, Some("kube-system"));
    cluster.collect_until(|| !events().unwrap().items.is_empty());
    let event = events().unwrap().items[0].object().unwrap();
    let message = event.str_at("/message");
    assert!(
        message.starts_with("ownerRef [v1/ConfigMap, namespace: kube-system, name: a, uid: "),
        "{message}"
    );
    assert!(message.ends_with("] does not exist in namespace \"kube-system\""), "{message}");
    assert!(cluster.registry.get(SECRET, "default", "s").is_ok());
}

#[test]
fn an_owner_that_can_be_none_is_told_of_once() {
    let cluster = Cluster::new("garbage-homeless");
    let a = cluster.map("a", &[]);
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": a.uid()});
    let node = |name: &str| {
        let metadata = json!({"name": name, "ownerReferences": [owner]});
        block_on(cluster.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata}))).unwrap();
    };
    let told = || {
        let list = cluster.registry.all(EVENT, None).unwrap();
        let names = list.items.iter().map(|item| item.object().unwrap());
        names.map(|event| event.str_at("/involvedObject/name").to_owned()).collect::<Vec<_>>()
    };
    // There when the collector starts: told of when it came.
    node("old");
    let made = std::cell::Cell::new(false);
    cluster.collect_until(|| {
        if !made.replace(true) {
            return false;
        }
        if told().is_empty() && cluster.registry.item(crate::api::kinds::NODE, "", "new").is_err() {
            node("new");
        }
        !told().is_empty()
    });
    assert_eq!(told(), ["new"]);
}
