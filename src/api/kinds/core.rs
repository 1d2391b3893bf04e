//! The core group's own kinds, and Lease.

use super::{CONNECT, CORE, Field, Kind, NO_COLLECTION, READ_WRITE, Subresource};
use crate::api::{strategy, table};

pub static NODE: &Kind = &Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    list_kind: "NodeList",
    short_names: &["no"],
    namespaced: false,
    subresources: &[
        Subresource::new("proxy", "NodeProxyOptions", &["get"]),
        Subresource::new("status", "Node", READ_WRITE),
    ],
    columns: table::NODE,
    fields: &[Field {
        label: "spec.unschedulable",
        value: |node| node.bool_at("/spec/unschedulable").to_string().into(),
    }],
    strategy: &strategy::NodeStrategy,
    ..CORE
};

pub static NAMESPACE: &Kind = &Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    list_kind: "NamespaceList",
    short_names: &["ns"],
    namespaced: false,
    verbs: NO_COLLECTION,
    subresources: &[
        Subresource::new("finalize", "Namespace", &["update"]),
        Subresource::new("status", "Namespace", READ_WRITE),
    ],
    columns: table::NAMESPACE,
    fields: &[Field { label: "status.phase", value: |o| o.str_at("/status/phase").into() }],
    label_names: true,
    strategy: &strategy::NamespaceStrategy,
    ..CORE
};

pub static POD: &Kind = &Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    list_kind: "PodList",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource::new("attach", "PodAttachOptions", CONNECT),
        Subresource::new("binding", "Binding", &["create"]),
        // `kubectl drain` evicts if it finds this, and otherwise deletes.
        Subresource { body: Some(("policy", "v1")), ..Subresource::new("eviction", "Eviction", &["create"]) },
        Subresource::new("ephemeralcontainers", "Pod", READ_WRITE),
        Subresource::new("exec", "PodExecOptions", CONNECT),
        Subresource::new("log", "Pod", &["get"]),
        Subresource::new("portforward", "PodPortForwardOptions", CONNECT),
        Subresource::new("status", "Pod", READ_WRITE),
    ],
    columns: table::POD,
    fields: &[
        Field { label: "spec.nodeName", value: |o| o.str_at("/spec/nodeName").into() },
        Field { label: "spec.restartPolicy", value: |o| o.str_at("/spec/restartPolicy").into() },
        Field { label: "spec.schedulerName", value: |o| o.str_at("/spec/schedulerName").into() },
        Field { label: "spec.serviceAccountName", value: |o| o.str_at("/spec/serviceAccountName").into() },
        Field { label: "spec.hostNetwork", value: |o| o.bool_at("/spec/hostNetwork").to_string().into() },
        Field { label: "status.phase", value: |o| o.str_at("/status/phase").into() },
        Field { label: "status.podIP", value: |o| o.str_at("/status/podIP").into() },
        Field { label: "status.podIPs", value: |o| o.str_at("/status/podIP").into() },
        Field { label: "status.nominatedNodeName", value: |o| o.str_at("/status/nominatedNodeName").into() },
    ],
    strategy: &strategy::PodStrategy,
    ..CORE
};

pub static EVENT: &Kind = &Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    list_kind: "EventList",
    short_names: &["ev"],
    columns: table::EVENT,
    fields: &[
        Field { label: "involvedObject.kind", value: |o| o.str_at("/involvedObject/kind").into() },
        Field { label: "involvedObject.namespace", value: |o| o.str_at("/involvedObject/namespace").into() },
        Field { label: "involvedObject.name", value: |o| o.str_at("/involvedObject/name").into() },
        Field { label: "involvedObject.uid", value: |o| o.str_at("/involvedObject/uid").into() },
        Field {
            label: "involvedObject.apiVersion",
            value: |o| o.str_at("/involvedObject/apiVersion").into(),
        },
        Field {
            label: "involvedObject.resourceVersion",
            value: |o| o.str_at("/involvedObject/resourceVersion").into(),
        },
        Field { label: "involvedObject.fieldPath", value: |o| o.str_at("/involvedObject/fieldPath").into() },
        Field { label: "reason", value: |o| o.str_at("/reason").into() },
        Field { label: "reportingComponent", value: |o| o.str_at("/reportingComponent").into() },
        Field {
            label: "source",
            value: |o| match o.str_at("/source/component") {
                "" => o.str_at("/reportingComponent").into(),
                component => component.into(),
            },
        },
        Field { label: "type", value: |o| o.str_at("/type").into() },
    ],
    strategy: &strategy::EventStrategy,
    ..CORE
};

pub static CONFIG_MAP: &Kind = &Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    list_kind: "ConfigMapList",
    short_names: &["cm"],
    columns: table::CONFIG_MAP,
    strategy: &strategy::ConfigMapStrategy,
    ..CORE
};

pub static SECRET: &Kind = &Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    list_kind: "SecretList",
    columns: table::SECRET,
    fields: &[Field { label: "type", value: |o| o.str_at("/type").into() }],
    strategy: &strategy::SecretStrategy,
    ..CORE
};

pub static SERVICE_ACCOUNT: &Kind = &Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    list_kind: "ServiceAccountList",
    short_names: &["sa"],
    subresources: &[Subresource {
        body: Some(("authentication.k8s.io", "v1")),
        ..Subresource::new("token", "TokenRequest", &["create"])
    }],
    columns: table::SERVICE_ACCOUNT,
    strategy: &strategy::ServiceAccountStrategy,
    ..CORE
};

pub static LEASE: &Kind = &Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    list_kind: "LeaseList",
    columns: table::LEASE,
    strategy: &strategy::LeaseStrategy,
    ..CORE
};
