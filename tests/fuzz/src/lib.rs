//! What a request brings, read as the server reads it. A target takes any bytes; it fails by a panic, by taking
//! long, or by taking much memory.
//!
//! Those with two parts take the first from the first line, the second from what follows it.

// An inequality is told by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::SystemTime;

use midge::api::apply::{self, Operation, Writer};
use midge::api::quantity::Quantity;
use midge::api::selector::{FieldSelector, LabelSelector};
use midge::api::structural::{self, Node, Path};
use midge::api::table::{self, IncludeObject};
use midge::api::{KINDS, Kind, Object, Status, cron as schedule, kinds, patch, schema, strategy, yaml as text};
use serde_json::{Value, json as value};

/// As the server's for bodies.
const LIMIT: usize = 3 << 20;
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn kind_of(object: &Object) -> &'static Kind {
    let is = |kind: &&&Kind| kind.kind == object.kind() && kind.api_version() == object.api_version();
    KINDS.iter().find(is).copied().unwrap_or(kinds::POD)
}

fn parts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..end], &data[end + 1..]))
}

fn object_and_value(data: &[u8]) -> Option<(Object, Value)> {
    let (object, value) = parts(data)?;
    let object = Object::from_slice(object).ok().filter(|object| strategy::check_bounds(object).is_none())?;
    Some((object, serde_json::from_slice(value).ok()?))
}

/// All that happens to an object between the request and the store, and on its way out again.
fn admit(kind: &'static Kind, mut object: Object, old: Option<&Object>) {
    if strategy::check_bounds(&object).is_some() {
        return;
    }
    schema::default(kind, &mut object);
    let is_sound = schema::validate(kind, &object) == schema::Problems::default();
    if is_sound {
        let mut again = object.clone();
        schema::default(kind, &mut again);
        assert!(again == object, "defaults came twice: {}", object.as_value());
    }
    schema::prune(kind, &mut object);
    match old {
        Some(old) => {
            strategy::carry_metadata(&mut object, old);
            kind.strategy.prepare_update(&mut object, old);
        }
        None => kind.strategy.prepare_create(&mut object),
    }
    kind.strategy.warnings(&object);
    let causes = [strategy::validate(kind, &object, old), schema::unsupported(kind, &object)].concat();
    let writer = Writer { manager: "fuzz", operation: Operation::Update, subresource: "" };
    apply::with_root(kind, |node| apply::record(kind, node, &mut object, old, None, writer, NOW));
    table::row(kind, &object, NOW, IncludeObject::Metadata);
    let text = object.to_vec();
    let _ = midge::api::protobuf::encode(&text);
    if is_sound && causes.is_empty() && strategy::is_readable(&object) {
        let read = Object::from_slice(&text).expect("what is stored is read");
        assert!(read == object, "{}", object.as_value());
    }
}

pub fn json(data: &[u8]) {
    schema::duplicates(data);
    if let Ok(object) = Object::from_slice(data) {
        admit(kind_of(&object), object, None);
    }
}

pub fn yaml(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    for document in text::documents(data, LIMIT).unwrap_or_default() {
        if let Err(error) = serde_json::from_slice::<Value>(&document) {
            panic!("{error}: {}", String::from_utf8_lossy(&document));
        }
    }
}

pub fn protobuf(data: &[u8]) {
    let Ok(object) = midge::api::protobuf::decode(data) else { return };
    if let Ok(bytes) = midge::api::protobuf::encode(&object.to_vec()) {
        midge::api::protobuf::decode(&bytes).expect("what was written is read");
    }
    admit(kind_of(&object), object, None);
}

