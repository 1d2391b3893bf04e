//! Sets what was left out.

use serde_json::Value;

use super::{IMPLIED, Node};

impl Node {
    /// Drops nulls that the schema does not allow, and sets its defaults, down to the last object that is there.
    pub fn fill(&self, object: &mut Value) {
        self.fill_value(object, true);
    }

    fn fill_value(&self, value: &mut Value, root: bool) {
        match value {
            Value::Object(map) => {
                let implied = root || self.embedded;
                let about = |name: &str| !implied || !IMPLIED.contains(&name);
                map.retain(|name, value| {
                    let refused = |node: &Node| !node.nullable && !node.takes_anything();
                    !(value.is_null() && about(name) && self.member(name).is_some_and(refused))
                });
                for (name, node) in self.properties.iter().filter(|row| about(&row.0)) {
                    if let Some(default) = &node.default
                        && !map.contains_key(name.as_ref())
                    {
                        map.insert(name.to_string(), default.as_ref().clone());
                    }
                }
                for (name, value) in map.iter_mut().filter(|(name, _)| about(name)) {
                    if let Some(node) = self.member(name) {
                        node.fill_value(value, false);
                    }
                }
            }
            Value::Array(items) => {
                let Some(node) = self.items() else { return };
                for value in items {
                    if value.is_null() && !node.nullable {
                        if let Some(default) = &node.default {
                            *value = default.as_ref().clone();
                        }
                    }
                    node.fill_value(value, false);
                }
            }
            _ => {}
        }
    }

    /// A schema without a type that preserves what it does not know: null is a value to it.
    pub(super) fn takes_anything(&self) -> bool {
        self.of.is_none() && self.preserves
    }
}
