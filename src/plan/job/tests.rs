mod suspend;

use std::collections::BTreeSet;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn job(spec: Value) -> Object {
    let mut job = Object::from_value(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pi", "namespace": "default", "uid": "j"},
        "spec": {"parallelism": 1, "backoffLimit": 6, "selector": {"matchLabels": {"job": "pi"}},
            "template": {"metadata": {"labels": {"job": "pi"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}},
    }))
    .unwrap();
    for (name, value) in spec.as_object().unwrap() {
        job.set(&format!("/spec/{name}"), value.clone());
    }
    job
}

/// A Job and its pods, in a registry that keeps finalizers as the real one does.
struct Cluster {
    job: Object,
    pods: Vec<Object>,
    made: usize,
    /// Pods that went before their Job's end, uncounted.
    spared: usize,
    now: u64,
    events: Vec<String>,
    deleted: bool,
}

impl Cluster {
    fn new(spec: Value) -> Self {
        let (job, pods, events) = (job(spec), Vec::new(), Vec::new());
        Self { job, pods, made: 0, spared: 0, now: 0, events, deleted: false }
    }

    /// Plans once, and carries out so many steps of the plan; true if there was nothing to do.
    fn step(&mut self, steps: usize) -> bool {
        let plan = plan(&self.job, self.pods.clone(), at(self.now));
        let idle = plan.actions.is_empty() && plan.status.is_none();
        let mut left = steps;
        for action in plan.actions {
            if left == 0 {
                return false;
            }
            left -= 1;
            match action {
                Action::Create(mut pod, _) => {
                    self.made += 1;
                    let name = format!("p{}", self.made);
                    pod.set("/metadata/uid", name.as_str());
                    pod.set("/metadata/name", name);
                    pod.set("/metadata/creationTimestamp", time::format(at(self.now)));
                    pod.set("/status/phase", "Running");
                    self.pods.push(pod);
                }
                Action::Delete(object, _) if object.kind() == "Job" => self.deleted = true,
                Action::Delete(pod, _) => self.delete(pod.name()),
                Action::Update(pod, _) => {
                    self.spared += usize::from(pods::is_active(&pod) && !is_tracked(&pod));
                    self.assert_stored(&pod);
                    let name = pod.name().to_owned();
                    *self.pod(&name) = pod;
                }
                Action::Event { reason, .. } => self.events.push(reason.to_owned()),
            }
        }
        if let Some(status) = plan.status.filter(|_| left > 0) {
            self.job.set("/status", status);
        }
        self.sweep();
        idle
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            if self.step(usize::MAX) {
                return;
            }
        }
        panic!("the plans do not come to an end: {:?}", self.job.at("/status"));
    }

    /// What a pod came to is in the status before it is let go of.
    fn assert_stored(&self, pod: &Object) {
        let lists = ["succeeded", "failed"]
            .map(|name| self.job.array_at(&format!("/status/uncountedTerminatedPods/{name}")));
        let uid = lists.iter().any(|list| list.iter().any(|uid| *uid == pod.uid()));
        let index = pod.annotation(INDEX).and_then(|index| index.parse().ok());
        let done = Indexes::parse(self.job.str_at("/status/completedIndexes"), 1000);
        let ends = condition(&self.job, "SuccessCriteriaMet").is_some();
        let ignored = !policy::of_failure(&self.job, pod).counts;
        assert!(
            uid || index.is_some_and(|index| done.contains(index))
                || ends
                || ignored
                || pods::is_active(pod) && !is_tracked(pod),
            "{pod:?} is let go of"
        );
    }

    fn pod(&mut self, name: &str) -> &mut Object {
        self.pods.iter_mut().find(|pod| pod.name() == name).unwrap()
    }

    fn delete(&mut self, name: &str) {
        let now = time::format(at(self.now));
        let pod = self.pod(name);
        if pod.deletion_timestamp().is_none() {
            pod.set("/metadata/deletionTimestamp", now);
        }
    }

    fn end(&mut self, name: &str, phase: &str, code: i64) {
        let now = time::format(at(self.now));
        let pod = self.pod(name);
        pod.set("/status/phase", phase);
        pod.set(
            "/status/containerStatuses",
            json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]),
        );
        self.sweep();
    }

    /// Pods that are deleted and have ended go once nothing keeps them.
    fn sweep(&mut self) {
        self.pods
            .retain(|pod| pod.deletion_timestamp().is_none() || is_tracked(pod) || !pods::has_ended(pod));
    }

    fn active(&self) -> Vec<String> {
        self.pods.iter().filter(|pod| pods::is_active(pod)).map(|pod| pod.name().to_owned()).collect()
    }

    fn status(&self, name: &str) -> i64 {
        self.job.i64_at(&format!("/status/{name}")).unwrap_or(0)
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        let conditions = self.job.array_at("/status/conditions").iter();
        conditions.map(|one| (one["type"].as_str().unwrap(), one["reason"].as_str().unwrap())).collect()
    }

    fn fail_all(&mut self, code: i64) {
        for name in self.active() {
            self.end(&name, "Failed", code);
        }
        self.settle();
    }
}

