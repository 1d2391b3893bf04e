//! Jobs and CronJobs as kubectl's users have them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

/// The specification of a Job whose pods run `script`.
fn spec(script: &str, rest: Value) -> Value {
    let mut spec = json!({"template": {"spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}],
    }}});
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    spec
}

fn job(name: &str, script: &str, rest: Value) -> String {
    let spec = spec(script, rest);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn pods(cluster: &Cluster, job: &str) -> Vec<Value> {
    let list = cluster.object(&format!("pods -l job-name={job}")).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[test]
fn jobs_end_as_they_should_and_cron_jobs_make_them() {
    let cluster = Cluster::with_node("jobs").up();
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
        "spec": {"schedule": "@every 5s", "timeZone": "Etc/UTC", "successfulJobsHistoryLimit": 1,
            "jobTemplate": {"spec": spec("true", json!({}))}}});
    cluster.apply(&cron.to_string()).success();
    let mut nowhere = cron.clone();
    nowhere["metadata"]["name"] = "nowhere".into();
    nowhere["spec"]["timeZone"] = "Mars/Base".into();
    cluster.apply(&nowhere.to_string()).success();
    cluster.apply(&job("good", "echo done", json!({"completions": 3, "parallelism": 2}))).success();
    cluster.apply(&job("bad", "exit 3", json!({"backoffLimit": 0}))).success();
    let script = "test $(hostname) = indexed-$JOB_COMPLETION_INDEX";
    let indexed = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
    cluster.apply(&job("indexed", script, indexed)).success();
    cluster.apply(&job("short", "true", json!({"ttlSecondsAfterFinished": 0}))).success();
    cluster.apply(&job("late", "sleep 60", json!({"activeDeadlineSeconds": 2}))).success();

    cluster.kubectl("wait --for=condition=complete --timeout=40s job/good job/indexed").success();
    cluster.kubectl("wait --for=condition=failed --timeout=40s job/bad job/late").success();
    let good = cluster.object("job good").unwrap();
    assert_eq!((&good["status"]["succeeded"], &good["status"]["active"]), (&json!(3), &Value::Null));
    assert_eq!(good["status"]["uncountedTerminatedPods"], json!({}));
    let ended = pods(&cluster, "good");
    assert!(
        ended.len() == 3 && ended.iter().all(|pod| pod["metadata"].get("finalizers").is_none()),
        "{ended:?}"
    );
    let bad = cluster.object("job bad").unwrap();
    assert_eq!((&bad["status"]["failed"], pods(&cluster, "bad").len()), (&json!(1), 1));
    let reason = |job: &Value, at: usize| job["status"]["conditions"][at]["reason"].clone();
    assert_eq!(reason(&bad, 1), "BackoffLimitExceeded");
    assert_eq!(reason(&cluster.object("job late").unwrap(), 1), "DeadlineExceeded");
    let indexed = cluster.object("job indexed").unwrap();
    assert_eq!(indexed["status"]["completedIndexes"], "0-2");
    let told = cluster.kubectl("describe job good").success().stdout;
    assert!(told.contains("SuccessfulCreate") && told.contains("Created pod: good-"), "{told}");
    assert!(told.contains("Completed") && told.contains("Job completed"), "{told}");
    eventually("the short one is gone, with its pod", PATIENCE, || {
        (cluster.object("job short").is_none() && pods(&cluster, "short").is_empty()).then_some(())
    });

    eventually("a Job that was due has ended", PATIENCE, || {
        let cron = cluster.object("cronjob tick")?;
        cron["status"]["lastSuccessfulTime"].is_string().then_some(())
    });
    let told = cluster.kubectl("describe cronjob tick").success().stdout;
    assert!(told.contains("Created job tick-") && told.contains("Saw completed job: tick-"), "{told}");
    let told = cluster.kubectl("describe cronjob nowhere").success().stdout;
    assert!(told.contains("UnknownTimeZone"), "{told}");
    // Of the one that makes none by itself: tick's next one would count it as history.
    cluster.kubectl("create job by-hand --from=cronjob/nowhere").success();
    cluster.kubectl("wait --for=condition=complete --timeout=40s job/by-hand").success();
    cluster.kubectl("delete cronjob tick nowhere").success();
    eventually("its Jobs go with it, and their pods", PATIENCE, || {
        let jobs = cluster.kubectl("get jobs -o name").success().stdout;
        (!jobs.contains("tick-") && !jobs.contains("by-hand")).then_some(())
    });

    // A Job that is deleted while it runs keeps nothing behind.
    cluster.apply(&job("endless", "sleep 1000", json!({}))).success();
    eventually("it runs", PATIENCE, || {
        (cluster.object("job endless")?["status"]["ready"] == 1).then_some(())
    });
    cluster.kubectl("delete job endless --wait=false").success();
    eventually("its pod goes", PATIENCE, || pods(&cluster, "endless").is_empty().then_some(()));
}
