use std::time::Duration;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

const NOW: u64 = 10_000;

/// A pod that has been ready for long and asks for so many thousandths.
fn pod(index: usize, cpu: &str, condition: Value, extra: Value) -> Pod {
    let mut pod = json!({
        "kind": "Pod", "metadata": {"name": format!("p{index}"), "uid": format!("u{index}"), "namespace": "default"},
        "spec": {"nodeName": "pi", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Ki"}}}]},
        "status": {"phase": "Running", "startTime": time::format(at(NOW - 3600)), "conditions": [condition]},
    });
    for (pointer, value) in extra.as_object().unwrap() {
        let mut object = Object::from_value(pod).unwrap();
        object.set(pointer, value.clone());
        pod = object.as_value().clone();
    }
    Pod::of(&Object::from_value(pod).unwrap())
}

fn ready(is: bool) -> Value {
    // One that is not ready has never been.
    let since = if is { NOW - 3000 } else { NOW - 3600 };
    json!({"type": "Ready", "status": if is { "True" } else { "False" }, "lastTransitionTime": time::format(at(since))})
}

/// Pods with these letters: ready, unready, failed, deleted, pending, hot (ready and just started), and what they use.
fn pods(letters: &str, levels: &[i64]) -> Vec<Pod> {
    let mut pods: Vec<Pod> = letters
        .chars()
        .enumerate()
        .map(|(index, letter)| match letter {
            'u' => pod(index, "1", ready(false), json!({})),
            'f' => pod(index, "1", ready(false), json!({"/status/phase": "Failed"})),
            'd' => pod(index, "1", ready(true), json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"})),
            'p' => pod(index, "1", ready(false), json!({"/status/phase": "Pending"})),
            'h' => {
                let since = json!({"type": "Ready", "status": "True", "lastTransitionTime": time::format(at(NOW - 5))});
                pod(index, "1", since, json!({"/status/startTime": time::format(at(NOW - 20))}))
            }
            _ => pod(index, "1", ready(true), json!({})),
        })
        .collect();
    for (pod, level) in pods.iter_mut().zip(levels) {
        let containers = vec![Used { name: "c".to_owned(), amounts: [*level, *level] }];
        pod.usage = Some(Usage { at: at(NOW), containers });
    }
    pods
}

fn cpu(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn memory(average: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": average});
    json!({"type": "Resource", "resource": {"name": "memory", "target": target}})
}

fn autoscaler(metrics: Value, behavior: Value) -> Object {
    let mut object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default", "uid": "hpa", "generation": 3},
        "spec": {"minReplicas": 1, "maxReplicas": 100, "metrics": metrics,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    });
    if !behavior.is_null() {
        object["spec"]["behavior"] = behavior;
    }
    Object::from_value(object).unwrap()
}

fn condition(object: &Object, kind: &str) -> String {
    let found = object.array_at("/status/conditions").iter().find(|condition| condition["type"] == kind);
    found.map_or(String::new(), |found| {
        format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    })
}

/// What one metric asks for: replicas, utilization and average, or why it can't be told.
fn answer(metric: &Value, current: i64, pods: &[Pod], tolerances: Object) -> Result<String, String> {
    let tolerances = replicas::Tolerances::of(&tolerances);
    let ask = replicas::Ask { metric, current, pods, tolerances, now: at(NOW) };
    let answer = ask.answer("default").map_err(|(reason, message)| format!("{reason}: {message}"))?;
    let current = &answer.status["resource"]["current"];
    let percent =
        current["averageUtilization"].as_i64().map_or(String::new(), |percent| format!(" {percent}%"));
    Ok(format!("{}{percent} {}", answer.replicas, current["averageValue"].as_str().unwrap()))
}

/// Upstream's cases of its replica calculator.
#[test]
fn what_metrics_ask_for() {
    let plain = || autoscaler(json!([]), Value::Null);
    for (letters, levels, target, current, result) in [
        ("rrr", &[300, 500, 700][..], 30, 3, "5 50% 500m"),
        ("urr", &[300, 500, 700], 30, 3, "4 60% 600m"),
        ("hrr", &[300, 500, 700], 30, 3, "4 60% 600m"),
        ("ruu", &[400, 500, 700], 30, 3, "3 40% 400m"),
        ("rhh", &[400, 500, 700], 30, 3, "3 40% 400m"),
        ("rrff", &[500, 700], 30, 2, "4 60% 600m"),
        ("rrdd", &[500, 700], 30, 2, "4 60% 600m"),
        ("rrp", &[500, 700], 30, 2, "4 60% 600m"),
        ("rrrrr", &[100, 300, 500, 250, 250], 50, 5, "3 28% 280m"),
        ("rrruu", &[100, 300, 500, 250, 250], 50, 5, "2 30% 300m"),
        ("rrrhh", &[100, 300, 500, 250, 250], 50, 5, "2 30% 300m"),
        ("rrr", &[1010, 1030, 1020], 100, 3, "3 102% 1020m"),
        ("rrrr", &[4000, 9500, 3000, 7000], 100, 4, "24 587% 5875m"),
        ("rrrr", &[400, 95], 100, 4, "3 24% 247m"),
        ("rr", &[1000], 100, 2, "2 100% 1"),
        ("rr", &[1900], 100, 2, "2 190% 1900m"),
        ("rr", &[600], 100, 2, "2 60% 600m"),
        ("urr", &[100, 450], 50, 3, "3 45% 450m"),
        ("urr", &[100, 2000], 50, 3, "4 200% 2"),
        ("urrr", &[100, 100, 100], 50, 4, "3 10% 100m"),
        // Missing pods count as all of a target beyond their requests.
        ("rrrr", &[1000, 1000], 200, 4, "3 100% 1"),
    ] {
        assert_eq!(
            answer(&cpu(target), current, &pods(letters, levels), plain()).unwrap(),
            result,
            "{letters} {levels:?}"
        );
    }
    for (letters, levels, target, current, result) in [
        ("rrr", &[20_000, 10_000, 30_000][..], "15", 3, "4 20"),
        ("rrrrr", &[12_000, 12_000, 12_000, 12_000, 12_000], "20", 5, "3 12"),
        ("rrr", &[20_000, 21_000, 21_000], "20", 3, "3 20666m"),
        // Being unready says nothing of memory.
        ("ruh", &[30_000, 30_000, 30_000], "15", 3, "6 30"),
        ("rr", &[30_000_000], "15k", 2, "2 30k"),
        ("rr", &[3_000_000], "6k", 2, "2 3k"),
    ] {
        assert_eq!(
            answer(&memory(target), current, &pods(letters, levels), plain()).unwrap(),
            result,
            "{letters} {levels:?}"
        );
    }
    let tolerant =
        autoscaler(json!([]), json!({"scaleUp": {"tolerance": "0.5"}, "scaleDown": {"tolerance": "10m"}}));
    for (levels, result) in [([1400, 1400], "2"), ([1600, 1600], "4"), ([980, 980], "2"), ([500, 420], "1")] {
        let found = answer(&cpu(100), 2, &pods("rr", &levels), tolerant.clone()).unwrap();
        assert_eq!(found.split(' ').next().unwrap(), result, "{levels:?}");
    }
}

#[test]
fn what_cannot_be_told() {
    let none = pod(0, "1", ready(true), json!({"/spec/containers/0/resources": {}}));
    let mut unasked = pods("r", &[100]);
    unasked.push(none);
    let of_container = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "x",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    let other = json!({"type": "Resource", "resource": {"name": "ephemeral-storage", "target": {"averageValue": "1"}}});
    for (metric, pods, message) in [
        (
            cpu(50),
            pods("rr", &[]),
            "FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for \
            resource cpu: no metrics returned from resource metrics API",
        ),
        (
            cpu(50),
            Vec::new(),
            "FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for \
            resource cpu: no metrics returned from resource metrics API",
        ),
        (
            cpu(50),
            pods("uh", &[10, 20]),
            "FailedGetResourceMetric: failed to get cpu utilization: did not receive \
            metrics for targeted pods (pods might be unready)",
        ),
        (
            cpu(50),
            unasked,
            "FailedGetResourceMetric: failed to get cpu utilization: missing request for cpu in \
            container c of Pod p0",
        ),
        (
            of_container,
            pods("r", &[10]),
            "FailedGetContainerResourceMetric: failed to get cpu utilization: unable to get \
            metrics for resource cpu: container x not present in metrics for pod default/p0",
        ),
        (
            other,
            pods("r", &[10]),
            "FailedGetResourceMetric: failed to get ephemeral-storage usage: unable to get metrics \
            for resource ephemeral-storage: no metrics returned from resource metrics API",
        ),
        (
            json!({"type": "Pods", "pods": {"metric": {"name": "qps"}}}),
            pods("r", &[10]),
            "FailedGetPodsMetric: unable to \
            get metric qps: unable to fetch metrics from custom metrics API: no custom metrics API \
            (custom.metrics.k8s.io) registered",
        ),
        (
            json!({"type": "External", "external": {"metric": {"name": "q"}}}),
            pods("r", &[10]),
            "FailedGetExternalMetric: \
            unable to get external metric default/q: unable to fetch metrics from external metrics API: no external \
            metrics API (external.metrics.k8s.io) registered",
        ),
    ] {
        let found = answer(&metric, 2, &pods, autoscaler(json!([]), Value::Null)).unwrap_err();
        assert_eq!(found, message);
    }
}

/// An autoscaler with its target, on which verdicts are carried out.
struct Sim {
    autoscaler: Object,
    target: Target,
    history: History,
    now: u64,
}

impl Sim {
    fn new(autoscaler: Object, replicas: i64, pods: Vec<Pod>) -> Self {
        let target = Target { replicas, pods, unclear: None };
        Self { autoscaler, target, history: History::default(), now: NOW }
    }

    /// Looks after so many seconds: replicas, and what was told.
    fn step(&mut self, seconds: u64) -> (i64, Vec<String>) {
        self.now += seconds;
        let mut verdict = decide(&self.autoscaler, Ok(&self.target), &mut self.history, at(self.now));
        if let Some((size, _)) = verdict.rescale {
            self.target.replicas = size;
        }
        verdict.rescaled(Ok(()), &mut self.history, at(self.now));
        self.autoscaler.set("/status", verdict.status());
        (
            self.target.replicas,
            verdict.events.into_iter().map(|(_, reason, message)| format!("{reason}: {message}")).collect(),
        )
    }

    fn conditions(&self) -> [String; 3] {
        [ABLE, ACTIVE, LIMITED].map(|kind| condition(&self.autoscaler, kind))
    }
}

#[test]
fn a_target_grows_and_shrinks_as_its_autoscaler_says() {
    let mut sim = Sim::new(autoscaler(json!([cpu(50)]), Value::Null), 2, pods("rr", &[900, 1100]));
    assert_eq!(sim.step(0), (4, vec![
        "SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target".to_owned(),
    ]));
    assert_eq!(
        sim.conditions(),
        ["True SucceededRescale", "True ValidMetricFound", "False DesiredWithinRange"]
    );
    let status = sim.autoscaler.at("/status").unwrap().clone();
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    assert_eq!(
        (&status["observedGeneration"], &status["lastScaleTime"]),
        (&json!(3), &json!(time::format(at(NOW))))
    );
    let current = json!({"averageUtilization": 100, "averageValue": "1"});
    assert_eq!(
        status["currentMetrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}])
    );
    // With twice the pods it is at its target.
    sim.target.pods = pods("rrrr", &[500, 500, 500, 500]);
    assert_eq!(sim.step(15), (4, vec![]));
    assert_eq!(sim.conditions()[0], "True ReadyForNewScale");
    // Less to do: that counts after five minutes.
    sim.target.pods = pods("rrrr", &[100, 100, 100, 100]);
    assert_eq!(sim.step(15), (4, vec![]));
    assert_eq!(
        sim.conditions(),
        ["True ScaleDownStabilized", "True ValidMetricFound", "False DesiredWithinRange"]
    );
    assert_eq!(sim.step(280).0, 4);
    assert_eq!(
        sim.step(10),
        (1, vec!["SuccessfulRescale: New size: 1; reason: All metrics below target".to_owned()])
    );
    // The rest is bounds.
    sim.target.pods = pods("r", &[90_000]);
    assert_eq!(sim.step(15).0, 4);
    assert_eq!(sim.conditions()[2], "True ScaleUpLimit");
    sim.autoscaler.set("/spec/maxReplicas", 3);
    assert_eq!(
        sim.step(15),
        (
            3,
            vec![
                "SuccessfulRescale: New size: 3; reason: Current number of replicas above Spec.MaxReplicas"
                    .to_owned(),
            ]
        )
    );
    assert_eq!(sim.step(15).0, 3);
    assert_eq!(sim.conditions()[2], "True TooManyReplicas");
    sim.autoscaler.set("/spec/maxReplicas", 9);
    sim.autoscaler.set("/spec/minReplicas", 5);
    assert_eq!(
        sim.step(15).1,
        ["SuccessfulRescale: New size: 5; reason: Current number of replicas below Spec.MinReplicas"]
    );
    sim.target.pods = pods("r", &[1]);
    sim.target.replicas = 6;
    assert_eq!(sim.step(301).0, 5);
    assert_eq!(sim.step(15).0, 5);
    assert_eq!(sim.conditions()[2], "True TooFewReplicas");
    sim.target.replicas = 0;
    assert_eq!(sim.step(15), (0, vec![]));
    assert_eq!(sim.conditions()[1], "False ScalingDisabled");
}

#[test]
fn behavior_sets_the_pace() {
    let rules = |window: i64, select: &str, policies: Value| json!({"stabilizationWindowSeconds": window, "selectPolicy": select, "policies": policies});
    let policy = |kind: &str, value: i64, seconds: i64| json!({"type": kind, "value": value, "periodSeconds": seconds});
    let both = || json!([policy("Pods", 2, 60), policy("Percent", 50, 60)]);
    let down = || rules(0, "Max", json!([policy("Percent", 100, 15)]));
    // (up, down, current, what all pods together ask for, replicas every 30 s, whether it is limited)
    for (up, down, current, wanted, sizes, limited) in [
        (rules(0, "Max", both()), down(), 10, 40, vec![15, 15, 23, 23, 35], "True ScaleUpLimit"),
        (rules(0, "Min", both()), down(), 10, 40, vec![12, 12, 14, 14, 16], "True ScaleUpLimit"),
        (rules(0, "Disabled", both()), down(), 10, 40, vec![10, 10], "True ScaleUpLimit"),
        (rules(0, "Max", both()), down(), 20, 5, vec![5, 5], "False DesiredWithinRange"),
        (down(), rules(0, "Max", both()), 20, 5, vec![10, 10, 5], "False DesiredWithinRange"),
        (down(), rules(0, "Min", both()), 20, 5, vec![18, 18, 16, 16], "True ScaleDownLimit"),
        (down(), rules(0, "Disabled", both()), 20, 5, vec![20, 20], "True ScaleDownLimit"),
        // Growing waits until nothing less was recommended for a minute.
        (
            rules(60, "Max", json!([policy("Pods", 100, 15)])),
            down(),
            10,
            40,
            vec![10, 10, 40],
            "False DesiredWithinRange",
        ),
        (
            down(),
            rules(60, "Max", json!([policy("Pods", 100, 15)])),
            10,
            4,
            vec![10, 10, 4],
            "False DesiredWithinRange",
        ),
    ] {
        let behavior = json!({"scaleUp": up, "scaleDown": down});
        let mut sim =
            Sim::new(autoscaler(json!([cpu(100)]), behavior.clone()), current, pods("r", &[wanted * 1000]));
        let mut found = Vec::new();
        for (index, _) in sizes.iter().enumerate() {
            found.push(sim.step(if index == 0 { 0 } else { 30 }).0);
        }
        assert_eq!(found, sizes, "{behavior}");
        assert_eq!(sim.conditions()[2], limited, "{behavior}");
    }
}

#[test]
fn trouble_is_told_once() {
    let metrics = json!([cpu(50), {"type": "Pods", "pods": {"metric": {"name": "qps"}}}]);
    let mut sim = Sim::new(autoscaler(metrics, Value::Null), 2, pods("rr", &[100, 100]));
    // Fewer would do as far as is known; what the other metric says is not.
    let (replicas, told) = sim.step(0);
    assert_eq!(replicas, 2);
    assert!(
        told[0].starts_with("FailedGetPodsMetric: ")
            && told[1].starts_with(
                "FailedComputeMetricsReplicas: invalid \
        metrics (1 invalid out of 2), first error is: unable to get metric qps"
            ),
        "{told:?}"
    );
    assert_eq!(sim.conditions()[1], "False FailedGetPodsMetric");
    assert_eq!(sim.step(15).1, Vec::<String>::new());
    // More is safe.
    sim.target.pods = pods("rr", &[900, 900]);
    let (replicas, told) = sim.step(15);
    assert_eq!((replicas, told.len()), (4, 2), "{told:?}");
    assert_eq!(sim.conditions()[1], "True ValidMetricFound");
    assert_eq!(sim.autoscaler.at("/status/currentMetrics/1"), Some(&json!({"type": ""})));

    let gone = Status::not_found(crate::api::kinds::DEPLOYMENT, "web");
    let mut history = History::default();
    for count in [1, 0] {
        let verdict = decide(&sim.autoscaler, Err(&gone), &mut history, at(NOW));
        assert_eq!(verdict.events.len(), count);
        assert_eq!(condition(&verdict.object, ABLE), "False FailedGetScale");
        assert_eq!(
            verdict.object.array_at("/status/conditions")[0]["message"],
            "the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found"
        );
    }
    // A write that fails is told, and nothing counts as done.
    let mut sim = Sim::new(autoscaler(json!([cpu(50)]), Value::Null), 2, pods("rr", &[900, 900]));
    let mut verdict = decide(&sim.autoscaler, Ok(&sim.target), &mut sim.history, at(NOW));
    verdict.rescaled(Err(&Status::internal("no")), &mut sim.history, at(NOW));
    assert_eq!(condition(&verdict.object, ABLE), "False FailedUpdateScale");
    assert!(verdict.events[0].2.ends_with("error: Internal error occurred: no"), "{:?}", verdict.events);
    assert_eq!(verdict.status()["desiredReplicas"], 0);
}

/// Whatever pods say: with the same samples a target comes to rest within its bounds, and stays.
#[test]
fn random_samples_come_to_rest() {
    let mut seed = 5_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..200 {
        let count = 1 + random(8) as usize;
        let letters: String =
            (0..count).map(|_| ['r', 'r', 'r', 'u', 'f', 'd', 'p'][random(7) as usize]).collect();
        let known = random(count as u64 + 1) as usize;
        let levels: Vec<i64> = (0..known).map(|_| random(3000) as i64).collect();
        let target = 10 + random(150) as i64;
        let behavior = match random(3) {
            0 => Value::Null,
            _ => {
                let select = |at: u64| if at == 0 { "Max" } else { "Min" };
                let mut rules = || {
                    json!({
                        "stabilizationWindowSeconds": random(300), "selectPolicy": select(random(2)),
                        "policies": [{"type": "Pods", "value": 1 + random(5), "periodSeconds": 15},
                            {"type": "Percent", "value": 50 + random(100), "periodSeconds": 15 + random(60)}],
                    })
                };
                json!({"scaleUp": rules(), "scaleDown": rules()})
            }
        };
        let mut autoscaler = autoscaler(json!([cpu(target)]), behavior);
        let least = 1 + random(4) as i64;
        let most = least + random(20) as i64;
        autoscaler.set("/spec/minReplicas", least);
        autoscaler.set("/spec/maxReplicas", most);
        let replicas = least + random((most - least + 1) as u64) as i64;
        let mut sim = Sim::new(autoscaler, replicas, pods(&letters, &levels));
        let mut sizes = vec![replicas];
        for _ in 0..120 {
            let before = sim.target.replicas;
            let (size, _) = sim.step(15);
            assert!((least..=most).contains(&size), "round {round}: {size} of {least} to {most}");
            if size != before {
                let used = sim.autoscaler.at("/status/currentMetrics/0/resource/current/averageUtilization");
                let ratio = used.unwrap().as_i64().unwrap() as f64 / target as f64;
                assert!(!(0.9..=1.1).contains(&ratio), "round {round}: changed at {ratio}");
            }
            sizes.push(size);
        }
        let last = sizes.split_off(sizes.len() - 40);
        assert!(last.iter().all(|size| *size == last[0]), "round {round}: {sizes:?} {last:?}");
        let (before, status) = (sim.target.replicas, sim.autoscaler.at("/status").cloned());
        assert_eq!(sim.step(15).0, before);
        assert_eq!(sim.autoscaler.at("/status").cloned(), status, "round {round}: nothing new is said");
    }
}
