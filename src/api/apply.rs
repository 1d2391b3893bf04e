//! Who owns which fields of an object, and server-side apply, which goes by it (upstream's fieldmanager and
//! structured-merge-diff).
//!
//! Every write goes through here once: [`apply`] for what was applied, [`record`] for all other writes. Both
//! leave `metadata.managedFields` in the object. Where fields are owned one by one, and where as a whole, is
//! [`Node`]'s to say.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::schema::table::{self, Form, Type};
use super::{Kind, Object, Status, time};

mod conflict;
mod last_applied;
mod managed;
mod merge;
mod node;
mod set;
mod walk;

#[cfg(test)]
mod tests;

use conflict::Conflicts;
use managed::Managers;
pub use managed::{Operation, Writer};
pub use node::Node;
use set::Set;

const MANAGED_FIELDS: &str = "/metadata/managedFields";
/// Who owned the fields of an object that nobody kept account of.
const BEFORE: Writer<'static> =
    Writer { manager: "before-first-apply", operation: Operation::Update, subresource: "" };

/// What nobody owns: it says which object it is, or is the server's.
const UNOWNED: [&[&str]; 12] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// Structs that are always there in Go's types, so that a new object does not begin to have them.
const STRUCTS: [&str; 7] =
    ["metadata", "spec", "status", "template", "jobTemplate", "strategy", "updateStrategy"];

