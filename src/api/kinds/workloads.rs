//! Kinds that keep pods running.

use super::{CORE, Kind, READ_WRITE, Subresource};

/// The replicas of a kind that has some.
const SCALE: Subresource =
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
    ..APPS
};

pub static DEPLOYMENT: &Kind = &Kind {
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    list_kind: "DeploymentList",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[SCALE, Subresource::new("status", "Deployment", READ_WRITE)],
    ..APPS
};

pub static REPLICA_SET: &Kind = &Kind {
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    list_kind: "ReplicaSetList",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[SCALE, Subresource::new("status", "ReplicaSet", READ_WRITE)],
    ..APPS
};

pub static STATEFUL_SET: &Kind = &Kind {
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    list_kind: "StatefulSetList",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[SCALE, Subresource::new("status", "StatefulSet", READ_WRITE)],
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
    ..BATCH
};

pub static JOB: &Kind = &Kind {
    kind: "Job",
    plural: "jobs",
    singular: "job",
    list_kind: "JobList",
    categories: &["all"],
    subresources: &[Subresource::new("status", "Job", READ_WRITE)],
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
    ..AUTOSCALING
};

pub static POD_DISRUPTION_BUDGET: &Kind = &Kind {
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    list_kind: "PodDisruptionBudgetList",
    short_names: &["pdb"],
    subresources: &[Subresource::new("status", "PodDisruptionBudget", READ_WRITE)],
    ..POLICY
};

pub static POD_TEMPLATE: &Kind = &Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    list_kind: "PodTemplateList",
    ..CORE
};

pub static REPLICATION_CONTROLLER: &Kind = &Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    list_kind: "ReplicationControllerList",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[SCALE, Subresource::new("status", "ReplicationController", READ_WRITE)],
    ..CORE
};
