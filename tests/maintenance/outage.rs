//! What happens to nodes: they start anew, lose their power or their link, and come back, perhaps with another address.

use crate::common::cluster::Cluster;
use crate::common::command::eventually;
use crate::{PATIENCE, SLEEPS, app, is_ready, places, prefers};
use serde_json::{Value, json};

/// `pi-1` stays; `pi-2` loses its power, `pi-3` its link, and keeps its pods since the server's flag says so.
#[test]
fn pods_of_nodes_that_are_away() {
    let mut cluster =
        Cluster::told("outage", &["--keep-pods"]).agent("pi-1").agent("pi-2").agent("pi-3").up();
    cluster.kubectl("annotate node pi-2 edge.midge.dev/keep-pods=false").success();
    let impatient =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3});
    let pod = |node: &str| {
        let tolerations =
            ["not-ready", "unreachable"].map(|key| impatient(&format!("node.kubernetes.io/{key}")));
        json!({"affinity": prefers(node), "tolerations": tolerations})
    };
    let set = json!({"replicas": 1, "serviceName": "none"});
    let mut db =
        app("StatefulSet", "db", &format!("hostname >> /data/file; {SLEEPS}"), set.clone(), pod("pi-2"));
    db["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    db["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": "local-path"},
    }]);
    for app in [
        db,
        app("StatefulSet", "cache", SLEEPS, set, pod("pi-2")),
        app("Deployment", "web", SLEEPS, json!({"replicas": 2}), pod("pi-2")),
        app("Deployment", "kept", SLEEPS, json!({"replicas": 1}), pod("pi-3")),
    ] {
        cluster.apply(&app.to_string()).success();
    }
    for (app, nodes) in
        [("db", &["pi-2"][..]), ("cache", &["pi-2"]), ("web", &["pi-2", "pi-2"]), ("kept", &["pi-3"])]
    {
        eventually(&format!("{app} is on {nodes:?}"), PATIENCE, || {
            (places(&cluster, app)? == nodes).then_some(())
        });
    }
    restart(&mut cluster);

    let (db, cache) = (only(&cluster, "db"), only(&cluster, "cache"));
    let kept = only(&cluster, "kept");
    cluster.agents[2].host.unplug();
    cluster.agents[1].power_off();
    for node in ["pi-2", "pi-3"] {
        eventually(&format!("{node} is away"), PATIENCE, || {
            (cluster.ready(node) == ("Unknown".into(), "NodeStatusUnknown".into())).then_some(())
        });
    }
    let nodes = cluster.kubectl("get nodes --no-headers").success().stdout;
    assert_eq!(nodes.lines().filter(|line| line.contains(" NotReady ")).count(), 2, "{nodes}");
    eventually("web is elsewhere", PATIENCE, || (places(&cluster, "web")? == ["pi-1", "pi-1"]).then_some(()));
    // Nobody knows whether those of pi-2 still run.
    assert_eq!(cluster.items("pods -l app=web").len(), 4);
    for before in [&db, &cache] {
        let pod = only(&cluster, before["metadata"]["labels"]["app"].as_str().unwrap());
        assert_eq!(pod["metadata"]["uid"], before["metadata"]["uid"], "it was made twice");
        assert!(pod["metadata"]["deletionTimestamp"].is_string());
    }
    let shown = cluster.kubectl("get pods -l app=db --no-headers").success().stdout;
    assert!(shown.contains(" Terminating "), "{shown}");
    cluster.kubectl("delete pod cache-0 --force --grace-period=0").success();
    eventually("who says that it is gone gets another", PATIENCE, || {
        (places(&cluster, "cache")? == ["pi-1"]).then_some(())
    });
    assert_eq!(only(&cluster, "db")["metadata"]["uid"], db["metadata"]["uid"]);
    let away = only(&cluster, "kept");
    assert_eq!(away["metadata"]["uid"], kept["metadata"]["uid"]);
    assert!(away["metadata"]["deletionTimestamp"].is_null() && !is_ready(&away));

    cluster.agents[2].host.plug_in();
    cluster.agents[1].power_on(Some(22));
    cluster.start_agent(1);
    eventually("the nodes are back", PATIENCE, || {
        ["pi-2", "pi-3"].iter().all(|node| cluster.ready(node).0 == "True").then_some(())
    });
    let address = "get node pi-2 -o jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    assert_eq!(cluster.kubectl(address).success().stdout, "192.168.77.22");
    eventually("db has its place again", PATIENCE, || {
        let pods = cluster.items("pods -l app=db");
        let [pod] = &pods[..] else { return None };
        (pod["metadata"]["uid"] != db["metadata"]["uid"] && is_ready(pod)).then_some(())
    });
    assert_eq!(places(&cluster, "db").unwrap(), ["pi-2"]);
    // The node may have begun with the old one anew before it reached the server.
    let written = cluster.kubectl("exec db-0 -- cat /data/file").success().stdout;
    assert!(written.lines().count() >= 3 && written.lines().all(|line| line == "db-0"), "{written}");
    eventually("pi-2 runs nothing else", PATIENCE, || {
        (cluster.agents[1].ctr("containers ls -q").lines().count() == 1).then_some(())
    });
    eventually("nothing else is said to", PATIENCE, || {
        (cluster.items("pods --field-selector=spec.nodeName=pi-2").len() == 1).then_some(())
    });
    assert_eq!(places(&cluster, "web").unwrap(), ["pi-1", "pi-1"]);
    let back = eventually("kept is ready again", PATIENCE, || Some(only(&cluster, "kept")).filter(is_ready));
    assert_eq!(identity(&back), identity(&kept));
    let taints = cluster.items("nodes").iter().map(|node| node["spec"]["taints"].clone()).collect::<Vec<_>>();
    assert!(taints.iter().all(Value::is_null), "{taints:?}");
}

/// The power of `pi-2` goes and comes: its pods are the same ones, with their data.
fn restart(cluster: &mut Cluster) {
    let before = only(cluster, "db");
    cluster.agents[1].power_off();
    cluster.agents[1].power_on(None);
    cluster.start_agent(1);
    let after = eventually("db runs again", PATIENCE, || {
        let pod = only(cluster, "db");
        (pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(&pod)).then_some(pod)
    });
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(cluster.kubectl("exec db-0 -- cat /data/file").success().stdout, "db-0\n".repeat(2));
    eventually("web runs again", PATIENCE, || (places(cluster, "web")? == ["pi-2", "pi-2"]).then_some(()));
}

/// The pod of an app that has one.
fn only(cluster: &Cluster, app: &str) -> Value {
    let mut pods = cluster.items(&format!("pods -l app={app}"));
    assert_eq!(pods.len(), 1, "{pods:?}");
    pods.remove(0)
}

/// Pod, container, restarts.
fn identity(pod: &Value) -> [&Value; 3] {
    let container = &pod["status"]["containerStatuses"][0];
    [&pod["metadata"]["uid"], &container["containerID"], &container["restartCount"]]
}
