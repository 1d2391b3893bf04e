//! What controllers have in common: their plans, and whose an object is.

pub mod pods;
pub mod revision;

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::api::selector::LabelSelector;
use crate::api::{Kind, Object};

/// What is to be done for one object now. Carried out in this order; the plan is made anew after any change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// The object's whole status. One that it has already is not written.
    pub status: Option<Value>,
    /// An annotation that goes with the status: it does not count as a new generation.
    pub note: Option<(&'static str, String)>,
    /// When to look again even if nothing changes.
    pub again: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates it; one that is there already is as good. After a failure no further one is created.
    Create(Object, Told),
    /// Deletes this object, by name and uid.
    Delete(Object, Told),
    /// Stores it, if nobody has changed it since it was read.
    Update(Object, Told),
    /// Tells of the object that is planned for.
    Event { warning: bool, reason: &'static str, message: String },
}

/// What events say of an action: `{}` stands for the other object's name, in a failure `{}` for the error.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Nothing,
    /// `SuccessfulCreate`, `FailedDelete` and their like.
    Events {
        done: String,
        failed: String,
    },
    /// Reasons of a controller's own, with their messages; failures that are mended by trying again are not told.
    Reasons {
        done: Option<(&'static str, String)>,
        failed: Option<(&'static str, String)>,
    },
}

impl Told {
    /// As most controllers do it: `Created pod: web-x`, `Error creating: …`.
    pub fn usual(verb: &str, noun: &str) -> Self {
        let doing = verb.strip_suffix("ed").unwrap_or(verb);
        Self::Events {
            done: format!("{verb} {noun}: {{}}"),
            failed: format!("Error {}ing: {{}}", doing.to_lowercase()),
        }
    }
}

impl Plan {
    /// Looks again at `at`, or sooner.
    pub fn look_at(&mut self, at: SystemTime) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// Puts the status into place if it says something new.
    pub fn set_status(&mut self, object: &Object, status: Value) {
        if object.at("/status").unwrap_or(&json!({})) != &status {
            self.status = Some(status);
        }
    }
}

/// What an object selects; a ReplicationController's selector is a bare map of labels.
pub fn selector(object: &Object) -> Option<LabelSelector> {
    let selector = object.at("/spec/selector")?;
    if object.kind() == "ReplicationController" {
        return LabelSelector::from_json(&json!({ "matchLabels": selector })).ok();
    }
    LabelSelector::from_json(selector).ok()
}

/// The owner that controls an object, by uid.
pub fn controller(object: &Object) -> Option<&Value> {
    object.array_at("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

/// Whether `owner` controls the object.
pub fn is_controlled_by(object: &Object, owner: &Object) -> bool {
    controller(object).is_some_and(|found| found["uid"] == owner.uid())
}

/// What an object says of the owner that controls it.
pub fn owner_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A new object in the owner's namespace, from a template (`metadata` and `spec`), controlled by the owner.
/// The caller names it, by `/metadata/name` or `/metadata/generateName`.
pub fn from_template(kind: &Kind, template: &Value, owner: &Object) -> Object {
    let mut object = Object::new(kind, owner.namespace(), "");
    object.remove("/metadata/name");
    for part in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{part}")) {
            object.set(&format!("/metadata/{part}"), value.clone());
        }
    }
    object.set("/metadata/ownerReferences", json!([owner_reference(owner)]));
    if let Some(spec) = template.get("spec") {
        object.set("/spec", spec.clone());
    }
    object
}

/// How many copies of an object's template are made at once: at most `most`, and a few megabytes of them. The next plan
/// makes the rest.
pub fn burst(object: &Object, most: usize) -> usize {
    (4usize << 20).checked_div(object.to_vec().len()).unwrap_or(most).clamp(1, most)
}

/// The prefix of generated names; the registry cuts it so that they fit a label.
pub fn generate_name(owner: &Object) -> String {
    format!("{}-", owner.name())
}

/// Which of `found` (those that the owner controls, and those of its namespace that nobody does) are the owner's:
/// by selector and owner, as upstream's controller references. What is adopted or released is added to the plan, and
/// counts at once.
pub fn claim(owner: &Object, selector: &LabelSelector, found: Vec<Object>, plan: &mut Plan) -> Vec<Object> {
    let mut mine = Vec::new();
    let ends = owner.deletion_timestamp().is_some();
    for mut object in found {
        let owned = is_controlled_by(&object, owner);
        let matches = selector.matches(&object);
        match (owned, matches) {
            (true, true) => mine.push(object),
            (true, false) if !ends => {
                let mut owners = object.array_at("/metadata/ownerReferences").to_vec();
                owners.retain(|reference| reference["uid"] != owner.uid());
                object.set("/metadata/ownerReferences", owners);
                plan.actions.push(Action::Update(object, Told::Nothing));
            }
            (false, true)
                if !ends && controller(&object).is_none() && object.deletion_timestamp().is_none() =>
            {
                let mut owners = object.array_at("/metadata/ownerReferences").to_vec();
                owners.push(owner_reference(owner));
                object.set("/metadata/ownerReferences", owners);
                plan.actions.push(Action::Update(object.clone(), Told::Nothing));
                mine.push(object);
            }
            _ => {}
        }
    }
    mine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Object {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "a", "uid": "1"}});
        Object::from_value(owner).unwrap()
    }

    fn pod(name: &str, app: &str, owners: Value) -> Object {
        let pod = json!({"metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners}});
        Object::from_value(pod).unwrap()
    }

    #[test]
    fn it_claims_by_selector_and_owner() {
        let owner = owner();
        let selector = LabelSelector::from_json(&json!({"matchLabels": {"app": "web"}})).unwrap();
        let another = json!([{"uid": "2", "controller": true}]);
        let found = || {
            vec![
                pod("mine", "web", json!([owner_reference(&owner)])),
                pod("relabelled", "db", json!([owner_reference(&owner)])),
                pod("orphan", "web", json!([{"uid": "3"}])),
                pod("stranger", "db", json!([])),
                pod("anothers", "web", another.clone()),
            ]
        };
        let mut plan = Plan::default();
        let mine = claim(&owner, &selector, found(), &mut plan);
        assert_eq!(mine.iter().map(Object::name).collect::<Vec<_>>(), ["mine", "orphan"]);
        let [Action::Update(released, _), Action::Update(adopted, _)] = &plan.actions[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (released.name(), released.array_at("/metadata/ownerReferences").len()),
            ("relabelled", 0)
        );
        assert_eq!((adopted.name(), adopted.array_at("/metadata/ownerReferences").len()), ("orphan", 2));
        assert!(is_controlled_by(adopted, &owner));

        // One that is being deleted neither adopts nor releases.
        let mut ends = owner.clone();
        ends.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
        let mut plan = Plan::default();
        assert_eq!(claim(&ends, &selector, found(), &mut plan).len(), 1);
        assert!(plan.actions.is_empty());
    }
}
