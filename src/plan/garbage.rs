//! What becomes of an object by what it says of its owners (`metadata.ownerReferences`).

use serde_json::Value;

use crate::api::Object;

/// Finalizers by which an owner waits: until its dependents are gone, until they have forgotten it.
pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// What a delete does to dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// One of an object's owner references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// Whether the owner, deleted in the foreground, waits for this object.
    pub blocks: bool,
}

pub fn references(object: &Object) -> impl Iterator<Item = Reference<'_>> {
    object.array_at("/metadata/ownerReferences").iter().map(|owner| {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or("");
        Reference {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            blocks: owner.get("blockOwnerDeletion").and_then(Value::as_bool).unwrap_or(false),
        }
    })
}

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Solid,
    /// It is being deleted, and waits for its dependents.
    Waiting,
    Missing,
    /// Nobody can tell: its kind is not known, or it has a namespace and its dependent has none.
    Unknown,
}

/// What becomes of a dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It stays without the references to owners that are not [`Owner::Solid`].
    Forgets,
    Goes(Propagation),
}

/// Whether the object is being deleted and waits with this finalizer.
pub fn waits(object: &Object, finalizer: &str) -> bool {
    object.deletion_timestamp().is_some() && object.finalizers().any(|found| found == finalizer)
}

/// Decides about an object that is not being deleted. `owners` are those of its references, in their order.
pub fn fate(object: &Object, owners: &[Owner], has_dependents: bool) -> Fate {
    let is = |state: Owner| owners.contains(&state);
    if owners.is_empty() || is(Owner::Unknown) {
        return Fate::Stays;
    }
    if is(Owner::Solid) {
        let all = owners.iter().all(|owner| *owner == Owner::Solid);
        return if all { Fate::Stays } else { Fate::Forgets };
    }
    // The owner waits: what hangs on this object goes before it, too.
    if is(Owner::Waiting) && has_dependents {
        return Fate::Goes(Propagation::Foreground);
    }
    let has = |finalizer: &str| object.finalizers().any(|found| found == finalizer);
    Fate::Goes(match () {
        () if has(ORPHAN) => Propagation::Orphan,
        () if has(FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    })
}

/// The finalizers that an object has once it is deleted this way. `None` keeps what an earlier delete said.
pub fn finalizers(object: &Object, propagation: Option<Propagation>) -> Vec<String> {
    let own = |name: &str| name == FOREGROUND || name == ORPHAN;
    let kept = object.finalizers().filter(|name| propagation.is_none() || !own(name));
    let mut names: Vec<String> = kept.map(str::to_owned).collect();
    match propagation {
        Some(Propagation::Foreground) => names.push(FOREGROUND.to_owned()),
        Some(Propagation::Orphan) => names.push(ORPHAN.to_owned()),
        Some(Propagation::Background) | None => {}
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(finalizers: &[&str], deleted: bool) -> Object {
        let mut object = json!({"metadata": {"finalizers": finalizers}});
        if deleted {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        Object::from_value(object).unwrap()
    }

    #[test]
    fn fates() {
        use Owner::{Missing, Solid, Unknown, Waiting};
        use Propagation::{Background, Foreground, Orphan};
        let table: &[(&[Owner], bool, &[&str], Fate)] = &[
            (&[], false, &[], Fate::Stays),
            (&[Solid], true, &[], Fate::Stays),
            (&[Solid, Solid], false, &[], Fate::Stays),
            (&[Solid, Missing], false, &[], Fate::Forgets),
            (&[Waiting, Solid], true, &[], Fate::Forgets),
            (&[Missing], false, &[], Fate::Goes(Background)),
            (&[Missing], true, &["a/b"], Fate::Goes(Background)),
            (&[Missing], true, &[ORPHAN], Fate::Goes(Orphan)),
            (&[Missing], true, &[FOREGROUND], Fate::Goes(Foreground)),
            (&[Waiting], false, &[], Fate::Goes(Background)),
            (&[Waiting, Missing], true, &[], Fate::Goes(Foreground)),
            (&[Missing, Unknown], false, &[], Fate::Stays),
        ];
        for (owners, has_dependents, finalizers, expected) in table {
            let found = fate(&object(finalizers, false), owners, *has_dependents);
            assert_eq!(found, *expected, "{owners:?} {has_dependents} {finalizers:?}");
        }
    }

    #[test]
    fn a_delete_sets_finalizers() {
        let cases: &[(&[&str], Option<Propagation>, &[&str])] = &[
            (&["a/b"], None, &["a/b"]),
            (&["a/b"], Some(Propagation::Orphan), &["a/b", ORPHAN]),
            (&[ORPHAN], Some(Propagation::Foreground), &[FOREGROUND]),
            (&[FOREGROUND], Some(Propagation::Background), &[]),
            (&[FOREGROUND], None, &[FOREGROUND]),
        ];
        for (before, propagation, after) in cases {
            assert_eq!(finalizers(&object(before, false), *propagation), *after);
        }
        assert!(waits(&object(&[ORPHAN], true), ORPHAN));
        assert!(!waits(&object(&[ORPHAN], false), ORPHAN));
        assert!(!waits(&object(&[ORPHAN], true), FOREGROUND));
    }
}
