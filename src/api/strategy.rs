//! What a kind adds to the generic handlers: computed defaults and rules.

use serde_json::Value;

use super::{Cause, Kind, Object};

mod access;
mod account;
mod config;
mod custom;
mod definition;
mod metadata;
mod namespace;
mod network;
mod node;
mod pod;
mod policy;
mod service;
mod shape;
mod storage;
pub mod workloads;

pub use access::{RoleBindingStrategy, RoleStrategy};
pub use account::ServiceAccountStrategy;
pub use config::{ConfigMapStrategy, SecretStrategy};
pub use custom::CustomStrategy;
pub use definition::{CLEANUP, DefinitionStrategy, mark_definition, set_condition};
pub use metadata::{carry as carry_metadata, embedded};
pub use namespace::NamespaceStrategy;
pub use network::{
    EndpointSliceStrategy, EndpointsStrategy, IngressClassStrategy, IngressStrategy, NetworkPolicyStrategy,
};
pub use node::{EventStrategy, LeaseStrategy, NodeStrategy};
pub use pod::{PodStrategy, ephemeral_containers, qos_class};
pub use policy::{
    LimitRangeStrategy, PriorityClassStrategy, ResourceQuotaStrategy, RuntimeClassStrategy, SYSTEM_CLASSES,
};
pub use service::{ServiceStrategy, is_headless, needs_health_check, needs_node_ports, service_type};
pub use storage::{CLAIM_PROTECTION, ClaimStrategy, StorageClassStrategy, VOLUME_PROTECTION, VolumeStrategy};

/// The rules of one kind. The registry calls, in this order: `schema::default`, on an update
/// [`carry_metadata`], `prepare_*`, [`validate`]. Every method has a default, which suits a kind without rules.
pub trait Strategy: Sync {
    /// Puts a new object into its first state: a client's status is dropped, computed defaults are set.
    fn prepare_create(&self, new: &mut Object) {
        new.remove("/status");
    }

    /// Before an update of the main resource: what may not change that way (status) is put back.
    fn prepare_update(&self, new: &mut Object, old: &Object) {
        restore(new, old, "/status");
    }

    /// Before an update of the `status` subresource: everything but status and metadata's freely
    /// changeable parts is put back.
    fn prepare_status_update(&self, new: &mut Object, old: &Object) {
        keep_all_but_status(new, old);
    }

    /// The kind's own rules; metadata is checked by [`validate`]. `old` is there on an update.
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let _ = (new, old);
        Vec::new()
    }

    /// What a client that sends this is warned of.
    fn warnings(&self, new: &Object) -> Vec<String> {
        let _ = new;
        Vec::new()
    }
}

/// A kind without rules of its own.
pub struct PlainStrategy;

impl Strategy for PlainStrategy {}

/// List items in one object, over all its lists. Some rules compare every item with every other, and
/// each bad item costs a message: a body full of `{},{},{}` must not keep a small board busy.
const ITEMS_LIMIT: usize = 5000;
/// Bytes of a key: paths are made of keys.
const KEY_LIMIT: usize = 4096;
/// How deep an object may be nested. The parser that reads it back takes 127, and managedFields, which
/// repeats it, begins a few deeper.
const DEPTH_LIMIT: usize = 100;
/// The same for all that is stored.
const STORED_DEPTH: usize = 120;

/// All rules: metadata's, which hold for every kind, then the kind's. Empty when the object is valid.
/// The registry has set name, namespace and uid before.
pub fn validate(kind: &Kind, new: &Object, old: Option<&Object>) -> Vec<Cause> {
    if let Some(cause) = check_bounds(new) {
        return vec![cause];
    }
    let mut causes = metadata::validate(kind, new, old);
    causes.extend(kind.strategy.validate(new, old));
    causes
}

/// Makes the value at a pointer what it is in `old`, absence included.
pub fn restore(new: &mut Object, old: &Object, pointer: &str) {
    match old.at(pointer) {
        Some(value) => new.set(pointer, value.clone()),
        None => drop(new.remove(pointer)),
    }
}

/// What is too much in an object, whatever its kind: to be asked before anything is done with it.
pub fn check_bounds(object: &Object) -> Option<Cause> {
    let mut size = Size::default();
    size.add(object.as_value(), 1);
    if size.items > ITEMS_LIMIT {
        return Some(Cause::too_many("", size.items, ITEMS_LIMIT));
    }
    if size.key > KEY_LIMIT {
        return Some(Cause::invalid("", size.key, &format!("keys may be no longer than {KEY_LIMIT} bytes")));
    }
    let deep = || Cause::invalid("", size.depth, &format!("may be nested at most {DEPTH_LIMIT} deep"));
    (size.depth > DEPTH_LIMIT).then(deep)
}

/// Whether what is to be stored can be read back.
pub fn is_readable(object: &Object) -> bool {
    let mut size = Size::default();
    size.add(object.as_value(), 1);
    size.depth <= STORED_DEPTH
}

#[derive(Default)]
struct Size {
    items: usize,
    /// The longest.
    key: usize,
    depth: usize,
}

impl Size {
    /// Depth is bounded by the parser, and by patches.
    fn add(&mut self, value: &Value, depth: usize) {
        self.depth = self.depth.max(depth);
        match value {
            Value::Array(items) => {
                self.items += items.len();
                items.iter().for_each(|item| self.add(item, depth + 1));
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.key = self.key.max(key.len());
                    self.add(value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

fn keep_all_but_status(new: &mut Object, old: &Object) {
    let status = new.remove("/status");
    let metadata = new.remove("/metadata");
    *new = old.clone();
    // Upstream lets a status update change metadata of several kinds; what the status writer is
    // allowed to say there is the resource version that it expects.
    if let Some(version) = metadata.as_ref().and_then(|metadata| metadata.get("resourceVersion")) {
        new.set("/metadata/resourceVersion", version.clone());
    }
    match status {
        Some(status) => new.set("/status", status),
        None => drop(new.remove("/status")),
    }
}

/// Before an update of a pod's `ephemeralcontainers` subresource.
pub fn keep_all_but_ephemeral_containers(new: &mut Object, old: &Object) {
    let pointer = "/spec/ephemeralContainers";
    let asked = new.remove(pointer);
    *new = old.clone();
    match asked {
        Some(asked) => new.set(pointer, asked),
        None => drop(new.remove(pointer)),
    }
}

#[cfg(test)]
mod tests;
