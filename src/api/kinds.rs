//! The table of kinds: routing, discovery, storage keys, table output and tests read the same rows.

use std::borrow::Cow;
use std::fmt;

use super::Object;
use super::strategy::{self, PlainStrategy, Strategy};
use super::table::{self, Column};

/// One kind.
pub struct Kind {
    /// "" for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub list_kind: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
    /// What field selectors may name beyond metadata.name and metadata.namespace.
    pub fields: &'static [Field],
    /// Whether names are DNS labels (63 bytes, no dots) instead of subdomains.
    pub label_names: bool,
    pub strategy: &'static dyn Strategy,
}

/// `status`, `log` and the like, as discovery tells of them.
pub struct Subresource {
    pub name: &'static str,
    /// The kind of its bodies.
    pub kind: &'static str,
    /// Group and version of that kind where they are not the object's.
    pub body: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

impl Subresource {
    const fn new(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, kind, body: None, verbs }
    }
}

/// A field that a field selector may name.
pub struct Field {
    pub label: &'static str,
    pub value: for<'a> fn(&'a Object) -> Cow<'a, str>,
}

/// All of them, in the order of discovery.
pub static KINDS: &[&Kind] = &[
    CONFIG_MAP,
    EVENT,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    LEASE,
    STORAGE_CLASS,
];

/// Kinds that are made when they are asked for: discovery tells of them, nothing stores them.
pub static COMPUTED: &[&Kind] = &[NODE_METRICS, POD_METRICS];

/// Every kind that can be read.
pub fn served() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(COMPUTED).copied()
}

impl Kind {
    /// By URL: group ("" for core), version, plural.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        served().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// By what an object says of itself.
    pub fn of(api_version: &str, kind: &str) -> Option<&'static Kind> {
        KINDS.iter().copied().find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// `v1`, `coordination.k8s.io/v1`.
    pub fn api_version(&self) -> Cow<'static, str> {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version).into()
        }
    }

    /// `pods`, `leases.coordination.k8s.io`: how error messages and storage keys name the resource.
    pub fn resource(&self) -> Cow<'static, str> {
        if self.group.is_empty() {
            self.plural.into()
        } else {
            format!("{}.{}", self.plural, self.group).into()
        }
    }

    /// The storage key: `pods/default/web`, `nodes/pi-1`. `namespace` is ignored for a kind without.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let resource = self.resource();
        if self.namespaced { format!("{resource}/{namespace}/{name}") } else { format!("{resource}/{name}") }
    }

    /// What the keys of a namespace (all of the kind when None) start with; ends in `/`.
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        let resource = self.resource();
        match namespace {
            Some(namespace) if self.namespaced => format!("{resource}/{namespace}/"),
            _ => format!("{resource}/"),
        }
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        (self.group, self.version, self.kind) == (other.group, other.version, other.kind)
    }
}

impl Eq for Kind {}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({}/{})", self.api_version(), self.kind)
    }
}

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces are not deleted by the dozen.
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
/// What takes a connection over, by either method.
const CONNECT: &[&str] = &["create", "get"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// What most kinds of the core group have; rows name what differs.
const CORE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL,
    subresources: &[],
    columns: table::NAME_AND_AGE,
    fields: &[],
    label_names: false,
    strategy: &PlainStrategy,
};

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
    subresources: &[Subresource::new("status", "Namespace", READ_WRITE)],
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
    columns: table::SERVICE_ACCOUNT,
    ..CORE
};

pub static PERSISTENT_VOLUME_CLAIM: &Kind = &Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    list_kind: "PersistentVolumeClaimList",
    short_names: &["pvc"],
    subresources: &[Subresource::new("status", "PersistentVolumeClaim", READ_WRITE)],
    columns: table::PERSISTENT_VOLUME_CLAIM,
    strategy: &strategy::ClaimStrategy,
    ..CORE
};

pub static PERSISTENT_VOLUME: &Kind = &Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    list_kind: "PersistentVolumeList",
    short_names: &["pv"],
    namespaced: false,
    subresources: &[Subresource::new("status", "PersistentVolume", READ_WRITE)],
    columns: table::PERSISTENT_VOLUME,
    strategy: &strategy::VolumeStrategy,
    ..CORE
};

pub static STORAGE_CLASS: &Kind = &Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    list_kind: "StorageClassList",
    short_names: &["sc"],
    namespaced: false,
    columns: table::STORAGE_CLASS,
    strategy: &strategy::StorageClassStrategy,
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

/// What computed kinds have.
const METRICS: Kind = Kind {
    group: "metrics.k8s.io",
    version: "v1beta1",
    verbs: &["get", "list"],
    columns: table::METRICS,
    ..CORE
};

pub static NODE_METRICS: &Kind = &Kind {
    kind: "NodeMetrics",
    plural: "nodes",
    list_kind: "NodeMetricsList",
    namespaced: false,
    ..METRICS
};

pub static POD_METRICS: &Kind =
    &Kind { kind: "PodMetrics", plural: "pods", list_kind: "PodMetricsList", ..METRICS };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_url_and_by_kind() {
        for kind in KINDS {
            assert_eq!(Kind::find(kind.group, kind.version, kind.plural), Some(*kind));
            assert_eq!(Kind::of(&kind.api_version(), kind.kind), Some(*kind));
            assert_eq!(kind.list_kind, format!("{}List", kind.kind));
        }
        assert_eq!(Kind::of("apps/v1", "Pod"), None);
    }

    #[test]
    fn keys_and_prefixes() {
        assert_eq!(POD.key("default", "web"), "pods/default/web");
        assert_eq!(NODE.key("ignored", "pi-1"), "nodes/pi-1");
        assert_eq!(LEASE.key("a", "b"), "leases.coordination.k8s.io/a/b");
        assert_eq!(POD.prefix(Some("default")), "pods/default/");
        assert_eq!(POD.prefix(None), "pods/");
        assert_eq!(NODE.prefix(Some("ignored")), "nodes/");
    }
}
