//! What one container's status says.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Inputs, SHOW_FAILURE, Waiting, go_duration};
use crate::agent::container::{SIGTERM, declared, signal};
use crate::agent::record::{Attempt, Exit};
use crate::api::time;
use crate::plan::pod::{Role, Wanted, restart_at};

/// What the termination messages of a pod may have together, and each of them.
const MAX_MESSAGES: usize = 12 * 1024;
const MAX_MESSAGE: usize = 4096;

pub(super) fn status(inputs: &Inputs<'_>, wanted: &Wanted) -> Value {
    let name = &wanted.name;
    let container = declared(inputs.pod, name).unwrap_or(&Value::Null);
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let record = inputs.record.containers.get(name);
    let current = record.and_then(|record| record.current.as_ref());
    let last = record.and_then(|record| record.last.as_ref());
    let seen = inputs.running.get(name);
    let exited = current.and_then(|attempt| Some((attempt, attempt.exit.as_ref()?)));
    let state = match exited {
        _ if seen.is_some() => {
            let started = current.and_then(|attempt| attempt.started).map(|stamp| time::format(stamp.0));
            json!({"running": {"startedAt": started}})
        }
        Some((attempt, exit)) => match waits(inputs, wanted, attempt, exit) {
            Some(waiting) => waiting_state(inputs, &waiting),
            None => terminated_state(inputs, attempt, exit),
        },
        None => {
            let creating = Waiting { reason: "ContainerCreating".into(), message: String::new() };
            waiting_state(inputs, inputs.waiting.get(name).unwrap_or(&creating))
        }
    };
    let before = if state.get("waiting").is_some() && exited.is_some() { current } else { last };
    let last_state = before
        .and_then(|attempt| Some(terminated_state(inputs, attempt, attempt.exit.as_ref()?)))
        .unwrap_or_else(|| json!({}));
    let ready = match wanted.role {
        // Done, and not to be done again.
        Role::Init => exited.is_some_and(|(_, exit)| exit.code == 0) && seen.is_none(),
        Role::Sidecar | Role::Main => seen.is_some_and(|seen| seen.ready),
        Role::Ephemeral => false,
    };
    let mut status = json!({
        "name": name,
        "state": state,
        "lastState": last_state,
        "ready": ready,
        "restartCount": current.map_or(0, |attempt| attempt.number),
        "image": current.map_or(image, |attempt| &attempt.image),
        "imageID": current.map_or("", |attempt| &attempt.image_id),
    });
    if wanted.role != Role::Ephemeral {
        let has_started = wanted.role != Role::Init && seen.is_some_and(|seen| seen.started);
        status["started"] = has_started.into();
    }
    if let Some(attempt) = current {
        status["containerID"] = format!("containerd://{}", attempt.id).into();
        let own = container.pointer("/lifecycle/stopSignal").and_then(Value::as_str);
        match own {
            Some(own) => status["stopSignal"] = own.into(),
            // What everything has that does not say is not said here either.
            None if matches!(attempt.stop_signal, 0 | SIGTERM) => {}
            None => status["stopSignal"] = signal::name(attempt.stop_signal).into(),
        }
    }
    if let Some(resources) = container.get("resources").and_then(Value::as_object) {
        let kept = ["limits", "requests"].into_iter().filter_map(|key| Some((key, resources.get(key)?)));
        let kept: serde_json::Map<String, Value> =
            kept.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        if let Some(requests) = kept.get("requests") {
            status["allocatedResources"] = requests.clone();
        }
        status["resources"] = kept.into();
    }
    status
}

/// Why an ended container does not run again yet; None if it has ended for good, or starts now.
fn waits(inputs: &Inputs<'_>, wanted: &Wanted, attempt: &Attempt, exit: &Exit) -> Option<Waiting> {
    let name = &wanted.name;
    if !wanted.restarts(exit.code) || inputs.record.is_ending() || wanted.role == Role::Init && exit.code == 0
    {
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
        let (namespace, pod, uid) = (inputs.pod.namespace(), inputs.pod.name(), inputs.pod.uid());
        let back_off = go_duration(back_off);
        let message =
            format!("back-off {back_off} restarting failed container={name} pod={pod}_{namespace}({uid})");
        Waiting { reason: "CrashLoopBackOff".into(), message }
    })
}

/// One that is just not there yet waits for the pod's init containers, if it has any.
fn waiting_state(inputs: &Inputs<'_>, waiting: &Waiting) -> Value {
    let has_init = inputs.containers.iter().any(|other| matches!(other.role, Role::Init | Role::Sidecar));
    let reason = match waiting.reason.as_str() {
        "ContainerCreating" if has_init => "PodInitializing",
        reason => reason,
    };
    let mut state = json!({"waiting": {"reason": reason}});
    if !waiting.message.is_empty() {
        state["waiting"]["message"] = waiting.message.clone().into();
    }
    state
}

fn terminated_state(inputs: &Inputs<'_>, attempt: &Attempt, exit: &Exit) -> Value {
    let mut terminated = json!({
        "exitCode": exit.code,
        "reason": exit.reason,
        "startedAt": attempt.started.map(|stamp| time::format(stamp.0)),
        "finishedAt": time::format(exit.finished.0),
        "containerID": format!("containerd://{}", attempt.id),
    });
    if !exit.message.is_empty() {
        let limit = (MAX_MESSAGES / inputs.containers.len().max(1)).min(MAX_MESSAGE);
        let mut ends = (0..=limit.min(exit.message.len())).rev();
        let end = ends.find(|end| exit.message.is_char_boundary(*end)).unwrap_or(0);
        terminated["message"] = exit.message.get(..end).unwrap_or("").into();
    }
    json!({"terminated": terminated})
}
