//! Kinds that keep pods running.

use std::borrow::Cow;

use super::{CORE, Field, Kind, READ_WRITE, Scale, Subresource};
use crate::api::strategy::workloads as strategy;
use crate::api::{Object, table};

/// What the subresource `scale` reads and writes. It is made of other objects, and never stored.
pub static SCALE: &Kind = &Kind {
    kind: "Scale",
    plural: "scales",
    singular: "scale",
    list_kind: "ScaleList",
    version: "v1",
    ..AUTOSCALING
};

/// Where all kinds of the table have it.
static REPLICAS: &Scale =
    &Scale { replicas: "/spec/replicas", status_replicas: "/status/replicas", selector: "/spec/selector" };

/// The replicas of a kind that has some.
const SCALED: Subresource =
    Subresource { body: Some(("autoscaling", "v1")), ..Subresource::new("scale", "Scale", READ_WRITE) };

const APPS: Kind = Kind { group: "apps", ..CORE };

const BATCH: Kind = Kind { group: "batch", ..CORE };

const AUTOSCALING: Kind = Kind { group: "autoscaling", version: "v2", ..CORE };

const POLICY: Kind = Kind { group: "policy", ..CORE };

pub static CONTROLLER_REVISION: &Kind = &Kind {
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    list_kind: "ControllerRevisionList",
    columns: table::CONTROLLER_REVISION,
    strategy: &strategy::CONTROLLER_REVISION,
    ..APPS
};

pub static DAEMON_SET: &Kind = &Kind {
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    list_kind: "DaemonSetList",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[Subresource::new("status", "DaemonSet", READ_WRITE)],
    columns: table::DAEMON_SET,
    strategy: &strategy::DAEMON_SET,
    ..APPS
};

pub static DEPLOYMENT: &Kind = &Kind {
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    list_kind: "DeploymentList",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[SCALED, Subresource::new("status", "Deployment", READ_WRITE)],
    columns: table::DEPLOYMENT,
    strategy: &strategy::DEPLOYMENT,
    scale: Some(REPLICAS),
    ..APPS
};

pub static REPLICA_SET: &Kind = &Kind {
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    list_kind: "ReplicaSetList",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[SCALED, Subresource::new("status", "ReplicaSet", READ_WRITE)],
    columns: table::REPLICA_SET,
    strategy: &strategy::REPLICA_SET,
    scale: Some(REPLICAS),
    ..APPS
};

pub static STATEFUL_SET: &Kind = &Kind {
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    list_kind: "StatefulSetList",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[SCALED, Subresource::new("status", "StatefulSet", READ_WRITE)],
    columns: table::STATEFUL_SET,
    strategy: &strategy::STATEFUL_SET,
    scale: Some(REPLICAS),
    ..APPS
};

pub static CRON_JOB: &Kind = &Kind {
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    list_kind: "CronJobList",
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[Subresource::new("status", "CronJob", READ_WRITE)],
    columns: table::CRON_JOB,
    strategy: &strategy::CRON_JOB,
    ..BATCH
};

pub static JOB: &Kind = &Kind {
    kind: "Job",
    plural: "jobs",
    singular: "job",
    list_kind: "JobList",
    categories: &["all"],
    subresources: &[Subresource::new("status", "Job", READ_WRITE)],
    columns: table::JOB,
    fields: &[Field { label: "status.successful", value: |job| number(job, "/status/succeeded") }],
    strategy: &strategy::JOB,
    ..BATCH
};

pub static HORIZONTAL_POD_AUTOSCALER: &Kind = &Kind {
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    list_kind: "HorizontalPodAutoscalerList",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[Subresource::new("status", "HorizontalPodAutoscaler", READ_WRITE)],
    columns: table::HORIZONTAL_POD_AUTOSCALER,
    strategy: &strategy::HORIZONTAL_POD_AUTOSCALER,
    ..AUTOSCALING
};

pub static POD_DISRUPTION_BUDGET: &Kind = &Kind {
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    list_kind: "PodDisruptionBudgetList",
    short_names: &["pdb"],
    subresources: &[Subresource::new("status", "PodDisruptionBudget", READ_WRITE)],
    columns: table::POD_DISRUPTION_BUDGET,
    strategy: &strategy::POD_DISRUPTION_BUDGET,
    ..POLICY
};

pub static POD_TEMPLATE: &Kind = &Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    list_kind: "PodTemplateList",
    columns: table::POD_TEMPLATE,
    strategy: &strategy::POD_TEMPLATE,
    ..CORE
};

pub static REPLICATION_CONTROLLER: &Kind = &Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    list_kind: "ReplicationControllerList",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[SCALED, Subresource::new("status", "ReplicationController", READ_WRITE)],
    columns: table::REPLICATION_CONTROLLER,
    fields: &[Field { label: "status.replicas", value: |set| number(set, "/status/replicas") }],
    strategy: &strategy::REPLICATION_CONTROLLER,
    scale: Some(REPLICAS),
    ..CORE
};

fn number<'a>(object: &'a Object, pointer: &str) -> Cow<'a, str> {
    object.i64_at(pointer).unwrap_or(0).to_string().into()
}
