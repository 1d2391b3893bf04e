//! What is said of a namespace that is being deleted and is not empty yet: its conditions, in upstream's words.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::api::{Kind, Object, time};

/// What is left in a namespace.
#[derive(Debug, Default)]
pub struct Remaining {
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    pub fn add(&mut self, kind: &Kind, object: &Object) {
        *self.resources.entry(format!("{}.{}", kind.plural, kind.group)).or_default() += 1;
        for finalizer in object.finalizers() {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// The conditions that are to be; those of other kinds stay. `failure`: why something could not be deleted.
pub fn conditions(
    before: &[Value],
    remaining: &Remaining,
    failure: Option<&str>,
    now: SystemTime,
) -> Vec<Value> {
    let list = |counts: &BTreeMap<String, usize>, what: &str| {
        let texts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} {what} {count} resource instances")).collect();
        texts.join(", ")
    };
    let resources = list(&remaining.resources, "has");
    let finalizers = list(&remaining.finalizers, "in");
    let told = [
        (
            "NamespaceDeletionDiscoveryFailure",
            None,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            failure.map(|why| {
                ("ContentDeletionFailed", format!("Failed to delete all resource types, 1 remaining: {why}"))
            }),
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            (!resources.is_empty())
                .then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {resources}"))),
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            (!finalizers.is_empty()).then(|| {
                let message = format!("Some content in the namespace has finalizers remaining: {finalizers}");
                ("SomeFinalizersRemain", message)
            }),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut conditions = before.to_vec();
    for (kind, bad, reason, message) in told {
        let status = if bad.is_some() { "True" } else { "False" };
        let (reason, message) = bad.unwrap_or_else(|| (reason, message.to_owned()));
        let place = conditions.iter().position(|condition| condition["type"] == kind);
        let known = place.and_then(|index| conditions.get(index)).filter(|known| known["status"] == status);
        let since =
            known.map_or_else(|| json!(time::format(now)), |known| known["lastTransitionTime"].clone());
        let condition = json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since});
        match place.and_then(|index| conditions.get_mut(index)) {
            Some(place) => *place = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::{CONFIG_MAP, DEPLOYMENT};

    #[test]
    fn what_is_left_is_told() {
        let at = |text: &str| time::parse(text).unwrap();
        let held = Object::from_value(json!({"metadata": {"finalizers": ["a/b"]}})).unwrap();
        let mut remaining = Remaining::default();
        remaining.add(CONFIG_MAP, &held);
        remaining.add(CONFIG_MAP, &held);
        remaining.add(DEPLOYMENT, &Object::from_value(json!({})).unwrap());
        let first = conditions(&[], &remaining, None, at("2026-01-01T00:00:00Z"));
        let texts: Vec<&str> = first.iter().map(|c| c["message"].as_str().unwrap()).collect();
        assert_eq!(
            texts[2..],
            [
                "All content successfully deleted, may be waiting on finalization",
                "Some resources are remaining: configmaps. has 2 resource instances, \
                 deployments.apps has 1 resource instances",
                "Some content in the namespace has finalizers remaining: a/b in 2 resource instances",
            ]
        );
        assert_eq!(conditions(&first, &remaining, None, at("2026-01-02T00:00:00Z")), first);
        let failed = conditions(&first, &Remaining::default(), Some("no disk"), at("2026-01-02T00:00:00Z"));
        assert_eq!(failed[2]["status"], "True");
        assert_eq!(failed[3]["reason"], "ContentRemoved");
        assert_eq!(failed[0]["lastTransitionTime"], first[0]["lastTransitionTime"]);
    }
}