fn patched(data: &[u8], by: fn(&'static Kind, &Value, &Value) -> Option<Value>) {
    let Some((old, change)) = object_and_value(data) else { return };
    let kind = kind_of(&old);
    let Some(new) = by(kind, old.as_value(), &change) else { return };
    if let Ok(new) = Object::from_value(new) {
        admit(kind, new, Some(&old));
    }
}

pub fn json_patch(data: &[u8]) {
    patched(data, |_, old, change| patch::json(old, change).ok());
}

pub fn merge_patch(data: &[u8]) {
    patched(data, |_, old, change| {
        let once = patch::merge(old, change).ok()?;
        assert_eq!(patch::merge(&once, change).ok().as_ref(), Some(&once));
        Some(once)
    });
}

pub fn strategic_patch(data: &[u8]) {
    patched(data, |kind, old, change| patch::strategic(kind, old, change).ok());
}

/// Applying again changes nothing.
pub fn apply(data: &[u8]) {
    let Some((mut live, config)) = object_and_value(data) else { return };
    let Ok(mut config) = Object::from_value(config) else { return };
    let kind = kind_of(&live);
    if strategy::check_bounds(&config).is_some() {
        return;
    }
    // As the registry does, whatever the account of an object says.
    let name = |object: &mut Object, live: &Object| {
        for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
            strategy::restore(object, live, pointer);
        }
    };
    name(&mut config, &live);
    schema::prune(kind, &mut live);
    let writer = Writer { manager: "fuzz", operation: Operation::Apply, subresource: "" };
    let over = |live: &Object, force: bool| {
        let mut read = live.clone();
        let mut applied = apply::with_root(kind, |node| {
            apply::apply(kind, node, &mut read, &config, writer, force, NOW)
        })?;
        name(&mut applied, live);
        Ok::<_, Status>(applied)
    };
    let _ = over(&live, false);
    let Ok(once) = over(&live, true) else { return };
    let is_sound = |object: &Object| schema::validate(kind, object) == schema::Problems::default();
    if is_sound(&once) && is_sound(&config) && is_sound(&live) {
        let again = over(&once, false).expect("there is nobody to conflict with");
        assert!(again == once, "{}\n{}", once.as_value(), again.as_value());
    }
    admit(kind, once, Some(&live));
}

fn some_object() -> Object {
    let object = value!({"metadata": {"name": "a", "namespace": "b", "labels": {"a": "b", "x.y/z": "1"}},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
    Object::from_value(object).expect("it is a map")
}

pub fn label_selector(data: &[u8]) {
    if let Ok(selector) = std::str::from_utf8(data).map(LabelSelector::parse) {
        let _ = selector.map(|selector| selector.matches(&some_object()));
    }
    if let Ok(value) = serde_json::from_slice(data) {
        midge::api::selector::format(&value);
        let _ = LabelSelector::from_json(&value).map(|selector| selector.matches(&some_object()));
    }
}

pub fn field_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for kind in KINDS {
        if let Ok(selector) = FieldSelector::parse(kind, text) {
            selector.matches(&some_object());
            selector.name();
        }
    }
}

pub fn quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split(' ').map(Quantity::parse);
    let (Some(Ok(one)), Some(Ok(other))) = (parts.next(), parts.next().or(Some(Quantity::parse("1")))) else {
        return;
    };
    for quantity in [one, other, one.plus(other), one.minus(other)] {
        (quantity.milli(), quantity.value(), quantity.nanos());
        let read = Quantity::parse(&quantity.to_string()).expect("what was written is read");
        assert_eq!(read, quantity);
        // A binary sum that no suffix fits is written as plain digits, which are decimal when read, as upstream's are.
        let text = read.to_string();
        assert_eq!(Quantity::parse(&text).map(|again| again.to_string()), Ok(text));
    }
}

/// A path of a printer column, and what it looks into.
pub fn json_path(data: &[u8]) {
    let Some((path, value)) = parts(data) else { return };
    let Ok(path) = std::str::from_utf8(path) else { return };
    let (Ok(path), Ok(value)) = (Path::parse(path), serde_json::from_slice::<Value>(value)) else { return };
    path.find(&value);
    path.fields();
}

/// A definition's schema, and an object of its kind.
pub fn structural(data: &[u8]) {
    let Some((schema, object)) = parts(data) else { return };
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    let bounded = Object::from_value(value!({ "schema": schema })).expect("it is a map");
    if strategy::check_bounds(&bounded).is_some() || !structural::check(&schema, "schema").is_empty() {
        return;
    }
    let node = Node::compile(&schema);
    let Ok(mut object) = serde_json::from_slice::<Value>(object) else { return };
    if Object::from_value(object.clone()).map_or(true, |object| strategy::check_bounds(&object).is_some()) {
        return;
    }
    node.fill(&mut object);
    node.prune(&mut object);
    assert!(node.prune(&mut object.clone()).is_empty(), "nothing is left to prune");
    node.validate(&object);
}

pub fn cron(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = schedule::parse(text);
        let _ = schedule::time_zone(text);
    }
}