#[test]
fn a_job_runs_to_completion() {
    let mut cluster =
        Cluster::new(json!({"completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 60}));
    cluster.settle();
    assert_eq!((cluster.active().len(), cluster.status("active")), (2, 2));
    assert_eq!(cluster.job.str_at("/status/startTime"), time::format(at(0)));
    cluster.now = 5;
    for round in ["p1", "p2", "p3"] {
        cluster.settle();
        cluster.end(round, "Succeeded", 0);
    }
    cluster.settle();
    assert_eq!((cluster.made, cluster.status("succeeded"), cluster.status("active")), (3, 3, 0));
    let reason = "CompletionsReached";
    assert_eq!(cluster.conditions(), [("SuccessCriteriaMet", reason), ("Complete", reason)]);
    assert_eq!(cluster.job.str_at("/status/completionTime"), time::format(at(5)));
    assert_eq!(cluster.job.at("/status/uncountedTerminatedPods"), Some(&json!({})));
    assert_eq!(cluster.events, ["Completed"]);
    assert!(cluster.pods.iter().all(|pod| !is_tracked(pod)));
    assert_eq!(plan(&cluster.job, Vec::new(), at(6)).again, Some(at(65)));
    cluster.now = 65;
    cluster.step(usize::MAX);
    assert!(cluster.deleted);
}

#[test]
fn failures_wait_longer_and_longer_until_there_are_too_many() {
    let mut cluster = Cluster::new(json!({"completions": 1, "backoffLimit": 3}));
    cluster.settle();
    for pause in [10, 20, 40] {
        cluster.fail_all(1);
        let planned = plan(&cluster.job, cluster.pods.clone(), at(cluster.now));
        assert_eq!((cluster.active().len(), planned.again), (0, Some(at(cluster.now + pause))));
        cluster.now += pause;
        cluster.settle();
        assert_eq!(cluster.active().len(), 1);
    }
    cluster.fail_all(1);
    let reason = "BackoffLimitExceeded";
    assert_eq!(cluster.conditions(), [("FailureTarget", reason), ("Failed", reason)]);
    assert_eq!((cluster.status("failed"), cluster.made), (4, 4));
    assert_eq!(cluster.events, [reason]);
}

#[test]
fn a_deadline_ends_what_runs() {
    let mut cluster = Cluster::new(json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 30}));
    cluster.settle();
    assert_eq!(plan(&cluster.job, cluster.pods.clone(), at(3)).again, Some(at(30)));
    cluster.now = 30;
    cluster.settle();
    assert_eq!(cluster.conditions(), [("FailureTarget", "DeadlineExceeded")]);
    assert_eq!((cluster.status("terminating"), cluster.status("active")), (2, 0));
    cluster.end("p1", "Failed", 137);
    cluster.end("p2", "Failed", 137);
    cluster.settle();
    assert_eq!(cluster.conditions()[1], ("Failed", "DeadlineExceeded"));
    assert_eq!((cluster.status("failed"), cluster.status("terminating")), (2, 0));
    // A clock that was not set when it began.
    let mut leaps = Cluster::new(json!({"completions": 1, "activeDeadlineSeconds": 30}));
    leaps.job.set("/status/startTime", "1970-01-01T00:00:09Z");
    leaps.settle();
    assert_eq!(
        (leaps.job.str_at("/status/startTime"), leaps.active().len()),
        (time::format(at(0)).as_str(), 1)
    );
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_anew() {
    let mut cluster = Cluster::new(json!({"completions": 1, "suspend": true, "activeDeadlineSeconds": 30}));
    cluster.settle();
    assert_eq!((cluster.made, cluster.job.at("/status/startTime")), (0, None));
    cluster.now = 100;
    cluster.job.set("/spec/suspend", false);
    cluster.settle();
    assert_eq!((cluster.made, cluster.job.str_at("/status/startTime")), (1, time::format(at(100)).as_str()));
    cluster.job.set("/spec/suspend", true);
    cluster.settle();
    assert!(cluster.active().is_empty());
    assert_eq!((cluster.status("failed"), cluster.pods.len()), (0, 1), "what was suspended has not failed");
    assert_eq!(cluster.job.str_at("/status/conditions/0/status"), "True");
    assert_eq!(cluster.events, ["Suspended", "Resumed", "Suspended"]);
}

#[test]
fn each_index_has_its_pod() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3});
    let mut cluster = Cluster::new(spec);
    cluster.settle();
    let pod = &cluster.pods[2];
    assert_eq!(
        (pod.label(INDEX), pod.annotation(INDEX), pod.str_at("/spec/hostname")),
        (Some("2"), Some("2"), "pi-2")
    );
    assert_eq!(pod.str_at("/metadata/generateName"), "pi-2-");
    assert_eq!(pod.str_at("/spec/containers/0/env/0/name"), "JOB_COMPLETION_INDEX");
    cluster.end("p1", "Succeeded", 0);
    cluster.end("p3", "Succeeded", 0);
    cluster.settle();
    assert_eq!((cluster.job.str_at("/status/completedIndexes"), cluster.status("succeeded")), ("0,2", 2));
    assert_eq!(cluster.pods.last().unwrap().annotation(INDEX), Some("3"));
    for name in cluster.active() {
        cluster.end(&name, "Succeeded", 0);
    }
    cluster.settle();
    assert_eq!(cluster.job.str_at("/status/completedIndexes"), "0-3");
    assert_eq!(cluster.conditions()[1], ("Complete", "CompletionsReached"));
}

