//! LimitRanges.

use super::forbidden;
use crate::api::kinds::{LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD};
use crate::api::{Kind, Object, Status};
use crate::plan::limits;
use crate::server::registry::Registry;

/// Gives a new pod's containers what they say nothing about.
pub fn default(registry: &Registry, pod: &mut Object) -> Result<(), Status> {
    let mut changed = false;
    for range in registry.objects(LIMIT_RANGE, Some(pod.namespace()))? {
        changed |= limits::default(pod, &range);
    }
    if changed {
        // The class of service follows from what was set.
        POD.strategy.prepare_create(pod);
    }
    Ok(())
}

/// Holds a pod or a claim against the ranges of its namespace. A pod's resources do not change later.
pub fn check(registry: &Registry, kind: &Kind, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    if !(kind == POD && old.is_none() || kind == PERSISTENT_VOLUME_CLAIM) {
        return Ok(());
    }
    for range in registry.objects(LIMIT_RANGE, Some(new.namespace()))? {
        let found = limits::violations(kind, new, &range);
        let why = match found.as_slice() {
            [] => continue,
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        return Err(forbidden(kind, new.name(), &why));
    }
    Ok(())
}
