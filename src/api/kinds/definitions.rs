//! Kinds that users define.

use super::{CORE, Kind, READ_WRITE, Subresource};

pub static CUSTOM_RESOURCE_DEFINITION: &Kind = &Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    list_kind: "CustomResourceDefinitionList",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[Subresource::new("status", "CustomResourceDefinition", READ_WRITE)],
    ..CORE
};