#[test]
fn indexes_fail_on_their_own() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": i32::MAX,
        "backoffLimitPerIndex": 1});
    let mut cluster = Cluster::new(spec);
    cluster.settle();
    cluster.end("p1", "Failed", 1);
    cluster.settle();
    // It stays until another is made in its place: it knows how often its index failed.
    assert!(is_tracked(cluster.pod("p1")));
    cluster.now = 10;
    cluster.settle();
    assert!(!is_tracked(cluster.pod("p1")));
    assert_eq!(cluster.pod("p3").annotation(track::FAILURES), Some("1"));
    cluster.end("p3", "Failed", 1);
    cluster.settle();
    assert_eq!((cluster.job.str_at("/status/failedIndexes"), cluster.made), ("0", 3));
    cluster.end("p2", "Succeeded", 0);
    cluster.settle();
    assert_eq!(cluster.conditions(), [("FailureTarget", "FailedIndexes"), ("Failed", "FailedIndexes")]);
    assert_eq!((cluster.status("failed"), cluster.status("succeeded")), (2, 1));
}

#[test]
fn policies_decide() {
    let rules = |action: &str| {
        json!({"completions": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]}})
    };
    let mut cluster = Cluster::new(rules("Ignore"));
    cluster.settle();
    cluster.fail_all(42);
    cluster.now = 10;
    cluster.settle();
    assert_eq!((cluster.status("failed"), cluster.made), (0, 2));
    let mut cluster = Cluster::new(rules("FailJob"));
    cluster.settle();
    cluster.fail_all(42);
    assert_eq!(cluster.conditions()[1], ("Failed", "PodFailurePolicy"));
    assert!(
        cluster
            .job
            .str_at("/status/conditions/1/message")
            .starts_with("Container c for pod default/p1 failed")
    );

    let mut cluster = Cluster::new(json!({"completionMode": "Indexed", "completions": 5, "parallelism": 5,
        "successPolicy": {"rules": [{"succeededIndexes": "0,3", "succeededCount": 1}]}}));
    cluster.settle();
    cluster.end("p4", "Succeeded", 0);
    cluster.settle();
    for name in ["p1", "p2", "p3", "p5"] {
        cluster.end(name, "Failed", 143);
    }
    cluster.settle();
    assert_eq!(
        cluster.conditions(),
        [("SuccessCriteriaMet", "SuccessPolicy"), ("Complete", "SuccessPolicy")]
    );
    assert_eq!((cluster.status("succeeded"), cluster.status("failed"), cluster.made), (1, 0, 5));
}

