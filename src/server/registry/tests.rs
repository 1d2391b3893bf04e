use serde_json::{Value, json};
use smol::block_on;

use super::testing::{Cluster, node, pod};
use super::*;
use crate::api::kinds::{CONFIG_MAP, EVENT, NAMESPACE, NODE, POD};
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::api::{Kind, Object, Reason};
use crate::store::{Durability, Expect};

fn map(name: &str, extra: Value) -> Value {
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
    for (key, value) in extra.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    object
}

fn selectors(kind: &'static Kind, labels: &str, fields: &str) -> Selectors {
    Selectors {
        labels: LabelSelector::parse(labels).unwrap(),
        fields: FieldSelector::parse(kind, fields).unwrap(),
    }
}

impl Cluster {
    fn make(&self, object: Value) -> Object {
        block_on(self.create(object)).unwrap()
    }

    fn update(&self, kind: &Kind, object: Object, subresource: Subresource) -> Result<Object, Status> {
        block_on(self.registry.update(kind, object, WriteOptions { subresource, ..WriteOptions::default() }))
    }

    fn delete(&self, kind: &Kind, name: &str, options: DeleteOptions) -> Result<Deleted, Status> {
        block_on(self.registry.delete(kind, "default", name, options))
    }

    /// Puts a pod on a node, as the scheduler does.
    fn place(&self, name: &str) -> Object {
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let placed = self.registry.modify(POD, "default", name, options, |pod| {
            pod.set("/spec/nodeName", "pi-1");
            Ok(Change::Write)
        });
        block_on(placed).unwrap()
    }
}

fn error(result: Result<impl Sized, Status>) -> (u16, String) {
    let status = result.err().unwrap();
    (status.code, status.message)
}

#[test]
fn create_gives_identity_and_refuses_what_is_there() {
    let cluster = Cluster::new("create");
    let made = cluster.make(map("a", json!({"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z"})));
    assert_eq!(made.uid().len(), 36);
    assert!(made.creation_timestamp().is_some_and(|time| time.elapsed().unwrap().as_secs() < 60));
    assert_eq!(made.deletion_timestamp(), None);
    let stored = cluster.registry.get(CONFIG_MAP, "default", "a").unwrap();
    assert_eq!(stored, made);
    let text = cluster.registry.item(CONFIG_MAP, "default", "a").unwrap().json();
    assert_eq!(Object::from_slice(&text).unwrap(), made);
    let again = error(block_on(cluster.create(map("a", json!({})))));
    assert_eq!(again, (409, "configmaps \"a\" already exists".to_owned()));
    let versioned = error(block_on(cluster.create(map("b", json!({"resourceVersion": "7"})))));
    assert_eq!(versioned, (400, "resourceVersion should not be set on objects to be created".to_owned()));
    let nameless = error(block_on(cluster.create(map("", json!({})))));
    assert_eq!(nameless.0, 422, "{}", nameless.1);
    let generated = cluster.make(map("", json!({"generateName": "web-"})));
    assert!(generated.name().starts_with("web-") && generated.name().len() == 9, "{generated:?}");
    let elsewhere = error(block_on(cluster.create(map("a", json!({"namespace": "nowhere"})))));
    assert_eq!(elsewhere, (404, "namespaces \"nowhere\" not found".to_owned()));
    let invalid = error(block_on(cluster.create(map("Not_a_name", json!({})))));
    assert_eq!(invalid.0, 422, "{}", invalid.1);
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let object = Object::from_value(map("dry", json!({}))).unwrap();
    assert_eq!(block_on(cluster.registry.create(CONFIG_MAP, object, dry)).unwrap().name(), "dry");
    assert_eq!(error(cluster.registry.get(CONFIG_MAP, "default", "dry")).0, 404);
}

