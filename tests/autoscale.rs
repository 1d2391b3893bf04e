//! HorizontalPodAutoscalers: what nodes measure becomes replicas.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use serde_json::Value;
use std::time::Duration;

/// Burns what it may, until it is told to stop.
const BURNS: &str = "trap 'exit 0' TERM; until [ -e /tmp/stop ]; do :; done; while :; do sleep 0.2; done";

fn condition(autoscaler: &Value, kind: &str) -> String {
    let conditions = autoscaler["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == kind);
    found
        .next()
        .map_or(String::new(), |found| format!("{} {}", found["status"], found["reason"]).replace('"', ""))
}

fn running(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.kubectl("get pods -l app=web --field-selector=status.phase=Running -o name").stdout;
    pods.lines().map(str::to_owned).collect()
}

#[test]
fn a_deployment_grows_with_its_load_and_shrinks_again() {
    let cluster = Cluster::new("autoscale").agent("pi-1").up();
    let manifest = format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, "{BURNS}"]
        resources: {{requests: {{cpu: 50m}}, limits: {{cpu: 200m}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  maxReplicas: 3
  metrics:
  - type: Resource
    resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 100}}}}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 0}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: lost}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: none}}
  maxReplicas: 3
  metrics:
  - type: Pods
    pods: {{metric: {{name: qps}}, target: {{type: AverageValue, averageValue: 1}}}}
"#
    );
    let applied = cluster.apply(&manifest).success();
    assert!(!applied.stderr.contains("Warning"), "{}", applied.stderr);
    cluster.kubectl("get hpa web").says(&["cpu: <unknown>/100%"]);
    eventually("it says that it has no target", Duration::from_secs(10), || {
        let lost = cluster.object("hpa lost")?;
        (condition(&lost, "AbleToScale") == "False FailedGetScale").then_some(())
    });

    let grown = eventually("three pods run", Duration::from_secs(45), || {
        let pods = running(&cluster);
        (pods.len() == 3).then_some(pods)
    });
    let web = eventually("the autoscaler says so", Duration::from_secs(10), || {
        let web = cluster.object("hpa web")?;
        (web["status"]["desiredReplicas"] == 3).then_some(web)
    });
    assert!(web["status"]["lastScaleTime"].is_string(), "{web}");
    assert_eq!(condition(&web, "ScalingActive"), "True ValidMetricFound");
    assert_eq!(condition(&web, "ScalingLimited"), "True TooManyReplicas");
    assert_eq!(web["status"]["observedGeneration"], web["metadata"]["generation"]);
    let shown = cluster.kubectl("get hpa web --no-headers").success().stdout;
    let cells: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!((cells[1], cells[2], cells[4], cells[5]), ("Deployment/web", "cpu:", "1", "3"), "{shown}");
    let percent: u64 = cells[3].strip_suffix("%/100%").unwrap().parse().unwrap();
    assert!((150..=600).contains(&percent), "four times what it asked for: {shown}");
    cluster.kubectl("describe hpa web").success().says(&[
        "resource cpu on pods  (as a percentage of request):",
        "SuccessfulRescale",
        "New size: 3; reason: cpu resource utilization (percentage of request) above target",
    ]);

    for pod in grown {
        cluster.kubectl(&format!("exec {pod} -- touch /tmp/stop")).success();
    }
    eventually("one pod is enough", Duration::from_secs(40), || (running(&cluster).len() == 1).then_some(()));
    cluster.kubectl("describe hpa web").success().says(&["New size: 1; reason: All metrics below target"]);

    // What kubectl makes is looked at as well; two for the same pods are refused.
    let autoscale = "autoscale deployment web --name=rival --min=1 --max=2 --cpu=80%";
    Answer::of(&mut cluster.kubectl_command(autoscale)).success().says(&["autoscaled"]);
    eventually("they are in each other's way", Duration::from_secs(10), || {
        let rival = cluster.object("hpa rival")?;
        (condition(&rival, "ScalingActive") == "False AmbiguousSelector").then_some(())
    });
    cluster
        .kubectl("describe hpa rival")
        .success()
        .says(&["are controlled by multiple HPAs: [default/rival default/web]"]);
}