/// Calls `work` with where the fields of a kind's objects begin: in the table, or in the schema that a user defined.
pub fn with_root<T>(kind: &Kind, work: impl FnOnce(Node<'_>) -> T) -> T {
    let defined = kind.definition.map(|definition| definition.now());
    work(match (&defined, table::kind(&kind.api_version(), kind.kind)) {
        (Some(defined), _) => Node::Custom(&defined.schema),
        (None, Some(of)) => Node::Struct(of),
        (None, None) => Node::Unknown,
    })
}

/// Puts a configuration over `live` (an empty object when there is none), takes away what the writer applied
/// before and applies no more, and notes who owns what. `live` loses its account.
///
/// # Errors
/// 400 and 500 for a configuration that does not fit the schema, as upstream has it; 409 when another writer
/// owns a field that would change, unless it is forced.
pub fn apply(
    kind: &Kind,
    node: Node<'_>,
    live: &mut Object,
    config: &Object,
    writer: Writer<'_>,
    force: bool,
    now: SystemTime,
) -> Result<Object, Status> {
    if config.at(MANAGED_FIELDS).is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let version = kind.api_version();
    let config = own_part(kind, config, writer);
    let (mut own, errors) = walk::fields(node, config.as_value());
    if !errors.is_empty() {
        return Err(conflict::misfit(kind, &config, &errors));
    }
    disown(kind, &mut own, writer);
    let mut managers = live.remove(MANAGED_FIELDS).as_ref().and_then(Managers::parse).unwrap_or_default();
    if managers.is_empty() && !live.uid().is_empty() {
        let mut all = walk::compare(node, &unset(kind), live.as_value()).taken;
        disown(kind, &mut all, BEFORE);
        let entry = managers.entry(BEFORE, &version);
        entry.set = all;
        entry.time = time::format(now);
    }
    let last = managers.find(writer, &version).map(|entry| entry.set.clone()).unwrap_or_default();
    let entry = managers.entry(writer, &version);
    let mut is_new = entry.set != own || entry.api_version != version;
    entry.set = own;
    entry.api_version = version.clone().into_owned();

    let merged = merge::merge(node, Some(live.as_value()), config.as_value());
    let applied = prune(node, merged, &managers.union(), &last);
    let changes = walk::compare(node, live.as_value(), &applied);
    let mut conflicts = Conflicts::default();
    managers.others(writer, &version, |entry| {
        conflicts.note(entry, &changes.taken);
        entry.set.subtract(&changes.taken);
        entry.set.subtract(&changes.removed);
    });
    let is_kubectl = writer.manager == "kubectl" && writer.subresource.is_empty();
    let said = if is_kubectl { last_applied::said(live) } else { None };
    if let Some(said) = &said {
        conflicts.allow(&walk::fields(node, said).0);
    }
    if !force {
        conflicts.refuse()?;
    }
    is_new |= applied != *live.as_value();
    if is_new {
        managers.entry(writer, &version).time = time::format(now);
    }
    let mut applied = Object::from_value(applied).map_err(Status::internal)?;
    if said.is_some() {
        last_applied::say(&mut applied, &config);
    }
    if let Some(entries) = managers.into_value() {
        applied.set(MANAGED_FIELDS, entries);
    }
    Ok(applied)
}

/// Takes away what the writer applied last, does not apply now, and nobody else owns.
fn prune(node: Node<'_>, merged: Value, owned: &Set, last: &Set) -> Value {
    if last.is_empty() {
        return merged;
    }
    let structs = |set: &Set| merge::with_structs(node, set);
    let fields = |value: &Value| structs(&walk::fields(node, value).0);
    let without = |gone: &Set| merge::without(node, &merged, gone).unwrap_or_default();
    let (all, last) = (fields(&merged), structs(last));
    // What is left over when everything that was applied goes, but for what has an owner …
    let mut gone = all.clone();
    gone.subtract(&fields(&without(&last)));
    gone.subtract(&structs(owned));
    let left = fields(&without(&gone));
    // … and of what that takes away, only what was applied.
    let mut gone = all;
    gone.subtract(&left);
    gone.intersect(&last);
    if gone.is_empty() { merged } else { without(&gone) }
}

/// Notes in `new` what a writer that did not apply has changed of `old` (None: it made the object).
/// `submitted` is what it sent as managedFields: whoever sends a list of none or `[{}]` ends the account,
/// other valid entries count instead of the stored ones.
pub fn record(
    kind: &Kind,
    node: Node<'_>,
    new: &mut Object,
    old: Option<&Object>,
    submitted: Option<Value>,
    writer: Writer<'_>,
    now: SystemTime,
) {
    new.remove(MANAGED_FIELDS);
    let stored = old.and_then(|old| old.at(MANAGED_FIELDS));
    let is_reset =
        submitted.as_ref().and_then(Value::as_array).is_some_and(|entries| match entries.as_slice() {
            [] => true,
            [only] => only.as_object().is_some_and(Map::is_empty),
            _ => false,
        });
    let given = submitted.as_ref().and_then(Managers::parse).filter(|given| !given.is_empty());
    let mut managers = match given {
        _ if is_reset => Managers::default(),
        Some(given) => given,
        None => stored.and_then(Managers::parse).unwrap_or_default(),
    };
    if managers.is_empty() && old.is_some() {
        return;
    }
    let version = kind.api_version();
    // That the old one has managedFields is no matter: nobody owns those.
    let mut changes = match old {
        Some(old) => walk::compare(node, old.as_value(), new.as_value()),
        None => walk::compare(node, &unset(kind), new.as_value()),
    };
    disown(kind, &mut changes.taken, writer);
    managers.all(|entry| {
        entry.set.subtract(&changes.taken);
        entry.set.subtract(&changes.removed);
    });
    if !changes.taken.is_empty() {
        let entry = managers.entry(writer, &version);
        entry.set.extend(changes.taken);
        entry.time = time::format(now);
    }
    if let Some(entries) = managers.into_value() {
        new.set(MANAGED_FIELDS, entries);
    }
}

/// Whether two accounts differ in nothing but times, by which they are ordered.
pub fn is_same_account(one: Option<&Value>, other: Option<&Value>) -> bool {
    let (Some(Value::Array(one)), Some(Value::Array(other))) = (one, other) else { return one == other };
    let mut left: Vec<_> = other.iter().map(timeless).collect();
    let mut take = |entry| {
        let place = left.iter().position(|other| *other == entry);
        place.map(|place| left.swap_remove(place)).is_some()
    };
    one.len() == other.len() && one.iter().map(timeless).all(&mut take)
}

/// What an entry of an account says, but for its time.
fn timeless(entry: &Value) -> Vec<(&String, &Value)> {
    entry.as_object().into_iter().flatten().filter(|(field, _)| *field != "time").collect()
}

/// Takes what a writer cannot own out of a set: what nobody owns and, as status is written apart, status.
fn disown(kind: &Kind, set: &mut Set, writer: Writer<'_>) {
    UNOWNED.iter().for_each(|path| set.remove(path));
    if writer.subresource.is_empty() && kind.subresource("status").is_some() {
        set.remove_child("f:status");
    }
}

/// The part of a configuration that the writer's subresource is about.
fn own_part<'c>(kind: &Kind, config: &'c Object, writer: Writer<'_>) -> Cow<'c, Object> {
    let is_apart = kind.subresource("status").is_some() && config.as_map().contains_key("status");
    let mut config = Cow::Borrowed(config);
    match writer.subresource {
        "" if is_apart => drop(config.to_mut().remove("/status")),
        "status" => {
            let config = config.to_mut();
            config
                .as_map_mut()
                .retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            if let Some(Value::Object(metadata)) = config.at_mut("/metadata") {
                metadata.retain(|name, _| {
                    matches!(name.as_str(), "name" | "namespace" | "uid" | "resourceVersion")
                });
            }
        }
        _ => {}
    }
    config
}

/// What a new object is compared with.
fn unset(kind: &Kind) -> Value {
    fn structs(of: Type) -> Value {
        let named = |field: &table::Field| field.name == "containers" || STRUCTS.contains(&field.name);
        let inner = |field: table::Field| match field.shape.form() {
            Form::Struct(of) => Some((field.name.to_owned(), structs(of))),
            // Go's types write an empty list here, too.
            Form::List(_) if field.name == "containers" => Some((field.name.to_owned(), Value::Null)),
            _ => None,
        };
        of.fields().filter(named).filter_map(inner).collect::<Map<_, _>>().into()
    }
    table::kind(&kind.api_version(), kind.kind).map_or_else(|| serde_json::json!({"metadata": {}}), structs)
}
