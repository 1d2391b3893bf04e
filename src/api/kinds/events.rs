//! `events.k8s.io/v1`: the core group's events under the names that newer recorders give their fields. Stored once,
//! as the core group's.

use serde_json::Value;

use super::{CORE, EVENT, Field, Kind};
use crate::api::{Cause, Object, table};

pub static EVENT_VIEW: &Kind = &Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    list_kind: "EventList",
    short_names: &["ev"],
    columns: table::EVENT,
    fields: &[
        Field { label: "regarding.kind", value: |o| o.str_at("/involvedObject/kind").into() },
        Field { label: "regarding.namespace", value: |o| o.str_at("/involvedObject/namespace").into() },
        Field { label: "regarding.name", value: |o| o.str_at("/involvedObject/name").into() },
        Field { label: "regarding.uid", value: |o| o.str_at("/involvedObject/uid").into() },
        Field { label: "regarding.apiVersion", value: |o| o.str_at("/involvedObject/apiVersion").into() },
        Field {
            label: "regarding.resourceVersion",
            value: |o| o.str_at("/involvedObject/resourceVersion").into(),
        },
        Field { label: "regarding.fieldPath", value: |o| o.str_at("/involvedObject/fieldPath").into() },
        Field { label: "reason", value: |o| o.str_at("/reason").into() },
        Field { label: "reportingController", value: |o| o.str_at("/reportingComponent").into() },
        Field { label: "type", value: |o| o.str_at("/type").into() },
    ],
    view_of: Some(EVENT),
    ..CORE
};

/// Fields of the core group's events, and what the view calls them. All others have one name.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Makes of a stored event what the view shows.
pub fn show(event: &mut Object) {
    rename(event, EVENT_VIEW, NAMES.iter().copied());
}

/// Makes of what the view shows what is stored.
pub fn store(event: &mut Object) {
    rename(event, EVENT, NAMES.iter().map(|(core, view)| (*view, *core)));
}

fn rename<'n>(event: &mut Object, kind: &Kind, names: impl Iterator<Item = (&'n str, &'n str)>) {
    for (from, to) in names {
        if let Some(value) = event.as_map_mut().remove(from) {
            event.as_map_mut().insert(to.to_owned(), value);
        }
    }
    event.set("/apiVersion", kind.api_version().as_ref());
    event.set("/kind", kind.kind);
}

/// The longest reason, action and instance, and the longest note.
const WORD: usize = 128;
const NOTE: usize = 1024;

/// What upstream wants of a new event of this group (core `validation/events.go`); the rest is the stored kind's.
pub fn check(event: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    if event.str_at("/eventTime").is_empty() {
        causes.push(Cause::required("eventTime", ""));
    }
    for field in ["reportingController", "reportingInstance", "action", "reason"] {
        let text = event.str_at(&format!("/{field}"));
        if text.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if field == "reportingController" {
            if let Err(message) = crate::api::names::is_label_key(text) {
                causes.push(Cause::invalid(field, text, &message));
            }
        } else if text.len() > WORD {
            causes.push(Cause::invalid(field, "", &format!("can have at most {WORD} characters")));
        }
    }
    if event.str_at("/note").len() > NOTE {
        causes.push(Cause::invalid("message", "", &format!("can have at most {NOTE} characters")));
    }
    let of = event.str_at("/type");
    if !matches!(of, "Normal" | "Warning") {
        causes.push(Cause::invalid("type", "", &format!("has invalid value: {of}")));
    }
    for (core, view) in NAMES.iter().filter(|(_, view)| view.starts_with("deprecated")) {
        let said = event.as_map().get(*view);
        let is_empty = |value: &Value| match value {
            Value::Object(map) => map.is_empty(),
            value => *value == 0,
        };
        if let Some(said) = said.filter(|said| !is_empty(said)) {
            causes.push(Cause::invalid(*core, said.clone(), "needs to be unset"));
        }
    }
    if event.at("/series").is_some() {
        if event.i64_at("/series/count").unwrap_or(0) < 2 {
            let count = event.at("/series/count").cloned().unwrap_or_default();
            causes.push(Cause::invalid("series.count", count, "should be at least 2"));
        }
        if event.str_at("/series/lastObservedTime").is_empty() {
            causes.push(Cause::required("series.lastObservedTime", ""));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"},
            "involvedObject": {"kind": "Pod", "name": "web"}, "reason": "Failed", "message": "no",
            "source": {"component": "x"}, "firstTimestamp": "2026-01-02T03:04:05Z",
            "lastTimestamp": "2026-01-02T03:04:06Z", "count": 2, "type": "Warning",
            "reportingComponent": "x", "reportingInstance": "y",
        });
        let mut event = Object::from_value(core.clone()).unwrap();
        show(&mut event);
        assert_eq!(
            *event.as_value(),
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
                "regarding": {"kind": "Pod", "name": "web"}, "reason": "Failed", "note": "no",
                "deprecatedSource": {"component": "x"}, "deprecatedFirstTimestamp": "2026-01-02T03:04:05Z",
                "deprecatedLastTimestamp": "2026-01-02T03:04:06Z", "deprecatedCount": 2, "type": "Warning",
                "reportingController": "x", "reportingInstance": "y",
            })
        );
        store(&mut event);
        assert_eq!(*event.as_value(), core);
    }

    #[test]
    fn what_a_new_one_needs() {
        let good = json!({
            "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "example.org/x",
            "reportingInstance": "x-1", "action": "Start", "reason": "Started", "type": "Normal",
        });
        for (field, value, expected) in [
            ("note", json!("fine"), ""),
            ("deprecatedSource", json!({}), ""),
            ("deprecatedCount", json!(0), ""),
            ("eventTime", json!(null), "eventTime: Required value"),
            ("reportingController", json!("a b"), "reportingController: Invalid value: \"a b\""),
            ("action", json!("a".repeat(129)), "can have at most 128 characters"),
            ("type", json!("Bad"), "type: Invalid value: \"\": has invalid value: Bad"),
            ("deprecatedCount", json!(1), "count: Invalid value: 1: needs to be unset"),
            ("series", json!({"count": 1}), "series.count: Invalid value: 1: should be at least 2"),
        ] {
            let mut event = good.clone();
            event[field] = value;
            let causes = check(&Object::from_value(event).unwrap());
            let text = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{field}: {text}");
        }
    }
}
