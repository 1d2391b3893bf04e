//! ControllerRevisions: the history of a set's template, by which it is rolled out and rolled back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Action, Plan, Told, claim, owner_reference};
use crate::api::Object;
use crate::api::hash::name_part;
use crate::api::kinds::CONTROLLER_REVISION;
use crate::api::selector::LabelSelector;

/// What pods of a DaemonSet or StatefulSet say of the revision that they were made of.
pub const HASH: &str = "controller-revision-hash";

/// A set's revisions, oldest first. The last one is what the set asks for now.
pub struct History {
    revisions: Vec<Object>,
    /// How often a name was taken by other data.
    pub collisions: i64,
}

impl History {
    /// Of the revisions that the set controls or may adopt. One that is missing is planned, and one that is asked for
    /// again becomes the newest. `label` is that of the hash on revisions.
    pub fn of(
        set: &Object,
        selector: &LabelSelector,
        label: &str,
        found: Vec<Object>,
        plan: &mut Plan,
    ) -> Self {
        let mut revisions = claim(set, selector, found, plan);
        let order = |one: &Object| (one.i64_at("/revision").unwrap_or(0), one.creation_timestamp());
        revisions.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.name().cmp(b.name())));
        let mut collisions = set.i64_at("/status/collisionCount").unwrap_or(0);
        let ends = set.deletion_timestamp().is_some();
        let data = data(set);
        let next = revisions.last().map_or(0, |last| order(last).0) + 1;
        let same = revisions.iter().rposition(|one| one.at("/data") == Some(&data));
        match same {
            Some(at) if at + 1 < revisions.len() => {
                let mut again = revisions.remove(at);
                if !ends {
                    again.set("/revision", next);
                    plan.actions.push(Action::Update(again.clone(), Told::Nothing));
                }
                revisions.push(again);
            }
            None if !ends => {
                // Two sets of a name may have the same template.
                let text = format!("{}{data}", set.uid());
                let (hash, name) = loop {
                    let hash = name_part(format!("{text}{collisions}").as_bytes());
                    let name = format!("{}-{hash}", set.name());
                    if revisions.iter().all(|one| one.name() != name) {
                        break (hash, name);
                    }
                    collisions += 1;
                };
                let mut made = Object::new(CONTROLLER_REVISION, set.namespace(), &name);
                let labels = set.map_at("/spec/template/metadata/labels").cloned().unwrap_or_default();
                made.set("/metadata/labels", labels);
                made.set_label(label, &hash);
                if let Some(annotations) = set.annotations() {
                    made.set("/metadata/annotations", annotations.clone());
                }
                made.set("/metadata/ownerReferences", json!([owner_reference(set)]));
                made.set("/data", data);
                made.set("/revision", next);
                plan.actions.push(Action::Create(made.clone(), Told::Nothing));
                revisions.push(made);
            }
            _ => {}
        }
        Self { revisions, collisions }
    }

    pub fn newest(&self) -> Option<&Object> {
        self.revisions.last()
    }

    pub fn get(&self, name: &str) -> Option<&Object> {
        self.revisions.iter().find(|one| one.name() == name)
    }

    /// Deletes the oldest ones past `spec.revisionHistoryLimit`, apart from those that pods were made of (`live`) and
    /// the newest.
    pub fn clean_up(&self, set: &Object, live: impl Fn(&Object) -> bool, plan: &mut Plan) {
        let limit = usize::try_from(set.i64_at("/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(0);
        let Some((_, older)) = self.revisions.split_last() else { return };
        let dead: Vec<&Object> = older.iter().filter(|one| !live(one)).collect();
        let surplus = dead.len().saturating_sub(limit);
        plan.actions
            .extend(dead.into_iter().take(surplus).map(|one| Action::Delete(one.clone(), Told::Nothing)));
    }
}

/// The patch that brings a set's template back.
fn data(set: &Object) -> Value {
    let mut template = set.at("/spec/template").cloned().unwrap_or_else(|| json!({}));
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub fn template(revision: &Object) -> Value {
    let mut template = revision.at("/data/spec/template").cloned().unwrap_or_default();
    if let Value::Object(template) = &mut template {
        template.remove("$patch");
    }
    template
}

/// The values of a label on pods.
pub fn labelled<'a>(pods: impl IntoIterator<Item = &'a Object>) -> BTreeSet<&'a str> {
    pods.into_iter().filter_map(|pod| pod.label(HASH)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(image: &str) -> Object {
        Object::from_value(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "annotations": {"kubernetes.io/change-cause": image}},
            "spec": {"revisionHistoryLimit": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        }))
        .unwrap()
    }

    /// Carries out what is planned for revisions.
    fn step(set: &Object, revisions: &mut Vec<Object>) -> Plan {
        let selector = LabelSelector::from_json(set.at("/spec/selector").unwrap()).unwrap();
        let mut plan = Plan::default();
        let history = History::of(set, &selector, HASH, revisions.clone(), &mut plan);
        history.clean_up(set, |_| false, &mut plan);
        for action in &plan.actions {
            match action {
                Action::Create(one, _) => revisions.push(one.clone()),
                Action::Update(one, _) => {
                    revisions.retain(|old| old.name() != one.name());
                    revisions.push(one.clone());
                }
                Action::Delete(one, _) => revisions.retain(|old| old.name() != one.name()),
                Action::Event { .. } => {}
            }
        }
        plan
    }

    #[test]
    fn each_template_is_kept_once_and_the_oldest_go() {
        let mut revisions = Vec::new();
        // (image, the numbers that are kept then)
        for (image, numbers) in [
            ("1", vec![1]),
            ("2", vec![1, 2]),
            ("1", vec![2, 3]),
            ("3", vec![2, 3, 4]),
            ("4", vec![3, 4, 5]),
            ("3", vec![3, 5, 6]),
        ] {
            step(&set(image), &mut revisions);
            let mut found: Vec<_> = revisions.iter().filter_map(|one| one.i64_at("/revision")).collect();
            found.sort_unstable();
            assert_eq!(found, numbers, "{image}");
            assert!(step(&set(image), &mut revisions).actions.is_empty());
        }
        let last = revisions.iter().max_by_key(|one| one.i64_at("/revision")).unwrap();
        assert_eq!(&template(last), set("3").at("/spec/template").unwrap());
        assert_eq!(last.name(), format!("web-{}", last.label(HASH).unwrap()));
        assert_eq!(last.annotation("kubernetes.io/change-cause"), Some("3"));
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_again() {
        let mut revisions = Vec::new();
        step(&set("1"), &mut revisions);
        let name = revisions[0].name().to_owned();
        revisions[0].set("/data", json!({}));
        let selector = LabelSelector::from_json(&json!({"matchLabels": {"app": "web"}})).unwrap();
        let history = History::of(&set("1"), &selector, HASH, revisions, &mut Plan::default());
        assert_eq!(history.collisions, 1);
        assert!(history.newest().is_some_and(|newest| newest.name() != name));
    }
}
