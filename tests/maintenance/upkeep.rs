//! What people do: roll out, undo, cordon, taint, drain, delete a node.

use crate::common::cluster::{Cluster, IMAGE};
use crate::common::command::eventually;
use crate::common::process::Process;
use crate::traffic::Traffic;
use crate::{PATIENCE, SLEEPS, app, places, pods, prefers};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[test]
fn what_serves_goes_on_while_people_work_on_it() {
    let cluster = Cluster::new("upkeep").agent("pi-1").agent("pi-2").agent("pi-3").up();
    roll_out(&cluster);
    cordon(&cluster);
    taint(&cluster);
    drain_and_delete(&cluster);
}

/// Twenty pods on three hosts become twenty others and the first ones again, and no request fails.
fn roll_out(cluster: &Cluster) {
    let serves = "mkdir /www; echo $VERSION > /www/index.html; httpd -f -h /www & \
                  trap 'kill $!; exit 0' TERM; while :; do wait; done";
    let mut web = app("Deployment", "web", serves, json!({"replicas": 20}), json!({}));
    let spec = &mut web["spec"]["template"]["spec"];
    spec["terminationGracePeriodSeconds"] = 15.into();
    let main = &mut spec["containers"][0];
    main["env"] = json!([{"name": "VERSION", "value": "first"}]);
    main["readinessProbe"] = json!({"httpGet": {"port": 80}, "periodSeconds": 1});
    // The time in which clients learn that it goes.
    main["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 5}}});
    cluster.apply(&web.to_string()).success();
    cluster.kubectl("expose deployment web --port=80").success();
    let rolled_out = || {
        let start = Instant::now();
        cluster.kubectl("rollout status deployment/web --timeout=120s").success();
        println!("rolled out after {:.1} s", start.elapsed().as_secs_f32());
    };
    rolled_out();
    let places: BTreeSet<String> = places(cluster, "web").unwrap().into_iter().collect();
    assert_eq!(Vec::from_iter(places), ["pi-1", "pi-2", "pi-3"]);

    let traffic = Traffic::start(cluster, "web", 80);
    let asked = |version: &str| {
        let before = traffic.answers(version);
        eventually("all pods were asked", PATIENCE, || {
            (traffic.answers(version) > before + 60 || !traffic.failures().is_empty()).then_some(())
        });
        assert_eq!(traffic.failures(), [""; 0]);
    };
    asked("first");
    cluster.kubectl("set env deployment/web VERSION=second").success();
    rolled_out();
    asked("second");
    let history = cluster.kubectl("rollout history deployment/web").success().stdout;
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    cluster.kubectl("rollout undo deployment/web").success().says(&["rolled back"]);
    rolled_out();
    asked("first");
    println!(
        "{} requests of the first, {} of the second",
        traffic.answers("first"),
        traffic.answers("second")
    );
    let history = cluster.kubectl("rollout history deployment/web").success().stdout;
    assert!(!history.contains("\n1 ") && history.contains("\n2 ") && history.contains("\n3 "), "{history}");
    drop(traffic);
    cluster.kubectl("delete deployment/web service/web").success();
}

/// A pod for `node` that stays for `seconds` after a taint, for good with -1.
fn pod(name: &str, node: &str, seconds: i64) -> String {
    let mut toleration = json!({"key": "work", "operator": "Exists", "effect": "NoExecute"});
    if seconds >= 0 {
        toleration["tolerationSeconds"] = seconds.into();
    }
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [toleration], "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", SLEEPS]}],
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn cordon(cluster: &Cluster) {
    cluster.kubectl("cordon pi-3").success().says(&["node/pi-3 cordoned"]);
    let nodes = cluster.kubectl("get nodes --no-headers").success().stdout;
    let line = nodes.lines().find(|line| line.starts_with("pi-3")).unwrap();
    assert!(line.contains(" Ready,SchedulingDisabled "), "{nodes}");
    cluster.apply(&pod("patient", "pi-3", 3)).success();
    eventually("the scheduler says why", PATIENCE, || {
        let pod = cluster.object("pod patient")?;
        let message = pod["status"]["conditions"][0]["message"].as_str()?.to_owned();
        let reasons = ["0/3 nodes are available: ", "1 node(s) were unschedulable", "2 node(s) didn't match"];
        reasons.iter().all(|reason| message.contains(reason)).then_some(())
    });
    cluster.kubectl("uncordon pi-3").success().says(&["node/pi-3 uncordoned"]);
    cluster.phase("patient", "Running");
    assert!(!cluster.kubectl("get nodes").success().stdout.contains("SchedulingDisabled"));
}