#[test]
fn updates_expect_the_revision_they_read() {
    let cluster = Cluster::new("update");
    let first = cluster.make(map("a", json!({})));
    let mut second = first.clone();
    second.set("/data", json!({"k": "1"}));
    let second = cluster.update(CONFIG_MAP, second, Subresource::None).unwrap();
    assert!(second.resource_version() > first.resource_version());
    assert_eq!(second.uid(), first.uid());
    let mut stale = first.clone();
    stale.set("/data", json!({"k": "2"}));
    assert_eq!(
        error(cluster.update(CONFIG_MAP, stale.clone(), Subresource::None)),
        (409, "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again".to_owned())
    );
    stale.remove("/metadata/resourceVersion");
    stale.remove("/metadata/uid");
    stale.remove("/metadata/creationTimestamp");
    let third = cluster.update(CONFIG_MAP, stale, Subresource::None).unwrap();
    assert_eq!((third.uid(), third.str_at("/data/k")), (first.uid(), "2"));
    assert_eq!(third.creation_timestamp(), first.creation_timestamp());
    let unchanged = cluster.update(CONFIG_MAP, third.clone(), Subresource::None).unwrap();
    assert_eq!(unchanged.resource_version(), third.resource_version());
    let mut other = third.clone();
    other.set("/metadata/uid", "another");
    assert_eq!(error(cluster.update(CONFIG_MAP, other, Subresource::None)).0, 409);
    let missing = Object::from_value(map("b", json!({}))).unwrap();
    let missing = error(cluster.update(CONFIG_MAP, missing, Subresource::None));
    assert_eq!(missing, (404, "configmaps \"b\" not found".to_owned()));
}

#[test]
fn status_and_spec_are_written_apart_and_generations_counted() {
    let cluster = Cluster::new("status");
    let made = cluster.make(pod("web"));
    assert_eq!((made.generation(), made.str_at("/status/phase")), (1, "Pending"));
    let mut both = made.clone();
    both.set("/status/phase", "Running");
    both.set("/metadata/labels/a", "b");
    let spec = cluster.update(POD, both.clone(), Subresource::None).unwrap();
    assert_eq!((spec.str_at("/status/phase"), spec.label("a"), spec.generation()), ("Pending", Some("b"), 1));
    both.remove("/metadata/resourceVersion");
    both.set("/spec/containers/0/image", "other");
    both.set("/metadata/labels/a", "c");
    let status = cluster.update(POD, both.clone(), Subresource::Status).unwrap();
    assert_eq!(status.str_at("/status/phase"), "Running");
    assert_eq!((status.str_at("/spec/containers/0/image"), status.label("a")), ("busybox", Some("b")));
    let image = cluster.update(POD, both, Subresource::None).unwrap();
    assert_eq!((image.str_at("/spec/containers/0/image"), image.generation()), ("other", 2));
    assert_eq!(cluster.place("web").str_at("/spec/nodeName"), "pi-1");
    let mut moved = cluster.registry.get(POD, "default", "web").unwrap();
    moved.set("/spec/nodeName", "pi-2");
    assert_eq!(error(cluster.update(POD, moved, Subresource::None)).0, 422);
}

