//! The pod loop on a real containerd with real CNI plugins; the test plays the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::command::eventually;
use common::image::{self, Image};
use common::node::Node;
use midge::agent::container;
use midge::containerd::Task;
use serde_json::{Value, json};

fn log(node: &Node, uid: &str, name: &str, attempt: u32) -> String {
    let path = container::files::log_path(&node.config.pods_folder().join(uid), name, attempt);
    std::fs::read_to_string(path).unwrap_or_default()
}

fn tasks(node: &Node) -> Vec<Task> {
    let mut tasks = node.with_client(async |client| client.tasks().await.unwrap());
    // containerd lists them in any order.
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks
}

fn containers(node: &Node) -> usize {
    node.with_client(async |client| client.containers(&[]).await.unwrap().len())
}

fn pod(uid: &str, policy: &str, containers: &[(&str, &str)]) -> Value {
    let container = |(name, script): &(&str, &str)| json!({"name": name, "image": "web:1", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "name": uid, "namespace": "default", "resourceVersion": "1"},
        "spec": {"restartPolicy": policy, "containers": containers.iter().map(container).collect::<Vec<_>>()},
    })
}

fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 1.into();
    pod
}

fn entries(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_pods_life() {
    let mut node = Node::new();
    let web = pod(
        "web",
        "Always",
        &[
            ("server", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"),
            (
                "client",
                "until wget -qO- http://127.0.0.1:8080/index.html; do sleep 0.1; done; hostname; exec sleep 1000",
            ),
        ],
    );
    node.put("web", &web);
    node.until("running", |node| node.phase("web") == "Running" && node.container("web")["ready"] == true);
    let status = node.statuses["web"].clone();
    assert!(status["podIP"].as_str().unwrap().starts_with("10.98."));
    assert_eq!(status["hostIP"], "192.0.2.1");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !log(&node, "web", "client", 0).contains(" stdout F web\n") {
        assert!(Instant::now() < deadline, "{}", log(&node, "web", "client", 0));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(log(&node, "web", "client", 0).contains(" stdout F hello\n"));
    assert_eq!(node.containerd.shims().len(), 1, "all containers of a pod share one shim");
    for expected in ["already present on machine", "Created container: server", "Started container client"] {
        assert!(node.events.iter().any(|event| event.contains(expected)), "{expected}: {:?}", node.events);
    }

    // A crash: restarted at once, then after 10 s.
    let crash = pod("crash", "Always", &[("crash", "echo try; exit 3")]);
    node.put("crash", &crash);
    node.until("backing off", |node| {
        node.container("crash")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(node.container("crash")["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(node.container("crash")["restartCount"], 1);
    assert!(node.events.iter().any(|event| event.contains("Back-off restarting failed container crash")));
    let before = Instant::now();
    node.until("restarted", |node| node.container("crash")["restartCount"] == 2);
    assert!(before.elapsed() > Duration::from_secs(7), "{:?}", before.elapsed());
    assert!(log(&node, "crash", "crash", 1).contains(" stdout F try\n"));

    // Stopped, it leaves everything running; started, it adopts it.
    // The crashing pod's come and go.
    let of_web = |node: &Node| {
        let containers = node.statuses["web"]["containerStatuses"].as_array().unwrap();
        let ids: Vec<String> = containers
            .iter()
            .map(|container| container["containerID"].as_str().unwrap()[13..].to_owned())
            .collect();
        move |tasks: Vec<Task>| tasks.into_iter().filter(|task| ids.contains(&task.id)).collect::<Vec<_>>()
    };
    let of_web = of_web(&node);
    let before = of_web(tasks(&node));
    assert_eq!(before.len(), 2);
    let known = node.container("web").clone();
    node.stop();
    assert_eq!(of_web(tasks(&node)), before);
    node.statuses.clear();
    node.start();
    node.welcome();
    node.until("adopted", |node| node.phase("web") == "Running" && node.phase("crash") == "Running");
    assert_eq!(*node.container("web"), known);
    assert!(node.container("crash")["restartCount"].as_u64().unwrap() >= 2);
    assert_eq!(of_web(tasks(&node)), before);
    node.containerd.restart();

    // Done for good, and without an image.
    let once = pod("once", "Never", &[("once", "echo last words > /dev/termination-log; exit 4")]);
    node.put("once", &once);
    let mut missing = pod("missing", "Always", &[("missing", "true")]);
    missing["spec"]["containers"][0]["image"] = "nobody.example/has:it".into();
    missing["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    node.put("missing", &missing);
    node.until("failed", |node| {
        node.phase("once") == "Failed"
            && node.phase("missing") == "Pending"
            && node.container("missing")["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    });
    let terminated = &node.container("once")["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["message"]), (&json!(4), &json!("last words\n")));

    for (uid, pod) in [("web", web), ("crash", crash), ("once", once), ("missing", missing)] {
        node.put(uid, &deleted(pod));
    }
    node.until("gone", |node| {
        ["web", "crash", "once", "missing"].iter().all(|uid| node.gone.iter().any(|gone| gone == uid))
    });
    assert_eq!((containers(&node), tasks(&node).len()), (0, 0));
    assert_eq!(entries(&node.config.pods_folder()), [] as [PathBuf; 0]);
    for folder in ["netns", "ipc", "uts", "cni"] {
        assert_eq!(entries(&node.config.run_dir.join(folder)), [] as [PathBuf; 0], "{folder}");
    }
    let leases = entries(&node.config.run_dir.join("leases").join(&node.config.bridge));
    let addresses = leases.iter().filter(|path| path.to_string_lossy().contains("10.98."));
    assert_eq!(addresses.filter(|path| !path.to_string_lossy().contains("last_reserved")).count(), 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !node.containerd.shims().is_empty() {
        assert!(Instant::now() < deadline, "a shim is left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_debugger_comes_later_and_sees_what_it_looks_into() {
    let mut node = Node::new();
    let mut web = pod("web", "Always", &[("server", "exec sleep 1234")]);
    node.put("web", &web);
    node.until("running", |node| node.phase("web") == "Running");
    web["spec"]["ephemeralContainers"] = json!([{
        "name": "debug", "image": "web:1", "imagePullPolicy": "IfNotPresent", "targetContainerName": "server",
        "command": ["sh", "-c", "ps; exit 3"],
    }]);
    node.put("web", &web);
    let ended = |node: &Node| {
        node.statuses["web"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    };
    node.until("debugged", ended);
    assert!(log(&node, "web", "debug", 0).contains("sleep 1234"), "{}", log(&node, "web", "debug", 0));
    assert_eq!(node.phase("web"), "Running");
    node.put("web", &deleted(web));
    node.until("gone", |node| node.gone == ["web"]);
    assert_eq!(containers(&node), 0);
}

#[test]
fn what_nobody_wants_is_collected() {
    let mut node = Node::new();
    node.put("web", &pod("web", "Always", &[("web", "exec sleep 1000")]));
    node.until("running", |node| node.phase("web") == "Running");
    node.stop();
    // As a forced removal that a crash cut off leaves it.
    std::fs::remove_file(node.config.pods_folder().join("web/pod.json")).unwrap();
    node.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while containers(&node) > 0 || !entries(&node.config.pods_folder()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", entries(&node.config.pods_folder()));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(entries(&node.config.run_dir.join("netns")), [] as [PathBuf; 0]);
}

#[test]
fn after_a_reboot_pods_start_without_a_server() {
    let mut node = Node::new();
    node.put("web", &pod("web", "Always", &[("web", "echo up; exec sleep 1000")]));
    node.put("once", &pod("once", "Never", &[("once", "exec sleep 1000")]));
    node.until("running", |node| node.phase("web") == "Running" && node.phase("once") == "Running");
    node.stop();
    node.reboot();
    node.start();
    node.until("running again", |node| {
        node.phase("web") == "Running"
            && node.phase("once") == "Failed"
            && node.container("web")["ready"] == true
    });
    let web = node.container("web");
    assert_eq!((&web["restartCount"], &web["lastState"]["terminated"]["exitCode"]), (&json!(1), &json!(255)));
    assert_eq!(node.container("once")["state"]["terminated"]["reason"], "ContainerStatusUnknown");
    for uid in ["web", "once"] {
        node.put(uid, &deleted(pod(uid, "Always", &[("web", "")])));
    }
    node.until("gone", |node| node.gone.len() == 2);
    assert_eq!(containers(&node), 0);
}

/// Neither one that is asked for nor one that nobody waits for needs more than to be put there.
#[test]
fn an_archive_is_imported_when_it_has_come() {
    let mut node = Node::new();
    let mut late = pod("late", "Always", &[("late", "exec sleep 1000")]);
    late["spec"]["containers"][0]["image"] = "late:1".into();
    late["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    node.put("late", &late);
    let waits = |node: &Node| node.container("late")["state"]["waiting"]["reason"] == "ErrImageNeverPull";
    node.until("without its image", waits);
    let elsewhere = node.containerd.folder().join("late.tar");
    image::docker_archive(&elsewhere, &[Image::busybox("late:1", &["sh"])], false);
    let archive = std::fs::read(&elsewhere).unwrap();
    // In two halves, and looked at in between: what is not whole yet is not given up.
    let mut file = std::fs::File::create(node.config.images_folder().join("late.tar")).unwrap();
    let (half, rest) = archive.split_at(archive.len() / 2);
    file.write_all(half).unwrap();
    let other = node.containerd.folder().join("other.tar");
    image::docker_archive(&other, &[Image::busybox("other:1", &["sh"])], false);
    std::fs::rename(&other, node.config.images_folder().join("other.tar")).unwrap();
    let names = |node: &Node| -> Vec<String> {
        let images = node.with_client(async |client| client.images(&[]).await.unwrap());
        images.into_iter().map(|image| image.name).collect()
    };
    let has = |node: &Node, name: &str| names(node).iter().any(|known| known.ends_with(name)).then_some(());
    eventually("an image that nobody asked for", Duration::from_secs(20), || has(&node, "other:1"));
    assert!(has(&node, "late:1").is_none());
    file.write_all(rest).unwrap();
    drop(file);
    node.until("running", |node| node.phase("late") == "Running");
    node.put("late", &deleted(late));
    node.until("gone", |node| node.gone == ["late"]);
}

#[test]
fn a_pod_has_no_more_processes_than_it_may() {
    let mut node = Node::with(|config| config.pod_max_pids = Some(20));
    let script = "for i in $(seq 60); do sleep 1000 & done; echo all of them";
    node.put("bomb", &pod("bomb", "Never", &[("bomb", script)]));
    node.until("stopped", |node| node.phase("bomb") == "Failed");
    let said = log(&node, "bomb", "bomb", 0);
    assert!(said.contains("can't fork") && !said.contains("all of them"), "{said}");
    node.put("bomb", &deleted(pod("bomb", "Never", &[("bomb", script)])));
    node.until("gone", |node| node.gone == ["bomb"]);
}

#[test]
fn huge_pages_as_a_volume() {
    let mut node = Node::new();
    let mut huge =
        pod("huge", "Never", &[("huge", "grep -w /huge /proc/mounts; stat -c '%a %g' /huge; echo end")]);
    let amounts = json!({"cpu": "1", "memory": "64Mi", "hugepages-2Mi": "4Mi"});
    let container = &mut huge["spec"]["containers"][0];
    container["resources"] = json!({"limits": amounts, "requests": amounts});
    container["volumeMounts"] = json!([{"name": "huge", "mountPath": "/huge"}]);
    huge["spec"]["volumes"] = json!([{"name": "huge", "emptyDir": {"medium": "HugePages"}}]);
    huge["spec"]["securityContext"] = json!({"fsGroup": 1234});
    node.put("huge", &huge);
    node.until("ended", |node| node.phase("huge") == "Succeeded");
    let said = log(&node, "huge", "huge", 0);
    assert!(said.contains(" hugetlbfs ") && said.contains("pagesize=2M"), "{said}");
    assert!(said.contains("2777 1234"), "{said}");
    node.put("huge", &deleted(huge));
    node.until("gone", |node| node.gone == ["huge"]);
}
