//! Event objects about pods, in upstream's words.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::api::{Object, kinds, time};
use crate::link::PodRef;

/// What happened, before it is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    /// The container that it is about.
    pub container: Option<String>,
}

impl Event {
    pub fn normal(reason: &'static str, message: String) -> Event {
        Event { warning: false, reason, message, container: None }
    }

    pub fn warning(reason: &'static str, message: String) -> Event {
        Event { warning: true, reason, message, container: None }
    }

    pub fn of(self, container: &str) -> Event {
        Event { container: Some(container.to_owned()), ..self }
    }

    /// The Event object, JSON. Alike ones are counted by the server. `list` of the specification has its container.
    pub fn object(&self, pod: &PodRef, list: &str, node: &str, now: SystemTime) -> Vec<u8> {
        let mut involved = json!({
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
        });
        if let Some(container) = &self.container {
            involved["fieldPath"] = format!("spec.{list}{{{container}}}").into();
        }
        self.about(involved, &pod.name, &pod.namespace, node, now)
    }

    /// The same about the node itself.
    pub fn of_node(&self, node: &str, now: SystemTime) -> Vec<u8> {
        // As the kubelet: it does not know the object's uid.
        let involved = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node});
        self.about(involved, node, "default", node, now)
    }

    fn about(&self, involved: Value, name: &str, namespace: &str, node: &str, now: SystemTime) -> Vec<u8> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let nanos = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Unique without a random number: an agent writes less than one event a nanosecond.
        let name = format!("{name}.{:x}", nanos + u128::from(count % 1000));
        let mut event = Object::new(kinds::EVENT, namespace, &name);
        let stamp = time::format(now);
        event.set("/involvedObject", involved);
        event.set("/reason", self.reason);
        event.set("/message", self.message.as_str());
        event.set("/type", if self.warning { "Warning" } else { "Normal" });
        event.set("/source", json!({"component": "kubelet", "host": node}));
        event.set("/firstTimestamp", stamp.as_str());
        event.set("/lastTimestamp", stamp.as_str());
        event.set("/count", 1);
        event.set("/reportingComponent", "kubelet");
        event.set("/reportingInstance", node);
        event.to_vec()
    }
}
