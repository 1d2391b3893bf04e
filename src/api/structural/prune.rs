//! Drops what a schema does not have.

use serde_json::Value;

use super::{IMPLIED, Node};
use crate::api::schema::MAX_PROBLEMS;

impl Node {
    /// Drops from an object what the schema does not have, and tells what that was.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        self.prune_value(object, "", true, &mut unknown);
        unknown
    }

    fn prune_value(&self, value: &mut Value, path: &str, root: bool, unknown: &mut Vec<String>) {
        let implied = root || self.embedded;
        match value {
            Value::Object(map) => map.retain(|name, value| {
                if implied && IMPLIED.contains(&name.as_str()) {
                    return true;
                }
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match self.member(name) {
                    Some(node) => {
                        node.prune_value(value, &path, false, unknown);
                        true
                    }
                    None if self.preserves => true,
                    None => {
                        if unknown.len() < MAX_PROBLEMS {
                            unknown.push(path);
                        }
                        false
                    }
                }
            }),
            Value::Array(items) => {
                let Some(node) = self.items() else { return };
                for (index, value) in items.iter_mut().enumerate() {
                    node.prune_value(value, &format!("{path}[{index}]"), false, unknown);
                }
            }
            _ => {}
        }
    }
}
