//! Sets of fields, as `fieldsV1` writes them: a tree whose edges are path elements.
//!
//! An element is `f:NAME` (a field of a map), `k:{…}` (an item by its keys) or `v:…` (an item of a set);
//! `i:N`, an item by its place, is read and kept, never made.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

/// Fields below one place, and whether the place itself is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    pub member: bool,
    children: BTreeMap<String, Set>,
}

impl Set {
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Looks at, and perhaps changes, each child.
    pub fn each(&mut self, mut change: impl FnMut(&str, &mut Set)) {
        self.children.iter_mut().for_each(|(element, child)| change(element, child));
    }

    pub fn child(&self, element: &str) -> Option<&Set> {
        self.children.get(element)
    }

    /// Adds what is at a path from here.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        let mut place = self;
        for element in path.iter().map(AsRef::as_ref) {
            // Most of a path is there already.
            if !place.children.contains_key(element) {
                place.children.insert(element.to_owned(), Set::default());
            }
            let Some(child) = place.children.get_mut(element) else { return };
            place = child;
        }
        place.member = true;
    }

    /// Sets what is below an element.
    pub fn put(&mut self, element: String, child: Set) {
        self.children.insert(element, child);
    }

    /// Takes what is at a path out, but not what is below.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((element, rest)) = path.split_first() else {
            self.member = false;
            return;
        };
        if let Some(child) = self.children.get_mut(*element) {
            child.remove(rest);
            if child.is_empty() {
                self.children.remove(*element);
            }
        }
    }

    /// Takes a child away with all that is below.
    pub fn remove_child(&mut self, element: &str) {
        self.children.remove(element);
    }

    /// Keeps what both have (`theirs`) or what only this has.
    fn keep(&mut self, other: Option<&Set>, theirs: bool) {
        self.member = self.member && other.is_some_and(|other| other.member) == theirs;
        self.children.retain(|element, child| {
            child.keep(other.and_then(|other| other.child(element)), theirs);
            !child.is_empty()
        });
    }

    pub fn subtract(&mut self, other: &Set) {
        self.keep(Some(other), false);
    }

    pub fn intersect(&mut self, other: &Set) {
        self.keep(Some(other), true);
    }

    pub fn extend(&mut self, other: Set) {
        self.member |= other.member;
        other.children.into_iter().for_each(|(element, child)| self.add(element, child));
    }

    fn add(&mut self, element: String, child: Set) {
        match self.children.entry(element) {
            Entry::Vacant(place) => drop(place.insert(child)),
            Entry::Occupied(mut place) => place.get_mut().extend(child),
        }
    }

    /// Every path, as people write it: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.clone());
        }
        for (element, child) in &self.children {
            let length = path.len();
            path.push_str(&shown(element));
            child.collect(path, paths);
            path.truncate(length);
        }
    }

    pub fn into_fields(self) -> Map<String, Value> {
        let below = |(element, child): (String, Set)| {
            let is_both = child.member && !child.children.is_empty();
            let mut fields = child.into_fields();
            if is_both {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element, Value::Object(fields))
        };
        self.children.into_iter().map(below).collect()
    }

    /// None when it is no `fieldsV1`.
    pub fn from_fields(fields: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (element, below) in fields.as_object()? {
            if element == "." {
                continue;
            }
            let element = canonical(element)?;
            let mut child = Set::from_fields(below)?;
            child.member = below.as_object().is_some_and(|map| map.is_empty() || map.contains_key("."));
            set.add(element, child);
        }
        Some(set)
    }
}

/// The element of a map's field.
pub fn field(name: &str) -> String {
    ["f:", name].concat()
}

/// An element in the one form in which it is compared.
fn canonical(element: &str) -> Option<String> {
    let (sort, rest) = element.split_once(':')?;
    match sort {
        "f" => Some(element.to_owned()),
        "i" => rest.parse::<i64>().ok().map(|index| format!("i:{index}")),
        "v" => serde_json::from_str::<Value>(rest).ok().map(|value| format!("v:{value}")),
        "k" => serde_json::from_str::<Map<String, Value>>(rest)
            .ok()
            .map(|keys| format!("k:{}", Value::Object(keys))),
        _ => None,
    }
}

/// An element as messages show it.
pub fn shown(element: &str) -> String {
    let (sort, rest) = element.split_once(':').unwrap_or(("f", element));
    match sort {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}
