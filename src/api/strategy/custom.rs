//! Objects of defined kinds.

use super::{Strategy, restore};
use crate::api::Object;

/// The rules are the schema's; this is about status and generations.
pub struct CustomStrategy {
    /// Whether status is written apart.
    pub has_status: bool,
}

impl Strategy for CustomStrategy {
    fn prepare_create(&self, new: &mut Object) {
        if self.has_status {
            new.remove("/status");
        }
        new.set("/metadata/generation", 1);
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        if self.has_status {
            restore(new, old, "/status");
        }
        // All but metadata counts: without the subresource, status does, too.
        let counts = |object: &Object| {
            let mut object = object.as_map().clone();
            object.remove("metadata");
            object
        };
        if counts(new) != counts(old) {
            new.set("/metadata/generation", old.generation() + 1);
        }
    }
}
