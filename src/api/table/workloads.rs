//! The columns of kinds that keep pods running, as upstream's.

use std::time::SystemTime;

use serde_json::Value;

use super::columns::{AGE, NAME};
use super::{Column, age, human_duration, or};
use crate::api::{Object, selector};

mod autoscaler;

pub use autoscaler::HORIZONTAL_POD_AUTOSCALER;

const NONE: &str = "<none>";

pub const DEPLOYMENT: &[Column] = &[
    NAME,
    Column::text("Ready", "Pods that are ready, and pods wanted.", |object, _| ready(object)),
    Column::text("Up-to-date", "Pods of the present template.", |object, _| {
        count(object, "/status/updatedReplicas")
    }),
    Column::text("Available", "Pods that have been ready for minReadySeconds.", |object, _| {
        count(object, "/status/availableReplicas")
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const REPLICA_SET: &[Column] = &[NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR];

pub const REPLICATION_CONTROLLER: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS,
    IMAGES,
    Column { cell: |object, _| labels(object, "/spec/selector"), ..SELECTOR },
];

pub const DAEMON_SET: &[Column] = &[
    NAME,
    Column { cell: |object, _| count(object, "/status/desiredNumberScheduled"), ..DESIRED },
    Column { cell: |object, _| count(object, "/status/currentNumberScheduled"), ..CURRENT },
    Column { cell: |object, _| count(object, "/status/numberReady"), ..READY },
    Column::text("Up-to-date", "Pods of the present template.", |object, _| {
        count(object, "/status/updatedNumberScheduled")
    })
    .integer(),
    Column::text("Available", "Pods that have been ready for minReadySeconds.", |object, _| {
        count(object, "/status/numberAvailable")
    })
    .integer(),
    Column::text("Node Selector", "The nodes that get a pod.", |object, _| {
        labels(object, "/spec/template/spec/nodeSelector")
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const STATEFUL_SET: &[Column] = &[
    NAME,
    Column::text("Ready", "Pods that are ready, and pods wanted.", |object, _| ready(object)),
    AGE,
    CONTAINERS,
    IMAGES,
];

pub const JOB: &[Column] = &[
    NAME,
    Column::text("Status", "What has become of it.", |job, _| job_status(job).into()),
    Column::text("Completions", "Pods that have succeeded, and pods that shall.", |job, _| {
        completions(job).into()
    }),
    Column::text("Duration", "Time that it took, or has taken.", |job, now| duration(job, now).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const CRON_JOB: &[Column] = &[
    NAME,
    Column::text("Schedule", "When Jobs are made.", |object, _| object.str_at("/spec/schedule").into()),
    Column::text("Timezone", "The time zone of the schedule.", |object, _| {
        or(object.str_at("/spec/timeZone"), NONE)
    }),
    Column {
        kind: "boolean",
        ..Column::text("Suspend", "Whether no Jobs are made.", |object, _| {
            if object.bool_at("/spec/suspend") { "True".into() } else { "False".into() }
        })
    },
    Column::text("Active", "Jobs that are running.", |object, _| {
        object.array_at("/status/active").len().into()
    })
    .integer(),
    Column::text("Last Schedule", "Time since a Job was made.", |object, now| {
        match object.time_at("/status/lastScheduleTime") {
            None => NONE.into(),
            last => age(last, now).into(),
        }
    }),
    AGE,
    Column { cell: |object, _| containers(object, CRON_JOB_PODS, "name"), ..CONTAINERS },
    Column { cell: |object, _| containers(object, CRON_JOB_PODS, "image"), ..IMAGES },
    Column { cell: |object, _| selected(object, "/spec/jobTemplate/spec/selector"), ..SELECTOR },
];

pub const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    Column::text("Min Available", "Pods that must stay.", |object, _| bound(object, "/spec/minAvailable")),
    Column::text("Max Unavailable", "Pods that may be missing.", |object, _| {
        bound(object, "/spec/maxUnavailable")
    }),
    Column::text("Allowed Disruptions", "Pods that may be evicted now.", |object, _| {
        count(object, "/status/disruptionsAllowed")
    })
    .integer(),
    AGE,
];

pub const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    Column::text("Controller", "What it is a revision of.", |object, _| controller(object).into()),
    Column::text("Revision", "Its number.", |object, _| count(object, "/revision")),
    AGE,
];

pub const POD_TEMPLATE: &[Column] = &[
    NAME,
    Column {
        priority: 0,
        cell: |object, _| containers(object, "/template/spec/containers", "name"),
        ..CONTAINERS
    },
    Column {
        priority: 0,
        cell: |object, _| containers(object, "/template/spec/containers", "image"),
        ..IMAGES
    },
    Column::text("Pod Labels", "Labels of the pods.", |object, _| {
        labels(object, "/template/metadata/labels")
    }),
];

const PODS: &str = "/spec/template/spec/containers";
const CRON_JOB_PODS: &str = "/spec/jobTemplate/spec/template/spec/containers";

const DESIRED: Column =
    Column::text("Desired", "Pods wanted.", |object, _| count(object, "/spec/replicas")).integer();
const CURRENT: Column =
    Column::text("Current", "Pods that there are.", |object, _| count(object, "/status/replicas")).integer();
const READY: Column =
    Column::text("Ready", "Pods that are ready.", |object, _| count(object, "/status/readyReplicas"))
        .integer();
const CONTAINERS: Column =
    Column::text("Containers", "Names of the containers.", |object, _| containers(object, PODS, "name"))
        .wide();
const IMAGES: Column =
    Column::text("Images", "Images of the containers.", |object, _| containers(object, PODS, "image")).wide();
const SELECTOR: Column =
    Column::text("Selector", "The pods that are its own.", |object, _| selected(object, "/spec/selector"))
        .wide();

/// 0 when absent.
fn count(object: &Object, pointer: &str) -> Value {
    object.i64_at(pointer).unwrap_or(0).into()
}

fn ready(object: &Object) -> Value {
    let number = |pointer| object.i64_at(pointer).unwrap_or(0);
    format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas")).into()
}

fn containers(object: &Object, pointer: &str, key: &str) -> Value {
    let text = |container: &Value| container.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    object.array_at(pointer).iter().map(text).collect::<Vec<_>>().join(",").into()
}

fn selected(object: &Object, pointer: &str) -> Value {
    or(&object.at(pointer).map(selector::format).unwrap_or_default(), NONE)
}

fn labels(object: &Object, pointer: &str) -> Value {
    or(&object.at(pointer).map(selector::format_labels).unwrap_or_default(), NONE)
}

fn bound(object: &Object, pointer: &str) -> Value {
    match object.at(pointer) {
        Some(Value::Number(number)) => number.to_string().into(),
        Some(text @ Value::String(_)) => text.clone(),
        _ => "N/A".into(),
    }
}

fn job_status(job: &Object) -> &'static str {
    let conditions = job.array_at("/status/conditions");
    let is = |kind: &str| {
        let holds = |condition: &&Value| {
            condition.get("type") == Some(&kind.into()) && condition.get("status") == Some(&"True".into())
        };
        conditions.iter().any(|condition| holds(&condition))
    };
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if job.deletion_timestamp().is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Object) -> String {
    let succeeded = job.i64_at("/status/succeeded").unwrap_or(0);
    match (job.i64_at("/spec/completions"), job.i64_at("/spec/parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Object, now: SystemTime) -> String {
    let Some(start) = job.time_at("/status/startTime") else { return String::new() };
    let end = job.time_at("/status/completionTime").unwrap_or(now);
    human_duration(end.duration_since(start).unwrap_or_default())
}

/// `statefulset.apps/web`.
fn controller(object: &Object) -> String {
    let owners = object.array_at("/metadata/ownerReferences").iter();
    let mut owners = owners.filter(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let Some(owner) = owners.next() else { return NONE.to_owned() };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or("");
    let kind = text("kind").to_lowercase();
    match text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text("name")),
        None => format!("{kind}/{}", text("name")),
    }
}

#[cfg(test)]
mod tests;
