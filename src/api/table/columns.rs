//! The columns of the kinds whose cells are a field each.

use super::{Column, age};
use crate::api::Object;

pub(super) const NAME: Column = Column {
    format: "name",
    ..Column::text("Name", "Name, unique in the namespace for its kind.", |object, _| object.name().into())
};

pub(super) const AGE: Column = Column::text("Age", "Time since the object was created.", |object, now| {
    age(object.creation_timestamp(), now).into()
});

pub const NAME_AND_AGE: &[Column] = &[NAME, AGE];

pub const NAMESPACE: &[Column] = &[
    NAME,
    Column::text("Status", "The namespace's phase.", |object, _| object.str_at("/status/phase").into()),
    AGE,
];

pub const CONFIG_MAP: &[Column] = &[
    NAME,
    Column::text("Data", "Number of entries.", |object, _| {
        (entries(object, "/data") + entries(object, "/binaryData")).into()
    }),
    AGE,
];

pub const SECRET: &[Column] = &[
    NAME,
    Column::text("Type", "What the secret is for.", |object, _| object.str_at("/type").into()),
    Column::text("Data", "Number of entries.", |object, _| entries(object, "/data").into()),
    AGE,
];

pub const SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    Column::text("Secrets", "Number of secrets.", |object, _| object.array_at("/secrets").len().into()),
    AGE,
];

pub const LEASE: &[Column] = &[
    NAME,
    Column::text("Holder", "Who holds the lease.", |object, _| object.str_at("/spec/holderIdentity").into()),
    AGE,
];

pub const EVENT: &[Column] = &[
    Column::text("Last Seen", "Time since it last happened.", |event, now| last_seen(event, now).into()),
    Column::text("Type", "Normal or Warning.", |event, _| event.str_at("/type").into()),
    Column::text("Reason", "Why, in one word.", |event, _| event.str_at("/reason").into()),
    Column::text("Object", "What the event is about.", |event, _| {
        let kind = event.str_at("/involvedObject/kind").to_lowercase();
        match event.str_at("/involvedObject/name") {
            "" => kind.into(),
            name => format!("{kind}/{name}").into(),
        }
    }),
    Column::text("Subobject", "The part of it.", |event, _| event.str_at("/involvedObject/fieldPath").into())
        .wide(),
    Column::text("Source", "Who reports it.", |event, _| source(event).into()).wide(),
    Column::text("Message", "What happened.", |event, _| event.str_at("/message").trim().into()),
    Column::text("First Seen", "Time since it first happened.", |event, now| first_seen(event, now).into())
        .wide(),
    Column::text("Count", "How often it happened.", |event, _| count(event).into()).integer().wide(),
    Column { priority: 1, ..NAME },
];

fn entries(object: &Object, pointer: &str) -> usize {
    object.map_at(pointer).map_or(0, serde_json::Map::len)
}

fn first_seen(event: &Object, now: std::time::SystemTime) -> String {
    age(event.time_at("/firstTimestamp").or_else(|| event.time_at("/eventTime")), now)
}

fn last_seen(event: &Object, now: std::time::SystemTime) -> String {
    if event.at("/series").is_some() {
        return age(event.time_at("/series/lastObservedTime"), now);
    }
    match event.time_at("/lastTimestamp") {
        None => first_seen(event, now),
        last => age(last, now),
    }
}

fn count(event: &Object) -> i64 {
    if event.at("/series").is_some() {
        return event.i64_at("/series/count").unwrap_or(0);
    }
    event.i64_at("/count").filter(|&count| count != 0).unwrap_or(1)
}

/// `component, host`, of the old fields or else the new ones.
fn source(event: &Object) -> String {
    let first = |old: &str, new: &str| match event.str_at(old) {
        "" => event.str_at(new).to_owned(),
        text => text.to_owned(),
    };
    let component = first("/source/component", "/reportingComponent");
    let host = first("/source/host", "/reportingInstance");
    if host.is_empty() { component } else { format!("{component}, {host}") }
}
