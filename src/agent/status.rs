//! A pod's status from what was observed. Pure: `now` is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::record::{Attempt, Condition, Exit, Record, Stamp};
use super::spec;
use crate::api::{Object, time};
use crate::plan::pod::{RestartPolicy, restart_at};

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

pub struct Inputs<'a> {
    pub pod: &'a Object,
    pub record: &'a Record,
    /// Names of the containers that run.
    pub running: &'a BTreeSet<String>,
    /// What keeps containers from starting, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    pub sandbox_ready: bool,
    pub host_ips: &'a [IpAddr],
    pub now: SystemTime,
}

pub struct Status {
    /// The object below `status`.
    pub value: Value,
    /// With their transition times: to be kept in the record.
    pub conditions: BTreeMap<String, Condition>,
}

/// How long a failed start is shown as such before it is shown as waiting for the next one.
pub const SHOW_FAILURE: Duration = Duration::from_secs(5);

/// The status that a pod has now.
pub fn status(inputs: &Inputs<'_>) -> Status {
    let containers = inputs.pod.array_at("/spec/containers");
    let statuses: Vec<Value> =
        containers.iter().map(|container| container_status(inputs, container)).collect();
    let phase = phase(inputs, &statuses);
    let (conditions, shown) = conditions(inputs, &statuses, phase);
    let mut value = json!({
        "phase": phase,
        "conditions": shown,
        "qosClass": spec::qos_class(inputs.pod),
        "containerStatuses": statuses,
    });
    if let Some(generation) = inputs.pod.i64_at("/metadata/generation") {
        value["observedGeneration"] = generation.into();
    }
    if let Some(start) = inputs.record.start_time {
        value["startTime"] = time::format(start.0).into();
    }
    let own = &inputs.record.ips[..];
    let pod_ips = if inputs.pod.bool_at("/spec/hostNetwork") { inputs.host_ips } else { own };
    for (one, all, ips) in [("hostIP", "hostIPs", inputs.host_ips), ("podIP", "podIPs", pod_ips)] {
        if let Some(first) = ips.first() {
            value[one] = first.to_string().into();
            value[all] = ips.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
        }
    }
    Status { value, conditions }
}

fn container_status(inputs: &Inputs<'_>, container: &Value) -> Value {
    let text = |pointer| container.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let name = text("/name");
    let record = inputs.record.containers.get(name);
    let current = record.and_then(|record| record.current.as_ref());
    let last = record.and_then(|record| record.last.as_ref());
    let runs = inputs.running.contains(name);
    let exited = current.and_then(|attempt| Some((attempt, attempt.exit.as_ref()?)));
    let state = match exited {
        _ if runs => {
            let started = current.and_then(|attempt| attempt.started).map(|stamp| time::format(stamp.0));
            json!({"running": {"startedAt": started}})
        }
        Some((attempt, exit)) => match waits(inputs, name, attempt, exit) {
            Some(waiting) => waiting_state(&waiting),
            None => terminated_state(attempt, exit),
        },
        None => waiting_state(
            inputs
                .waiting
                .get(name)
                .unwrap_or(&Waiting { reason: "ContainerCreating".into(), message: String::new() }),
        ),
    };
    let before = if state.get("waiting").is_some() && exited.is_some() { current } else { last };
    let last_state = before
        .and_then(|attempt| Some(terminated_state(attempt, attempt.exit.as_ref()?)))
        .unwrap_or_else(|| json!({}));
    let mut status = json!({
        "name": name,
        "state": state,
        "lastState": last_state,
        "ready": runs,
        "started": runs,
        "restartCount": current.map_or(0, |attempt| attempt.number),
        "image": current.map_or(text("/image"), |attempt| &attempt.image),
        "imageID": current.map_or("", |attempt| &attempt.image_id),
    });
    if let Some(attempt) = current {
        status["containerID"] = format!("containerd://{}", attempt.id).into();
    }
    status
}

/// Why an ended container does not run again yet; None if it has ended for good, or starts now.
fn waits(inputs: &Inputs<'_>, name: &str, attempt: &Attempt, exit: &Exit) -> Option<Waiting> {
    let policy = RestartPolicy::parse(inputs.pod.str_at("/spec/restartPolicy"));
    if !policy.restarts(exit.code) || inputs.record.termination.is_some() {
        return None;
    }
    if let Some(waiting) = inputs.waiting.get(name) {
        return Some(waiting.clone());
    }
    let back_off =
        Duration::from_secs(inputs.record.containers.get(name).map_or(0, |record| record.back_off));
    let again = restart_at(&attempt.planned_exit()?, back_off, inputs.now);
    if again <= inputs.now {
        return None;
    }
    let failed_to_start = exit.reason == "StartError" && exit.finished.0 + SHOW_FAILURE > inputs.now;
    Some(if failed_to_start {
        Waiting { reason: "RunContainerError".into(), message: exit.message.clone() }
    } else {
        let PodName { namespace, name: pod, uid } = PodName::of(inputs.pod);
        let back_off = go_duration(back_off);
        let message =
            format!("back-off {back_off} restarting failed container={name} pod={pod}_{namespace}({uid})");
        Waiting { reason: "CrashLoopBackOff".into(), message }
    })
}

