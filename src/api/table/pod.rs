//! The columns of pods. Ready, status and restarts follow upstream's `printPod`, since people and
//! scripts read `Init:0/1`, `CrashLoopBackOff`, `Completed` and `Terminating` there.

use std::time::SystemTime;

use serde_json::Value;

use super::columns::{AGE, NAME};
use super::{Column, age, or};
use crate::api::{Object, time};

pub const POD: &[Column] = &[
    NAME,
    Column::text("Ready", "Containers that are ready, of all.", |pod, _| {
        let summary = summarize(pod);
        format!("{}/{}", summary.ready, summary.total).into()
    }),
    Column::text("Status", "What the pod is doing, or why it is not.", |pod, _| summarize(pod).reason.into()),
    Column::text("Restarts", "Restarts of all containers, and when the last one was.", |pod, now| {
        let summary = summarize(pod);
        match summary.restarted {
            Some(_) if summary.restarts > 0 => {
                format!("{} ({} ago)", summary.restarts, age(summary.restarted, now)).into()
            }
            _ => summary.restarts.to_string().into(),
        }
    }),
    AGE,
    Column::text("IP", "The pod's address.", |pod, _| match pod.str_at("/status/podIPs/0/ip") {
        "" => or(pod.str_at("/status/podIP"), "<none>"),
        ip => ip.into(),
    })
    .wide(),
    Column::text("Node", "The node it runs on.", |pod, _| or(pod.str_at("/spec/nodeName"), "<none>")).wide(),
    Column::text("Nominated Node", "The node it may get once others have left.", |pod, _| {
        or(pod.str_at("/status/nominatedNodeName"), "<none>")
    })
    .wide(),
    Column::text("Readiness Gates", "Readiness gates that are true, of all.", |pod, _| gates(pod).into())
        .wide(),
];

/// What the columns Ready, Status and Restarts are made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    pub ready: usize,
    pub total: usize,
    pub reason: String,
    pub restarts: i64,
    /// When a container ended that was restarted, the latest.
    pub restarted: Option<SystemTime>,
}

/// The pod in a few words.
pub fn summarize(pod: &Object) -> Summary {
    let phase = pod.str_at("/status/phase");
    let mut reason = match pod.str_at("/status/reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    if has_condition(pod, |condition| {
        text(condition, "/type") == "PodScheduled" && text(condition, "/reason") == "SchedulingGated"
    }) {
        "SchedulingGated".clone_into(&mut reason);
    }
    let sidecars = pod.array_at("/spec/initContainers").iter().filter(|c| is_sidecar(c)).count();
    let mut summary = Summary {
        ready: 0,
        total: pod.array_at("/spec/containers").len() + sidecars,
        reason,
        restarts: 0,
        restarted: None,
    };
    let (initializing, sidecar_restarts) = initialize(pod, &mut summary);
    let initialized = has_condition(pod, |condition| {
        text(condition, "/type") == "Initialized" && text(condition, "/status") == "True"
    });
    if !initializing || initialized {
        (summary.restarts, summary.restarted) = sidecar_restarts;
        run(pod, &mut summary);
    }
    if pod.at("/metadata/deletionTimestamp").is_some() {
        if pod.str_at("/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

/// Init containers up to the first that has not done its part. Whether there is one, and the restarts
/// of the sidecars alone.
fn initialize(pod: &Object, summary: &mut Summary) -> (bool, (i64, Option<SystemTime>)) {
    let specs = pod.array_at("/spec/initContainers");
    let mut sidecars = (0, None);
    for (index, status) in pod.array_at("/status/initContainerStatuses").iter().enumerate() {
        let sidecar =
            specs.iter().any(|spec| text(spec, "/name") == text(status, "/name") && is_sidecar(spec));
        summary.restarts += number(status, "/restartCount");
        summary.restarted = summary.restarted.max(last_end(status));
        if sidecar {
            sidecars.0 += number(status, "/restartCount");
            sidecars.1 = sidecars.1.max(last_end(status));
        }
        let ended = status.pointer("/state/terminated").filter(|state| !state.is_null());
        if ended.is_some_and(|ended| number(ended, "/exitCode") == 0) {
            continue;
        }
        if sidecar && flag(status, "/started") {
            summary.ready += usize::from(flag(status, "/ready"));
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        summary.reason = match ended {
            Some(ended) => format!("Init:{}", end_reason(ended)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", specs.len()),
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

/// The containers, last first: the first one's trouble is what counts.
fn run(pod: &Object, summary: &mut Summary) {
    let mut running = false;
    for status in pod.array_at("/status/containerStatuses").iter().rev() {
        summary.restarts += number(status, "/restartCount");
        summary.restarted = summary.restarted.max(last_end(status));
        let waiting = text(status, "/state/waiting/reason");
        let ended = status.pointer("/state/terminated").filter(|state| !state.is_null());
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(ended) = ended {
            summary.reason = end_reason(ended);
        } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = has_condition(pod, |condition| {
            text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
        });
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn end_reason(ended: &Value) -> String {
    match (text(ended, "/reason"), number(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn gates(pod: &Object) -> String {
    let gates = pod.array_at("/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let is_true = |gate: &&Value| {
        has_condition(pod, |condition| {
            text(condition, "/type") == text(gate, "/conditionType") && text(condition, "/status") == "True"
        })
    };
    format!("{}/{}", gates.iter().filter(is_true).count(), gates.len())
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn has_condition(pod: &Object, test: impl Fn(&Value) -> bool) -> bool {
    pod.array_at("/status/conditions").iter().any(test)
}

fn last_end(status: &Value) -> Option<SystemTime> {
    time::parse(text(status, "/lastState/terminated/finishedAt"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}
