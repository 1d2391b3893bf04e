//! When two templates of pods are the same, and the hash that tells ReplicaSets apart.

use serde_json::{Map, Value};

use crate::api::hash::name_part;

/// The label with the hash, on ReplicaSets, their selectors and their pods.
pub const HASH: &str = "pod-template-hash";

/// Maps of keys that people choose: each of them counts.
const CHOSEN: [&str; 4] = ["labels", "annotations", "nodeSelector", "matchLabels"];
/// Where an empty selector (all) is not the same as none.
const SELECTORS: [&str; 2] = ["labelSelector", "namespaceSelector"];
/// Where false is the same as nothing.
const FLAGS: [&str; 7] = ["stdin", "stdinOnce", "tty", "readOnly", "hostNetwork", "hostPID", "hostIPC"];

/// A template as it counts: without the hash, and without what typed clients leave out where others send it empty.
pub fn canonical(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
        labels.remove(HASH);
    }
    pruned("", template).unwrap_or_default()
}

fn pruned(name: &str, value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(false) if FLAGS.contains(&name) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            Some(items.into_iter().map(|item| pruned("", item).unwrap_or_default()).collect())
        }
        Value::Object(map) if CHOSEN.contains(&name) => (!map.is_empty()).then_some(Value::Object(map)),
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(name, value)| {
                let value = pruned(&name, value)?;
                Some((name, value))
            });
            let kept: Map<_, _> = kept.collect();
            (!kept.is_empty() || SELECTORS.contains(&name)).then_some(Value::Object(kept))
        }
        other => Some(other),
    }
}

/// The hash of a canonical template, as upstream writes hashes: FNV-1a, its decimal digits as letters that form no
/// words. Another count gives another hash.
pub fn hash(canonical: &Value, collisions: Option<i64>) -> String {
    let mut text = canonical.to_string().into_bytes();
    if let Some(collisions) = collisions {
        text.extend(collisions.to_le_bytes());
    }
    name_part(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_clients_leave_out_makes_no_difference() {
        let container = |extra: Value| {
            let mut container = json!({"name": "c", "image": "x"});
            container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}})
        };
        let plain = canonical(&container(json!({})));
        for same in [
            json!({"resources": {}}),
            json!({"resources": {"limits": {}}, "env": []}),
            json!({"tty": false, "command": null, "workingDir": ""}),
        ] {
            assert_eq!(canonical(&container(same.clone())), plain, "{same}");
        }
        for other in [
            json!({"tty": true}),
            json!({"securityContext": {"allowPrivilegeEscalation": false}}),
            json!({"env": [{"name": "A", "value": ""}]}),
        ] {
            assert_ne!(canonical(&container(other.clone())), plain, "{other}");
        }
        let mut labelled = container(json!({}));
        labelled["metadata"]["labels"][HASH] = "x".into();
        labelled["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(canonical(&labelled), plain);
        labelled["metadata"]["labels"]["empty"] = "".into();
        assert_ne!(canonical(&labelled), plain);
    }

    #[test]
    fn hashes_look_like_upstream_and_stay() {
        let template = json!({"spec": {"containers": [{"name": "c"}]}});
        assert_eq!(hash(&template, None), hash(&template, None));
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        // FNV-1a of "" is 2166136261, of "null" known to other implementations.
        assert_eq!(hash(&Value::Null, None).len(), 10);
        assert!(hash(&template, None).bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)));
    }
}
