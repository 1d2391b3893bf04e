//! The table of kinds: routing, discovery, storage keys, table output and tests read the same rows.

use std::borrow::Cow;
use std::fmt;

use super::Object;
use super::strategy::{PlainStrategy, Strategy};
use super::table::{self, Column};

mod access;
mod catalogue;
mod core;
mod definitions;
pub mod events;
mod metrics;
mod network;
mod policy;
mod reviews;
mod storage;
mod workloads;

pub use access::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub use catalogue::Catalogue;
pub use core::{CONFIG_MAP, EVENT, LEASE, NAMESPACE, NODE, POD, SECRET, SERVICE_ACCOUNT};
pub use definitions::{CUSTOM_RESOURCE_DEFINITION, Defined, Definition, Definitions, version_order};
pub use events::EVENT_VIEW;
pub use metrics::{NODE_METRICS, POD_METRICS};
pub use network::{ENDPOINT_SLICE, ENDPOINTS, INGRESS, INGRESS_CLASS, NETWORK_POLICY, SERVICE};
pub use policy::{LIMIT_RANGE, PRIORITY_CLASS, RESOURCE_QUOTA, RUNTIME_CLASS};
pub use reviews::{
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW, SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW,
};
pub use storage::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
pub use workloads::{
    CONTROLLER_REVISION, CRON_JOB, DAEMON_SET, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, JOB,
    POD_DISRUPTION_BUDGET, POD_TEMPLATE, REPLICA_SET, REPLICATION_CONTROLLER, SCALE, STATEFUL_SET,
};

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
    /// Of a kind that users defined.
    pub definition: Option<&'static Definition>,
    /// Where its replicas are, for the subresource `scale`.
    pub scale: Option<&'static Scale>,
    /// What its objects are stored as, if that is another kind: they are shown and written as this one.
    pub view_of: Option<&'static Kind>,
    /// Stored, but no controller of this release acts on it: whoever writes one is warned.
    pub is_inert: bool,
}

/// Pointers to what a Scale shows of an object.
pub struct Scale {
    pub replicas: &'static str,
    pub status_replicas: &'static str,
    /// To a LabelSelector, a map of labels or a selector's text; "" for none.
    pub selector: &'static str,
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
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    CUSTOM_RESOURCE_DEFINITION,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    HORIZONTAL_POD_AUTOSCALER,
    CRON_JOB,
    JOB,
    LEASE,
    ENDPOINT_SLICE,
    INGRESS_CLASS,
    INGRESS,
    NETWORK_POLICY,
    RUNTIME_CLASS,
    POD_DISRUPTION_BUDGET,
    CLUSTER_ROLE_BINDING,
    CLUSTER_ROLE,
    ROLE_BINDING,
    ROLE,
    PRIORITY_CLASS,
    STORAGE_CLASS,
];

/// Kinds that are made when they are asked for: discovery tells of them, nothing stores them.
pub static COMPUTED: &[&Kind] = &[
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    NODE_METRICS,
    POD_METRICS,
];

/// Kinds whose objects are those of others.
pub static VIEWS: &[&Kind] = &[EVENT_VIEW];

impl Kind {
    /// The kind that is stored.
    pub fn stored(&'static self) -> &'static Kind {
        self.view_of.unwrap_or(self)
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
        let resource = self.view_of.unwrap_or(self).resource();
        if self.namespaced { format!("{resource}/{namespace}/{name}") } else { format!("{resource}/{name}") }
    }

    /// What the keys of a namespace (all of the kind when None) start with; ends in `/`.
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        let resource = self.view_of.unwrap_or(self).resource();
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
    definition: None,
    scale: None,
    view_of: None,
    is_inert: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_url_and_by_kind() {
        let kinds = Catalogue::default();
        for kind in KINDS {
            assert_eq!(kinds.find(kind.group, kind.version, kind.plural), Some(*kind));
            assert_eq!(kinds.of(&kind.api_version(), kind.kind), Some(*kind));
            assert_eq!(kind.list_kind, format!("{}List", kind.kind));
        }
        assert_eq!(kinds.of("apps/v1", "Pod"), None);
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
