//! `metadata.managedFields`: who owns which fields.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::set::Set;
use crate::api::time;

/// How a writer wrote. Only what it applied is taken away again when it applies without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    #[default]
    Update,
}

/// Who writes, and through which subresource ("" for the object itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    pub manager: &'a str,
    pub operation: Operation,
    pub subresource: &'a str,
}

/// One writer's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub subresource: String,
    pub api_version: String,
    /// RFC 3339; "" for none.
    pub time: String,
    pub set: Set,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(Vec<Entry>);

/// How many writers that update are kept apart; the oldest beyond are put together, as upstream does.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

impl Entry {
    fn is(&self, writer: Writer<'_>, api_version: &str) -> bool {
        self.manager == writer.manager
            && self.operation == writer.operation
            && self.subresource == writer.subresource
            // Who applies is the same one in every version.
            && (self.operation == Operation::Apply || self.api_version == api_version)
    }

    fn parse(value: &Value) -> Option<Entry> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let entry = Entry {
            manager: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            set: Set::from_fields(value.get("fieldsV1")?)?,
        };
        (text("fieldsType") == "FieldsV1" && !entry.api_version.is_empty()).then_some(entry)
    }

    fn into_value(self) -> Value {
        let operation = if self.operation == Operation::Apply { "Apply" } else { "Update" };
        let mut map = Map::new();
        for (field, text) in [
            ("manager", self.manager),
            ("operation", operation.to_owned()),
            ("apiVersion", self.api_version),
            ("time", self.time),
            ("fieldsType", "FieldsV1".to_owned()),
            ("subresource", self.subresource),
        ] {
            if !text.is_empty() {
                map.insert(field.to_owned(), text.into());
            }
        }
        map.insert("fieldsV1".to_owned(), Value::Object(self.set.into_fields()));
        Value::Object(map)
    }
}

impl Managers {
    /// None when the value is no list of entries.
    pub fn parse(value: &Value) -> Option<Managers> {
        value.as_array()?.iter().map(Entry::parse).collect::<Option<Vec<Entry>>>().map(Managers)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn find(&self, writer: Writer<'_>, api_version: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.is(writer, api_version))
    }

    /// The writer's entry, made if need be.
    pub fn entry(&mut self, writer: Writer<'_>, api_version: &str) -> &mut Entry {
        let place = self.0.iter().position(|entry| entry.is(writer, api_version));
        let place = place.unwrap_or_else(|| {
            self.0.push(Entry {
                manager: writer.manager.to_owned(),
                operation: writer.operation,
                subresource: writer.subresource.to_owned(),
                api_version: api_version.to_owned(),
                time: String::new(),
                set: Set::default(),
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// Changes the entry of everybody but the writer.
    pub fn others(&mut self, writer: Writer<'_>, api_version: &str, change: impl FnMut(&mut Entry)) {
        self.0.iter_mut().filter(|entry| !entry.is(writer, api_version)).for_each(change);
    }

    pub fn all(&mut self, change: impl FnMut(&mut Entry)) {
        self.0.iter_mut().for_each(change);
    }

    /// What all own together.
    pub fn union(&self) -> Set {
        let mut all = Set::default();
        self.0.iter().for_each(|entry| all.extend(entry.set.clone()));
        all
    }

    /// As `metadata.managedFields` has it; None when nobody owns anything.
    pub fn into_value(mut self) -> Option<Value> {
        self.0.retain(|entry| !entry.set.is_empty());
        self.cap();
        fn name(of: &Entry) -> [&str; 3] {
            [&of.manager, &of.api_version, &of.subresource]
        }
        let rank = |entry: &Entry| (entry.operation, seconds(&entry.time));
        self.0.sort_by(|one, other| rank(one).cmp(&rank(other)).then_with(|| name(one).cmp(&name(other))));
        (!self.0.is_empty()).then(|| self.0.into_iter().map(Entry::into_value).collect())
    }

    /// Puts the oldest updaters of each version together until there are few enough.
    fn cap(&mut self) {
        let mut over = self.0.iter().filter(|entry| entry.operation == Operation::Update).count();
        if over <= MAX_UPDATERS {
            return;
        }
        self.0.sort_by_cached_key(|entry| (entry.operation, seconds(&entry.time), entry.manager.clone()));
        let mut kept: Vec<Entry> = Vec::with_capacity(self.0.len());
        for entry in std::mem::take(&mut self.0) {
            let updates = |other: &Entry| other.operation == Operation::Update;
            let oldest = kept.iter_mut().find(|old| updates(old) && old.api_version == entry.api_version);
            match oldest {
                Some(oldest) if over > MAX_UPDATERS => {
                    oldest.set.extend(entry.set);
                    oldest.manager = ANCIENT.to_owned();
                    oldest.subresource.clear();
                    oldest.time = entry.time;
                    over -= 1;
                }
                _ => kept.push(entry),
            }
        }
        self.0 = kept;
    }
}

/// A time as a number that orders; none is the oldest.
fn seconds(text: &str) -> Option<SystemTime> {
    time::parse(text)
}