#[test]
fn rival_changes_are_all_made() {
    let cluster = Cluster::new("rivals");
    cluster.make(map("n", json!({"annotations": {"n": "0"}})));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let registry = cluster.registry.clone();
            std::thread::spawn(move || {
                for _ in 0..5 {
                    let change = |object: &mut Object| {
                        let count: u32 = object.annotation("n").unwrap().parse().unwrap();
                        object.set("/metadata/annotations/n", (count + 1).to_string());
                        Ok(Change::Write)
                    };
                    block_on(registry.modify(CONFIG_MAP, "default", "n", WriteOptions::default(), change))
                        .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cluster.registry.get(CONFIG_MAP, "default", "n").unwrap().annotation("n"), Some("20"));
}

#[test]
fn pods_get_their_grace() {
    let cluster = Cluster::new("grace");
    let gone = |name: &str| cluster.registry.get(POD, "default", name).is_err();
    cluster.make(pod("unplaced"));
    assert!(matches!(cluster.delete(POD, "unplaced", DeleteOptions::default()), Ok(Deleted::Gone(_))));
    assert!(gone("unplaced"));

    cluster.make(pod("web"));
    let placed = cluster.place("web");
    let wrong = DeleteOptions { uid: Some("other".to_owned()), ..DeleteOptions::default() };
    assert_eq!(error(cluster.delete(POD, "web", wrong)).0, 409);
    let old = DeleteOptions { resource_version: Some(1), ..DeleteOptions::default() };
    assert_eq!(error(cluster.delete(POD, "web", old)).0, 409);
    let Ok(Deleted::Marked(marked)) = cluster.delete(POD, "web", DeleteOptions::default()) else { panic!() };
    assert_eq!(marked.i64_at("/metadata/deletionGracePeriodSeconds"), Some(30));
    let left = marked.deletion_timestamp().unwrap().duration_since(std::time::SystemTime::now()).unwrap();
    assert!((28..=30).contains(&left.as_secs()), "{left:?}");
    assert_eq!(marked.generation(), placed.generation() + 1);
    // Again changes nothing, sooner does, later does not.
    let seconds = |grace| DeleteOptions { grace_seconds: Some(grace), ..DeleteOptions::default() };
    let again = cluster.delete(POD, "web", DeleteOptions::default()).unwrap().into_object();
    assert_eq!(again.resource_version(), marked.resource_version());
    let sooner = cluster.delete(POD, "web", seconds(5)).unwrap().into_object();
    assert_eq!(sooner.i64_at("/metadata/deletionGracePeriodSeconds"), Some(5));
    let later = cluster.delete(POD, "web", seconds(50)).unwrap().into_object();
    assert_eq!(later.resource_version(), sooner.resource_version());
    // An update does not undo it.
    let mut revived = later;
    revived.remove("/metadata/deletionTimestamp");
    revived.set("/metadata/labels/a", "b");
    assert!(cluster.update(POD, revived, Subresource::None).unwrap().deletion_timestamp().is_some());
    // The agent says that it has ended.
    let ended = DeleteOptions { uid: Some(marked.uid().to_owned()), ..seconds(0) };
    assert!(matches!(cluster.delete(POD, "web", ended), Ok(Deleted::Gone(_))));
    assert!(gone("web"));
    assert_eq!(error(cluster.delete(POD, "web", seconds(0))).0, 404);
}

#[test]
fn finalizers_hold_an_object() {
    let cluster = Cluster::new("finalizers");
    cluster.make(map("a", json!({"finalizers": ["example.org/wait"]})));
    let Ok(Deleted::Marked(marked)) = cluster.delete(CONFIG_MAP, "a", DeleteOptions::default()) else {
        panic!()
    };
    assert!(marked.deletion_timestamp().is_some());
    let mut changed = marked.clone();
    changed.set("/data", json!({"k": "v"}));
    let mut changed = cluster.update(CONFIG_MAP, changed, Subresource::None).unwrap();
    changed.set("/metadata/finalizers/-", "example.org/late");
    let (code, message) = error(cluster.update(CONFIG_MAP, changed.clone(), Subresource::None));
    assert_eq!(code, 422);
    assert!(message.ends_with("found new finalizers []string{\"example.org/late\"}"), "{message}");
    changed.remove("/metadata/finalizers");
    cluster.update(CONFIG_MAP, changed, Subresource::None).unwrap();
    assert_eq!(error(cluster.registry.get(CONFIG_MAP, "default", "a")).0, 404);
}

#[test]
fn pages_cover_a_list_once() {
    let cluster = Cluster::new("pages");
    for number in 0..7 {
        cluster.make(map(&format!("m{number}"), json!({"labels": {"odd": (number % 2 == 1).to_string()}})));
    }
    let walk = |selectors: &Selectors, limit| {
        let mut page = Page { limit, ..Page::default() };
        let (mut names, mut remaining) = (Vec::new(), Vec::new());
        loop {
            let list = cluster.registry.list(CONFIG_MAP, Some("default"), selectors, &page).unwrap();
            assert!(list.items.len() <= limit);
            names.extend(list.items.iter().map(|item| item.object().unwrap().name().to_owned()));
            remaining.push(list.remaining);
            page.token = list.token;
            if page.token.is_none() {
                return (names.join(" "), remaining);
            }
        }
    };
    let all = walk(&Selectors::default(), 3);
    assert_eq!(all, ("m0 m1 m2 m3 m4 m5 m6".to_owned(), vec![Some(4), Some(1), None]));
    assert_eq!(walk(&selectors(CONFIG_MAP, "odd=true", ""), 2).0, "m1 m3 m5");
    assert_eq!(walk(&selectors(CONFIG_MAP, "", "metadata.name=m4"), 2).0, "m4");
    let list = |token: &str| {
        let page = Page { limit: 1, token: Some(token.to_owned()), at: None };
        error(cluster.registry.list(CONFIG_MAP, None, &Selectors::default(), &page)).0
    };
    assert_eq!(list("nonsense"), 400);
    assert_eq!(list(&data_encoding::BASE64URL_NOPAD.encode(br#"{"rv":9000000,"after":"a"}"#)), 410);
}

#[test]
fn watches_follow_selectors() {
    let cluster = Cluster::new("watch");
    let start = cluster.registry.store().revision();
    let made = cluster.make(map("a", json!({"labels": {"app": "x"}})));
    let follow = |from| {
        cluster.registry.watch(CONFIG_MAP, Some("default"), selectors(CONFIG_MAP, "app=x", ""), from).unwrap()
    };
    let mut watch = follow(From::Revision(start));
    let mut now = follow(From::Now);
    let label = |value: &str| {
        let change = |object: &mut Object| {
            object.set("/metadata/labels/app", value);
            object.set("/metadata/annotations/n", value);
            Ok(Change::Write)
        };
        block_on(cluster.registry.modify(CONFIG_MAP, "default", "a", WriteOptions::default(), change))
            .unwrap()
    };
    let left = label("y");
    let back = label("x");
    cluster.make(map("b", json!({"labels": {"app": "z"}})));
    let annotated =
        block_on(cluster.registry.modify(CONFIG_MAP, "default", "a", WriteOptions::default(), |object| {
            object.set("/data", json!({"k": "v"}));
            Ok(Change::Write)
        }))
        .unwrap();
    cluster.delete(CONFIG_MAP, "a", DeleteOptions::default()).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        let name = match &event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
        };
        let object = event.item().object().unwrap();
        assert_eq!(object.label("app"), Some("x"), "{name}: an object as it matches");
        seen.push((name, object.resource_version()));
    }
    let end = seen.pop().unwrap();
    let expected = [("added", made), ("deleted", left), ("added", back), ("modified", annotated)];
    assert_eq!(seen, expected.map(|(name, object)| (name, object.resource_version())));
    assert_eq!(end, ("deleted", Some(cluster.registry.store().revision())));
    assert_eq!(watch.revision(), cluster.registry.store().revision());
    assert!(
        matches!(now.try_next(), Ok(Some(WatchEvent::Added(item))) if item.revision == seen[0].1.unwrap())
    );
    assert!(matches!(now.try_next(), Ok(Some(WatchEvent::Deleted(_)))));
    let old =
        cluster.registry.watch(POD, None, Selectors::default(), From::Revision(9_000_000)).err().unwrap();
    assert_eq!((old.code, old.reason), (410, Reason::Expired));
}

#[test]
fn a_full_disk_is_a_503_and_a_race_for_a_name_one_409() {
    let cluster = Cluster::new("race");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let registry = cluster.registry.clone();
            std::thread::spawn(move || {
                let object = Object::from_value(map("same", json!({}))).unwrap();
                block_on(registry.create(CONFIG_MAP, object, WriteOptions::default())).is_ok()
            })
        })
        .collect();
    let made = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(made.filter(|ok| *ok).count(), 1);
    let full = std::io::Error::from_raw_os_error(28);
    let failed = write::failed(&crate::store::Error::Write { path: "j".into(), source: full });
    assert_eq!(failed.code, 503);
    assert!(failed.message.contains("No space left"), "{failed}");
}

/// Runs the loops until `done` says so, for a few seconds at most.
fn run_until(cluster: &Cluster, mut done: impl FnMut() -> bool) -> bool {
    let executor = crate::Executor::default();
    let _loops = [
        crate::server::namespaces::run(cluster.registry.clone(), &executor),
        crate::server::scheduler::run(cluster.registry.clone(), Default::default(), &executor),
        crate::server::events::expire(cluster.registry.clone(), &executor),
    ];
    let ticks = async {
        for _ in 0..500 {
            if done() {
                return true;
            }
            smol::Timer::after(std::time::Duration::from_millis(10)).await;
        }
        false
    };
    block_on(executor.run(ticks))
}

#[test]
fn namespaces_are_emptied() {
    let cluster = Cluster::new("namespaces");
    let names = |kind: &Kind| {
        let list = cluster.registry.all(kind, None).unwrap();
        let name = |item: &Item| item.object().unwrap().name().to_owned();
        list.items.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(NAMESPACE), "default kube-node-lease kube-public kube-system");
    assert_eq!(error(cluster.delete(NAMESPACE, "default", DeleteOptions::default())).0, 403);

    cluster.make(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}}));
    for number in 0..100 {
        cluster.make(map(&format!("m{number}"), json!({"namespace": "lab"})));
    }
    let mut web = pod("web");
    web["metadata"]["namespace"] = "lab".into();
    cluster.make(web);
    let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
    let place = |pod: &mut Object| {
        pod.set("/spec/nodeName", "pi-1");
        Ok(Change::Write)
    };
    block_on(cluster.registry.modify(POD, "lab", "web", options, place)).unwrap();
    let Ok(Deleted::Marked(lab)) = cluster.delete(NAMESPACE, "lab", DeleteOptions::default()) else {
        panic!()
    };
    assert_eq!(lab.str_at("/status/phase"), "Terminating");
    let (code, message) = error(block_on(cluster.create(map("late", json!({"namespace": "lab"})))));
    assert_eq!(code, 403);
    assert!(message.contains("unable to create new content in namespace lab because it is being terminated"));
    let pod_marked =
        || cluster.registry.get(POD, "lab", "web").is_ok_and(|pod| pod.deletion_timestamp().is_some());
    assert!(run_until(&cluster, || names(CONFIG_MAP).is_empty() && pod_marked()));
    assert!(cluster.registry.get(NAMESPACE, "", "lab").is_ok(), "its pod has not ended");
    let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    assert!(run_until(&cluster, || {
        drop(block_on(cluster.registry.delete(POD, "lab", "web", now.clone())));
        cluster.registry.get(NAMESPACE, "", "lab").is_err()
    }));
}

