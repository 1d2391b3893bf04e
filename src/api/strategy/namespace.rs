//! Namespaces.

use serde_json::json;

use super::{Strategy, restore};
use crate::api::Object;

/// A namespace starts Active and with the finalizer that holds it until its objects are gone.
pub struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/spec", json!({"finalizers": ["kubernetes"]}));
        new.set("/status", json!({"phase": "Active"}));
        add_name_label(new);
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        // The finalizer leaves through the finalize subresource only.
        restore(new, old, "/spec");
        restore(new, old, "/status");
        add_name_label(new);
    }
}

/// Selectors over namespaces can name one: upstream has set this label since 1.21.
fn add_name_label(new: &mut Object) {
    let name = new.name().to_owned();
    if !name.is_empty() {
        new.set("/metadata/labels/kubernetes.io~1metadata.name", name);
    }
}