/// Whatever fails, is deleted or is lost in between: each pod counts once, and no more succeed than are to.
#[test]
fn each_pod_counts_once() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut ends = BTreeSet::new();
    for round in 0..300 {
        let indexed = round % 2 == 0;
        let completions = 1 + random(6);
        let mut spec = json!({"completions": completions, "parallelism": random(5) + 1, "backoffLimit": random(8),
            "completionMode": if indexed { "Indexed" } else { "NonIndexed" }});
        if random(2) == 0 {
            spec["podReplacementPolicy"] = "Failed".into();
        }
        if indexed && random(2) == 0 {
            spec["backoffLimitPerIndex"] = random(3).into();
        }
        let mut cluster = Cluster::new(spec);
        let most = i64::try_from(completions).unwrap();
        for _ in 0..400 {
            match random(8) {
                0..4 => drop(cluster.step(usize::try_from(random(4)).unwrap())),
                4 => cluster.now += random(400),
                _ if cluster.pods.is_empty() => {}
                what => {
                    let at = usize::try_from(random(u64::try_from(cluster.pods.len()).unwrap())).unwrap();
                    let (name, ended) =
                        (cluster.pods[at].name().to_owned(), pods::has_ended(&cluster.pods[at]));
                    match what {
                        _ if ended => {}
                        5 if random(4) == 0 => cluster.delete(&name),
                        6 => cluster.end(&name, "Failed", 1),
                        _ => cluster.end(&name, "Succeeded", 0),
                    }
                }
            }
            assert!(cluster.status("succeeded") <= most, "round {round}: {:?}", cluster.job.at("/status"));
        }
        for _ in 0..60 {
            cluster.now += 400;
            let names: Vec<_> = cluster
                .pods
                .iter()
                .filter(|pod| !pods::has_ended(pod))
                .map(|pod| pod.name().to_owned())
                .collect();
            names.iter().for_each(|name| cluster.end(name, "Succeeded", 0));
            cluster.settle();
        }
        let end = finished(&cluster.job)
            .unwrap_or_else(|| panic!("round {round}: {:?}", cluster.job.at("/status")));
        ends.insert(end["reason"].as_str().unwrap().to_owned());
        assert!(cluster.pods.iter().all(|pod| !is_tracked(pod)));
        let (succeeded, failed) = (cluster.status("succeeded"), cluster.status("failed"));
        assert!(succeeded <= most && (end["type"] == "Failed" || succeeded == most));
        if !indexed {
            let counted = cluster.made - cluster.spared;
            assert_eq!(succeeded + failed, i64::try_from(counted).unwrap(), "round {round}");
        }
    }
    assert!(ends.len() >= 3, "{ends:?}");
}
