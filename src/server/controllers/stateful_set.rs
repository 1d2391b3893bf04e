//! StatefulSets, their pods, claims and revisions.

use std::time::SystemTime;

use super::{Controller, Seen, World};
use crate::api::kinds::{CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET};
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::stateful_set;

pub struct StatefulSets;

impl Controller for StatefulSets {
    fn kind(&self) -> &'static Kind {
        STATEFUL_SET
    }

    fn source(&self) -> &'static str {
        "statefulset-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[POD, CONTROLLER_REVISION] }
    }

    fn watches(&self) -> &'static [&'static Kind] {
        const { &[PERSISTENT_VOLUME_CLAIM] }
    }

    /// The sets that a claim which went, or has other owners, is a claim of by its name: their pods may have waited for that.
    fn concerned(&self, world: &World, change: &Seen<'_>) -> Vec<String> {
        let owners = |claim: &Object| claim.at("/metadata/ownerReferences").cloned();
        let is_free = |old: &&Object| change.new.is_none_or(|new| owners(new) != owners(old));
        let Some(claim) = change.old.filter(is_free) else { return Vec::new() };
        let sets = world.registry().objects(STATEFUL_SET, Some(claim.namespace())).unwrap_or_default();
        let names = sets.iter().filter(|set| stateful_set::is_claim(set, claim.name()));
        names.map(|set| STATEFUL_SET.key(set.namespace(), set.name())).collect()
    }

    fn plan(&self, world: &World, set: &Object, _: Option<&Status>, now: SystemTime) -> Result<Plan, Status> {
        let (pods, revisions) = (world.of(POD, set, true), world.of(CONTROLLER_REVISION, set, true));
        let claims = |name: &str| world.get(PERSISTENT_VOLUME_CLAIM, set.namespace(), name);
        Ok(stateful_set::plan(set, pods, revisions, &claims, now))
    }
}