fn taint(cluster: &Cluster) {
    cluster.apply(&pod("hasty", "pi-3", 0)).success();
    cluster.apply(&pod("settled", "pi-3", -1)).success();
    cluster.phase("hasty", "Running");
    let settled = cluster.phase("settled", "Running");
    let start = Instant::now();
    cluster.kubectl("taint node pi-3 work=roof:NoExecute").success();
    cluster.kubectl("wait --for=delete pod/hasty --timeout=20s").success();
    cluster.kubectl("wait --for=delete pod/patient --timeout=20s").success();
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    cluster.kubectl("get events").success().says(&["Marking for deletion Pod default/patient"]);
    let now = cluster.object("pod settled").unwrap();
    assert_eq!(now["metadata"]["uid"], settled["metadata"]["uid"]);
    assert!(now["metadata"]["deletionTimestamp"].is_null());
    cluster.kubectl("taint node pi-3 work-").success();
    cluster.kubectl("delete pod settled --timeout=20s").success();
}

/// A node is deleted while another one is drained, since the first takes its time.
fn drain_and_delete(cluster: &Cluster) {
    let spec = |pods: i64| json!({"replicas": pods});
    let guarded = json!({
        "affinity": prefers("pi-2"), "volumes": [{"name": "scratch", "emptyDir": {}}],
    });
    for app in [
        app("DaemonSet", "everywhere", SLEEPS, json!({}), json!({})),
        app("Deployment", "guarded", SLEEPS, spec(2), guarded),
        app("Deployment", "moves", SLEEPS, spec(1), json!({"affinity": prefers("pi-1")})),
    ] {
        cluster.apply(&app.to_string()).success();
    }
    cluster.kubectl("create poddisruptionbudget two --selector=app=guarded --min-available=2").success();
    let at = |app: &str, nodes: &[&str]| {
        eventually(&format!("{app} is on {nodes:?}"), PATIENCE, || {
            (places(cluster, app)? == nodes).then_some(())
        });
    };
    at("everywhere", &["pi-1", "pi-2", "pi-3"]);
    at("guarded", &["pi-2", "pi-2"]);
    at("moves", &["pi-1"]);

    cluster.kubectl("delete node pi-1").success();
    let refused = cluster.kubectl("drain pi-2 --ignore-daemonsets");
    assert!(refused.code == Some(1) && refused.stderr.contains("local storage"), "{refused:?}");
    let drain = "drain pi-2 --ignore-daemonsets --delete-emptydir-data --timeout=60s";
    let mut drain = Process::start(cluster.kubectl_command(drain), &cluster.server.folder.join("drain.log"));
    eventually("the budget holds the drain up", PATIENCE, || {
        drain.log().contains("violate the pod's disruption budget").then_some(())
    });
    assert_eq!(places(cluster, "guarded").unwrap(), ["pi-2", "pi-2"]);
    cluster.kubectl("scale deployment guarded --replicas=3").success();
    assert_eq!(drain.ended(PATIENCE), Some(0), "{}", drain.log());
    let left = cluster.items("pods --field-selector=spec.nodeName=pi-2");
    let left: Vec<_> = left.iter().map(|pod| &pod["metadata"]["labels"]["app"]).collect();
    assert_eq!(left, ["everywhere"]);
    at("guarded", &["pi-3", "pi-3", "pi-3"]);
    cluster.kubectl("uncordon pi-2").success();

    eventually("pi-1's pods are gone", PATIENCE, || {
        cluster.items("pods --field-selector=spec.nodeName=pi-1").is_empty().then_some(())
    });
    eventually("another node has what was there", PATIENCE, || {
        let places = places(cluster, "moves")?;
        (places.len() == 1 && places[0] != "pi-1").then_some(())
    });
    at("everywhere", &["pi-2", "pi-3"]);
    assert_eq!(pods(cluster, "moves").len(), 1);
    eventually("nothing of them runs on it", PATIENCE, || {
        cluster.agents[0].ctr("containers ls -q").is_empty().then_some(())
    });
}
