//! Which fields a configuration names, and which two objects differ in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::node::{Layout, Node};
use super::set::{self, Set};

/// The most errors about one configuration.
const MAX_ELEMENT: usize = 4096;
const MAX_ERRORS: usize = 20;

/// What tells an item of a list apart, as a path element.
///
/// # Errors
/// What is wrong with the item.
pub fn element(layout: &Layout<'_>, items: Node<'_>, item: &Value) -> Result<String, String> {
    let Layout::Keyed(keys) = layout else {
        return match item {
            Value::Object(_) | Value::Array(_) => {
                Err("associative list without keys has an element that's not a scalar".to_owned())
            }
            scalar => bounded(format!("v:{scalar}")),
        };
    };
    let Some(map) = item.as_object() else {
        return Err("associative list with keys may not have non-map elements".to_owned());
    };
    let mut found = Map::new();
    for key in keys {
        let value = map.get(*key).filter(|value| !value.is_null() && *value != "").cloned();
        let value = value
            .or_else(|| items.entry(key).and_then(|(node, _)| node.default()))
            .or_else(|| map.get(*key).filter(|value| !value.is_null()).cloned())
            .ok_or_else(|| {
                format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
            })?;
        found.insert((*key).to_owned(), value);
    }
    bounded(format!("k:{}", Value::Object(found)))
}

/// Each field below an element has it in its path.
fn bounded(element: String) -> Result<String, String> {
    match element.len() <= MAX_ELEMENT {
        true => Ok(element),
        false => Err(format!("an element of the list is told from others by more than {MAX_ELEMENT} bytes")),
    }
}

/// The fields that a value has, and what of it does not fit the schema.
pub fn fields(node: Node<'_>, value: &Value) -> (Set, Vec<String>) {
    let mut walk = Fields { set: Set::default(), path: Vec::new(), errors: Vec::new() };
    walk.value(node, value);
    (walk.set, walk.errors)
}

struct Fields {
    set: Set,
    path: Vec<String>,
    errors: Vec<String>,
}

impl Fields {
    fn error(&mut self, text: &str) {
        if self.errors.len() < MAX_ERRORS {
            let path: String = self.path.iter().map(|element| set::shown(element)).collect();
            self.errors.push(format!("{path}: {text}"));
        }
    }

    fn value(&mut self, node: Node<'_>, value: &Value) {
        if let Some(expected) = node.expected().filter(|expected| !fits(expected, value)) {
            return self.error(&format!("expected {expected}, got {value}"));
        }
        match (node.layout(value), value) {
            (Layout::Leaf, _) => self.set.insert(&self.path),
            (Layout::Map, Value::Object(map)) => {
                for (name, value) in map {
                    self.path.push(set::field(name));
                    match node.entry(name) {
                        None => self.error("field not declared in schema"),
                        Some((child, is_named)) => {
                            self.value(child, value);
                            let is_bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                            if is_bare || !is_named {
                                self.set.insert(&self.path);
                            }
                        }
                    }
                    self.path.pop();
                }
            }
            (layout, Value::Array(items)) => {
                let mut seen = Set::default();
                for (index, item) in items.iter().enumerate() {
                    match element(&layout, node.item(), item) {
                        Err(text) => self.error(&format!("element {index}: {text}")),
                        Ok(element) if seen.child(&element).is_some() => {
                            self.error(&format!("duplicate entries for key {}", set::shown(&element)));
                        }
                        Ok(element) => {
                            seen.insert(&[&element]);
                            self.path.push(element);
                            self.value(node.item(), item);
                            self.set.insert(&self.path);
                            self.path.pop();
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn fits(expected: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(_) => expected == "map",
        Value::Array(_) => expected == "list",
        Value::String(_) => expected == "string",
        Value::Bool(_) => expected == "boolean",
        Value::Number(_) => expected.starts_with("numeric"),
    }
}

/// What became of an object's fields.
#[derive(Default)]
pub struct Difference {
    /// Added or changed.
    pub taken: Set,
    pub removed: Set,
}

/// Compares two objects.
pub fn compare(node: Node<'_>, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    if old != new {
        difference.value(node, Some(old), Some(new));
    }
    difference
}

impl Difference {
    fn note(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(_), None) => self.removed.member = true,
            _ => self.taken.member = true,
        }
    }

    /// Takes in what differs in two values that are not the same.
    fn value(&mut self, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        let layout = [new, old].into_iter().flatten().find(|value| !value.is_null());
        let layout = layout.map_or(Layout::Leaf, |value| node.layout(value));
        let (was, is) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
        let mixed = !(was.is_null() || is.is_null()) && was.is_array() != is.is_array();
        // What is empty on both sides is owned itself.
        if layout == Layout::Leaf || mixed || (is_empty(was) && is_empty(is)) {
            return self.note(old, new);
        }
        if layout == Layout::Map {
            let empty = Map::new();
            let (was, is) = (was.as_object().unwrap_or(&empty), is.as_object().unwrap_or(&empty));
            let gone = was
                .iter()
                .filter(|(name, _)| !is.contains_key(*name))
                .map(|(name, value)| (name, Some(value), None));
            for (name, old, new) in
                is.iter().map(|(name, value)| (name, was.get(name), Some(value))).chain(gone)
            {
                if old != new {
                    let child = node.entry(name).map_or(Node::Unknown, |(child, _)| child);
                    self.below(set::field(name), |difference| difference.value(child, old, new));
                }
            }
        } else {
            let was = index(&layout, node.item(), was);
            let is = index(&layout, node.item(), is);
            for element in was.keys().chain(is.keys().filter(|element| !was.contains_key(*element))) {
                let (old, new) = (was.get(element), is.get(element));
                let is_one = |items: &Vec<&Value>| items.len() == 1;
                match (old, new) {
                    (old, new) if old == new => {}
                    (old, new) if old.is_none_or(is_one) && new.is_none_or(is_one) => {
                        let one = |items: Option<&Vec<_>>| items.and_then(|items| items.first().copied());
                        self.below(element.clone(), |child| child.value(node.item(), one(old), one(new)));
                    }
                    // An item that is there twice is compared as a whole.
                    (old, new) => {
                        let [old, new] = [old, new].map(|items| items.map(|_| &Value::Null));
                        self.below(element.clone(), |child| child.note(old, new));
                    }
                }
            }
        }
        if old.is_none() || new.is_none() {
            self.note(old, new);
        }
    }

    /// Takes in what differs below an element of the path.
    fn below(&mut self, element: String, look: impl FnOnce(&mut Difference)) {
        let mut child = Difference::default();
        look(&mut child);
        if !child.removed.is_empty() {
            self.removed.put(element.clone(), child.removed);
        }
        if !child.taken.is_empty() {
            self.taken.put(element, child.taken);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The items of a list by what tells them apart. Those without a key, which older objects may have, have their
/// place.
pub fn index<'v>(layout: &Layout<'_>, item: Node<'_>, list: &'v Value) -> BTreeMap<String, Vec<&'v Value>> {
    let mut items: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (place, value) in list.as_array().into_iter().flatten().enumerate() {
        let element = element(layout, item, value).unwrap_or_else(|_| format!("i:{place}"));
        items.entry(element).or_default().push(value);
    }
    items
}
