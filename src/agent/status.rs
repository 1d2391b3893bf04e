//! A pod's status from what was observed. Pure: `now` is an argument.

mod conditions;
mod container;
mod phase;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::record::{Condition, Record, Seen};
use super::spec;
use crate::api::{Object, time};
use crate::plan::pod::{Role, Wanted};

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

pub struct Inputs<'a> {
    pub pod: &'a Object,
    pub containers: &'a [Wanted],
    pub record: &'a Record,
    /// The containers that run, their postStart hooks done, by name.
    pub running: &'a BTreeMap<String, Seen>,
    /// What keeps containers from starting, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    pub is_initialized: bool,
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

/// One container with its status.
struct Shown<'a> {
    wanted: &'a Wanted,
    value: Value,
}

impl Shown<'_> {
    fn is_ready(&self) -> bool {
        self.value.get("ready") == Some(&Value::Bool(true))
    }

    fn has_started(&self) -> bool {
        self.value.get("started") == Some(&Value::Bool(true))
    }

    fn exit_code(&self, pointer: &str) -> Option<u64> {
        self.value.pointer(pointer)?.get("exitCode")?.as_u64()
    }

    fn runs(&self) -> bool {
        self.value.pointer("/state/running").is_some()
    }
}

/// The status that a pod has now.
pub fn status(inputs: &Inputs<'_>) -> Status {
    let shown: Vec<Shown<'_>> = inputs
        .containers
        .iter()
        .map(|wanted| Shown { wanted, value: container::status(inputs, wanted) })
        .collect();
    let phase = phase::phase(inputs, &shown);
    let (conditions, rows) = conditions::conditions(inputs, &shown, phase);
    let mut value = json!({
        "phase": phase,
        "conditions": rows,
        "qosClass": spec::qos_class(inputs.pod),
        "containerStatuses": [],
    });
    for one in shown {
        let list = match one.wanted.role {
            Role::Init | Role::Sidecar => "initContainerStatuses",
            Role::Main => "containerStatuses",
            Role::Ephemeral => "ephemeralContainerStatuses",
        };
        match value[list].as_array_mut() {
            Some(list) => list.push(one.value),
            None => value[list] = json!([one.value]),
        }
    }
    if let Some(failure) = inputs.record.failure.as_ref().filter(|_| phase == "Failed") {
        value["reason"] = failure.reason.as_str().into();
        value["message"] = failure.message.as_str().into();
    }
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

/// `10s`, `1m20s`, `5m0s`: durations as Kubernetes' messages have them.
pub fn go_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests;
