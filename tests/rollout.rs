//! Deployments from kubectl's view: made, rolled out, undone, scaled, paused, deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use serde_json::Value;
use std::time::Duration;

const SERVES: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

/// Waits for the end of a rollout, by kubectl's own reading of the status.
#[track_caller]
fn rolled_out(cluster: &Cluster, name: &str) -> Value {
    let status = format!("rollout status deployment/{name} --timeout=40s");
    cluster.kubectl(&status).success().says(&["successfully rolled out"]);
    cluster.object(&format!("deployment {name}")).unwrap()
}

fn condition<'a>(deployment: &'a Value, kind: &str) -> &'a Value {
    let conditions = deployment["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

#[test]
fn a_deployment_is_rolled_out_undone_scaled_and_deleted() {
    let cluster = Cluster::new("rollout").agent("pi-1").up();
    let create = format!("create deployment web --image={IMAGE} --replicas=3 -- sh -c");
    Answer::of(cluster.kubectl_command(&create).arg(SERVES)).success();
    let web = rolled_out(&cluster, "web");
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(web["metadata"]["generation"], 1, "the revision counts as no change");
    assert_eq!(condition(&web, "Available")["reason"], "MinimumReplicasAvailable");
    assert_eq!(condition(&web, "Progressing")["reason"], "NewReplicaSetAvailable");
    cluster.kubectl("get deployment web").says(&["3/3"]);
    let sets = cluster.items("replicasets");
    let hash = sets[0]["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(sets[0]["metadata"]["name"], format!("web-{hash}"));
    for pod in cluster.items("pods") {
        assert_eq!(pod["metadata"]["labels"]["pod-template-hash"], hash);
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(&format!("web-{hash}-")));
    }

    // An image that cannot be had: what serves goes on serving, and the way back is open.
    cluster.kubectl("set image deployment/web busybox=localhost/nothing:1").success();
    eventually("the new pod is there", Duration::from_secs(10), || {
        let web = cluster.object("deployment web")?;
        (web["status"]["updatedReplicas"] == 1).then_some(())
    });
    let web = cluster.object("deployment web").unwrap();
    assert_eq!((&web["status"]["availableReplicas"], &web["status"]["replicas"]), (&3.into(), &4.into()));
    let waits = cluster.kubectl("rollout status deployment/web --watch=false").success();
    waits.says(&["1 out of 3 new replicas have been updated"]);
    let history = cluster.kubectl("rollout history deployment/web").success().stdout;
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    cluster.kubectl("rollout history deployment/web --revision=2").success().says(&["localhost/nothing:1"]);
    cluster.kubectl("rollout undo deployment/web").success().says(&["rolled back"]);
    let web = rolled_out(&cluster, "web");
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let sets = cluster.items("replicasets");
    assert_eq!(sets.len(), 2, "the first ReplicaSet serves again");
    let first = sets.iter().find(|set| set["metadata"]["labels"]["pod-template-hash"] == hash).unwrap();
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");

    cluster.kubectl("scale deployment/web --replicas=4").success();
    assert_eq!(rolled_out(&cluster, "web")["status"]["availableReplicas"], 4);

    // Paused: any number of changes, one rollout.
    cluster.kubectl("rollout pause deployment/web").success();
    cluster.kubectl("set env deployment/web A=1").success();
    cluster.kubectl("scale deployment/web --replicas=2").success();
    eventually("it is scaled, not rolled out", Duration::from_secs(10), || {
        let web = cluster.object("deployment web")?;
        (web["status"]["replicas"] == 2).then_some(())
    });
    let web = cluster.object("deployment web").unwrap();
    assert_eq!(condition(&web, "Progressing")["reason"], "DeploymentPaused");
    assert_eq!(cluster.items("replicasets").len(), 2);
    cluster.kubectl("rollout resume deployment/web").success();
    rolled_out(&cluster, "web");
    assert_eq!(cluster.items("replicasets").len(), 3);
    cluster.kubectl("rollout restart deployment/web").success();
    rolled_out(&cluster, "web");
    cluster.kubectl("autoscale deployment/web --min=1 --max=3").success();
    cluster.kubectl("describe deployment web").success().says(&[
        "ScalingReplicaSet",
        &format!("Scaled up replica set web-{hash} from 0 to 3"),
        "NewReplicaSet:",
    ]);

    cluster.kubectl("delete deployment web").success();
    eventually("its ReplicaSets and pods are gone", Duration::from_secs(20), || {
        (cluster.items("replicasets").is_empty() && cluster.items("pods").is_empty()).then_some(())
    });
}

#[test]
fn recreate_ends_the_old_before_the_new_begins() {
    let cluster = Cluster::new("recreate").agent("pi-1").up();
    let manifest = |version: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: one}}, spec: {{replicas: 2, \
             strategy: {{type: Recreate}}, selector: {{matchLabels: {{app: one}}}}, \
             template: {{metadata: {{labels: {{app: one, version: {version}}}}}, \
             spec: {{terminationGracePeriodSeconds: 2, containers: [{{name: c, image: '{IMAGE}', \
             command: [sleep, '1000']}}]}}}}}}}}"
        )
    };
    cluster.apply(&manifest("a")).success();
    rolled_out(&cluster, "one");
    cluster.apply(&manifest("b")).success();
    eventually("the new pods are there", Duration::from_secs(20), || {
        let pods = cluster.items("pods");
        // One that has ended may be on its way out still.
        let runs = |pod: &&Value| !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
        let of = |version: &str| {
            pods.iter().filter(runs).filter(|pod| pod["metadata"]["labels"]["version"] == version).count()
        };
        assert!(of("a") == 0 || of("b") == 0, "both run at a time: {pods:?}");
        (of("b") == 2).then_some(())
    });
    rolled_out(&cluster, "one");

    // Without its Deployment a ReplicaSet lives on, and the next Deployment adopts it.
    cluster.kubectl("delete deployment one --cascade=orphan").success();
    let before: Vec<Value> = cluster.items("pods").iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    cluster.apply(&manifest("b")).success();
    rolled_out(&cluster, "one");
    for pod in cluster.items("pods") {
        assert!(before.contains(&pod["metadata"]["uid"]), "a pod was made anew");
    }
    let one = cluster.object("deployment one").unwrap();
    for set in cluster.items("replicasets") {
        assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], one["metadata"]["uid"]);
    }
    cluster.kubectl("delete deployment one --timeout=20s").success();
}