struct PodName<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

impl PodName<'_> {
    fn of(pod: &Object) -> PodName<'_> {
        PodName { namespace: pod.namespace(), name: pod.name(), uid: pod.uid() }
    }
}

fn waiting_state(waiting: &Waiting) -> Value {
    let mut state = json!({"waiting": {"reason": waiting.reason}});
    if !waiting.message.is_empty() {
        state["waiting"]["message"] = waiting.message.clone().into();
    }
    state
}

fn terminated_state(attempt: &Attempt, exit: &Exit) -> Value {
    let mut terminated = json!({
        "exitCode": exit.code,
        "reason": exit.reason,
        "startedAt": attempt.started.map(|stamp| time::format(stamp.0)),
        "finishedAt": time::format(exit.finished.0),
        "containerID": format!("containerd://{}", attempt.id),
    });
    if !exit.message.is_empty() {
        terminated["message"] = exit.message.clone().into();
    }
    json!({"terminated": terminated})
}

/// As the kubelet decides it (`getPhase`).
fn phase(inputs: &Inputs<'_>, statuses: &[Value]) -> &'static str {
    let policy = RestartPolicy::parse(inputs.pod.str_at("/spec/restartPolicy"));
    let (mut waiting, mut running, mut failed) = (false, false, false);
    for status in statuses {
        let ended = |pointer| status.pointer(pointer).and_then(Value::as_u64);
        running |= status.pointer("/state/running").is_some();
        match ended("/state/terminated/exitCode").or_else(|| ended("/lastState/terminated/exitCode")) {
            Some(code) => failed |= code != 0,
            None => waiting |= status.pointer("/state/waiting").is_some(),
        }
    }
    // What a deleted pod has left does not start again, whatever its policy.
    let terminating = inputs.record.termination.is_some();
    match policy {
        _ if waiting => "Pending",
        _ if running => "Running",
        RestartPolicy::Always if !terminating => "Running",
        RestartPolicy::OnFailure if failed && !terminating => "Running",
        _ if failed => "Failed",
        _ => "Succeeded",
    }
}

/// For the record, and as `status.conditions` shows them.
fn conditions(
    inputs: &Inputs<'_>,
    statuses: &[Value],
    phase: &str,
) -> (BTreeMap<String, Condition>, Vec<Value>) {
    let unready: Vec<&str> = statuses
        .iter()
        .filter(|status| status.get("ready") != Some(&Value::Bool(true)))
        .filter_map(|status| status.get("name").and_then(Value::as_str))
        .collect();
    let ended = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let ready = unready.is_empty() && ended.is_none();
    let reason = (!ready).then_some(ended.unwrap_or("ContainersNotReady"));
    let message = (ended.is_none() && !unready.is_empty())
        .then(|| format!("containers with unready status: [{}]", unready.join(" ")));
    // Initialized and PodScheduled have been true since the node took the pod.
    let took = inputs.record.start_time.map_or(inputs.now, |stamp| stamp.0);
    let rows = [
        ("PodReadyToStartContainers", inputs.sandbox_ready, inputs.now),
        ("Initialized", true, took),
        ("Ready", ready, inputs.now),
        ("ContainersReady", ready, inputs.now),
        ("PodScheduled", true, took),
    ];
    let mut kept = BTreeMap::new();
    let mut shown = Vec::new();
    for (kind, status, since) in rows {
        let before = inputs.record.conditions.get(kind).filter(|before| before.status == status);
        let condition = before.copied().unwrap_or(Condition { status, since: Stamp(since) });
        let mut row = json!({
            "type": kind,
            "status": if status { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": time::format(condition.since.0),
        });
        if kind.ends_with("Ready") {
            if let Some(reason) = reason {
                row["reason"] = reason.into();
            }
            if let Some(message) = &message {
                row["message"] = message.as_str().into();
            }
        }
        kept.insert(kind.to_owned(), condition);
        shown.push(row);
    }
    (kept, shown)
}

/// `10s`, `1m20s`, `5m0s`: durations as Kubernetes' messages have them.
pub fn go_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests;