#[test]
fn pods_are_placed_as_soon_as_there_is_room() {
    let cluster = Cluster::new("scheduler");
    cluster.make(pod("first"));
    let get = |name: &str| cluster.registry.get(POD, "default", name).unwrap();
    let reason = |name: &str| get(name).str_at("/status/conditions/0/message").to_owned();
    // What is written is told of afterwards, unless the loop ends in between.
    let told = || {
        let events = cluster.registry.all(EVENT, None).unwrap();
        let reason = |item: &Item| item.object().unwrap().str_at("/reason").to_owned();
        let mut reasons: Vec<_> = events.items.iter().map(reason).collect();
        reasons.sort();
        reasons
    };
    let unplaced = "no nodes available to schedule pods";
    assert!(run_until(&cluster, || reason("first") == unplaced && told().len() == 1));
    let set_ready = |subresource| {
        let mut object = Object::from_value(node("pi-1")).unwrap();
        object.remove("/metadata/resourceVersion");
        cluster.update(NODE, object, subresource).unwrap()
    };
    cluster.make(node("pi-1"));
    set_ready(Subresource::Status);
    let mut large = pod("large");
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1500m"}});
    cluster.make(large.clone());
    large["metadata"]["name"] = "second".into();
    assert!(run_until(&cluster, || get("large").str_at("/spec/nodeName") == "pi-1" && told().len() == 3));
    assert_eq!(get("first").str_at("/spec/nodeName"), "pi-1");
    assert_eq!(get("first").array_at("/status/conditions")[0]["status"], "True");
    cluster.make(large);
    let full = "0/1 nodes are available: 1 Insufficient cpu. \
        preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert!(run_until(&cluster, || reason("second") == full && told().len() == 4));
    let quiet = cluster.registry.store().revision();
    // A heartbeat is no news.
    let beat = |node: &mut Object| {
        node.set("/status/conditions/0/lastHeartbeatTime", "2026-01-01T00:00:00Z");
        Ok(Change::Write)
    };
    let options = WriteOptions {
        subresource: Subresource::Status,
        durability: Durability::Memory,
        ..WriteOptions::DEFAULT
    };
    block_on(cluster.registry.modify(NODE, "", "pi-1", options, beat)).unwrap();
    let mut ticks = 0;
    assert!(run_until(&cluster, || {
        ticks += 1;
        ticks > 20
    }));
    assert_eq!(cluster.registry.store().revision(), quiet + 1, "nothing is written while nothing changes");
    let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    cluster.delete(POD, "large", now).unwrap();
    assert!(run_until(&cluster, || get("second").str_at("/spec/nodeName") == "pi-1" && told().len() == 5));
    assert_eq!(told(), ["FailedScheduling", "FailedScheduling", "Scheduled", "Scheduled", "Scheduled"]);
}

#[test]
fn what_is_stored_has_no_revision_in_it() {
    let cluster = Cluster::new("stored");
    let made = cluster.make(map("a", json!({"managedFields": [{"manager": "x"}]})));
    let entry = cluster.registry.store().get("configmaps/default/a").unwrap();
    let text = std::str::from_utf8(&entry.value).unwrap();
    assert!(text.starts_with("{\"metadata\":{") && !text.contains("resourceVersion"), "{text}");
    assert!(!text.contains("\"manager\":\"x\""), "it owned nothing: {text}");
    assert_eq!(made.resource_version(), Some(entry.revision));
    let raw = cluster.registry.store().put("midge/x", b"1".into(), Expect::Any, Durability::Synced);
    block_on(raw).unwrap();
}
