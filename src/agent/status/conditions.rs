//! The pod's conditions, in upstream's words.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Inputs, Shown};
use crate::agent::record::{Condition, Failure, Stamp};
use crate::api::time;
use crate::plan::pod::Role;

struct Row {
    kind: &'static str,
    status: bool,
    /// Why it is false, or what there is to say although it is true; "" otherwise.
    reason: &'static str,
    message: String,
    /// When it came to be so, as far as is not recorded.
    since: SystemTime,
}

/// For the record, and as `status.conditions` shows them.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    shown: &[Shown<'_>],
    phase: &str,
) -> (BTreeMap<String, Condition>, Vec<Value>) {
    let mut kept = BTreeMap::new();
    let mut values = Vec::new();
    for row in rows(inputs, shown, phase) {
        let before = inputs.record.conditions.get(row.kind).filter(|before| before.status == row.status);
        let since = Stamp(row.since);
        let condition = before.copied().unwrap_or(Condition { status: row.status, since });
        let mut value = json!({
            "type": row.kind,
            "status": if row.status { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": time::format(condition.since.0),
        });
        for (key, text) in [("reason", row.reason), ("message", &row.message)] {
            if !text.is_empty() {
                value[key] = text.into();
            }
        }
        if let Some(generation) = inputs.pod.i64_at("/metadata/generation") {
            value["observedGeneration"] = generation.into();
        }
        kept.insert(row.kind.to_owned(), condition);
        values.push(value);
    }
    (kept, values)
}

fn rows(inputs: &Inputs<'_>, shown: &[Shown<'_>], phase: &str) -> Vec<Row> {
    let now = inputs.now;
    // Initialized without init containers, and PodScheduled, have been true since the node took the pod.
    let took = inputs.record.start_time.map_or(now, |stamp| stamp.0);
    let row = |kind, status, reason, message| Row { kind, status, reason, message, since: now };
    let (ready, reason, message) = containers_ready(shown, phase);
    let own = row("ContainersReady", ready, reason, message.clone());
    let gates = if ready { gates(inputs) } else { String::new() };
    let pods = match gates.is_empty() {
        true => row("Ready", ready, reason, message),
        false => row("Ready", false, "ReadinessGatesNotReady", gates),
    };
    let mut rows = vec![
        row("PodReadyToStartContainers", inputs.sandbox_ready, "", String::new()),
        initialized(inputs, shown, phase, took),
        pods,
        own,
        Row { since: took, ..row("PodScheduled", true, "", String::new()) },
    ];
    let disrupts = |failure: &&Failure| matches!(failure.reason.as_str(), "Evicted" | "Terminated");
    if let Some(failure) = inputs.record.failure.as_ref().filter(disrupts) {
        rows.push(row("DisruptionTarget", true, "TerminationByKubelet", failure.message.clone()));
    }
    rows
}

fn names(shown: &[Shown<'_>], is_meant: impl Fn(&Shown<'_>) -> bool) -> Vec<String> {
    shown.iter().filter(|one| is_meant(one)).map(|one| one.wanted.name.clone()).collect()
}

fn containers_ready(shown: &[Shown<'_>], phase: &str) -> (bool, &'static str, String) {
    match phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let counts = |role| matches!(role, Role::Sidecar | Role::Main);
    let unready = names(shown, |one| counts(one.wanted.role) && !one.is_ready());
    if unready.is_empty() {
        return (true, "", String::new());
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, "ContainersNotReady", message)
}

fn initialized(inputs: &Inputs<'_>, shown: &[Shown<'_>], phase: &str, took: SystemTime) -> Row {
    let incomplete = names(shown, |one| match one.wanted.role {
        Role::Init => !one.is_ready(),
        Role::Sidecar => !one.has_started(),
        Role::Main | Role::Ephemeral => false,
    });
    let has_init = shown.iter().any(|one| matches!(one.wanted.role, Role::Init | Role::Sidecar));
    let since = if has_init { inputs.now } else { took };
    let (status, reason, message) = match phase {
        "Succeeded" => (true, "PodCompleted", String::new()),
        _ if inputs.is_initialized || incomplete.is_empty() => (true, "", String::new()),
        _ => {
            let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
            (false, "ContainersNotInitialized", message)
        }
    };
    Row { kind: "Initialized", status, reason, message, since }
}

/// What readiness gates are not open; the conditions come from others, by the pod's own object.
fn gates(inputs: &Inputs<'_>) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut messages = Vec::new();
    for gate in inputs.pod.array_at("/spec/readinessGates") {
        let kind = text(gate, "conditionType");
        let conditions = inputs.pod.array_at("/status/conditions");
        match conditions.iter().find(|condition| text(condition, "type") == kind) {
            None => messages
                .push(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
            Some(condition) if text(condition, "status") != "True" => messages.push(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                text(condition, "status")
            )),
            Some(_) => {}
        }
    }
    messages.join(", ")
}
