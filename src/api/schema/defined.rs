//! Objects of defined kinds: the definition's schema for all but `metadata`, which is the table's.

use serde_json::Value;

use super::table::{self, Type};
use super::{Problems, defaults, validate};
use crate::api::Object;
use crate::api::kinds::Defined;

fn metadata() -> Option<Type> {
    table::find("meta.v1", "ObjectMeta")
}

pub fn fill(defined: &Defined, object: &mut Object) {
    if let (Some(of), Some(Value::Object(map))) = (metadata(), object.at_mut("/metadata")) {
        defaults::fill(of, map);
    }
    with_value(object, |value| defined.schema.fill(value));
}

pub fn check(defined: &Defined, object: &Object) -> Problems {
    let mut problems = match (metadata(), object.at("/metadata")) {
        (Some(of), Some(Value::Object(map))) => validate::object(of, map),
        _ => Problems::default(),
    };
    problems.unknown.iter_mut().for_each(|path| *path = format!("metadata.{path}"));
    let mut pruned = object.as_value().clone();
    problems.unknown.extend(defined.schema.prune(&mut pruned));
    problems.causes.extend(defined.schema.validate(&pruned));
    problems
}

pub fn prune(defined: &Defined, object: &mut Object) {
    if let (Some(of), Some(Value::Object(map))) = (metadata(), object.at_mut("/metadata")) {
        validate::prune(of, map);
    }
    with_value(object, |value| drop(defined.schema.prune(value)));
}

/// Lends the object as a plain value; it stays a map with metadata.
fn with_value(object: &mut Object, change: impl FnOnce(&mut Value)) {
    let mut value = Value::Object(std::mem::take(object.as_map_mut()));
    change(&mut value);
    if let Value::Object(map) = value {
        *object.as_map_mut() = map;
    }
}
