//! Who may do what: roles and who has them.

use super::{CORE, Kind};
use crate::api::{strategy, table};

const RBAC: Kind = Kind { group: "rbac.authorization.k8s.io", ..CORE };

pub static CLUSTER_ROLE_BINDING: &Kind = &Kind {
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    list_kind: "ClusterRoleBindingList",
    namespaced: false,
    columns: table::ROLE_BINDING,
    strategy: &strategy::RoleBindingStrategy { namespaced: false },
    ..RBAC
};

pub static CLUSTER_ROLE: &Kind = &Kind {
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    list_kind: "ClusterRoleList",
    namespaced: false,
    columns: table::ROLE,
    strategy: &strategy::RoleStrategy { namespaced: false },
    ..RBAC
};

pub static ROLE_BINDING: &Kind = &Kind {
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    list_kind: "RoleBindingList",
    columns: table::ROLE_BINDING,
    strategy: &strategy::RoleBindingStrategy { namespaced: true },
    ..RBAC
};

pub static ROLE: &Kind = &Kind {
    kind: "Role",
    plural: "roles",
    singular: "role",
    list_kind: "RoleList",
    columns: table::ROLE,
    strategy: &strategy::RoleStrategy { namespaced: true },
    ..RBAC
};
