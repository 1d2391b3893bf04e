//! The claims of a StatefulSet's pods, by name; and whose they are, by `persistentVolumeClaimRetentionPolicy`.

use serde_json::{Value, json};

use crate::api::Object;
use crate::api::kinds::PERSISTENT_VOLUME_CLAIM;
use crate::plan::control::{self, Action, Plan, Told};

/// What the set's templates are called, and what a pod's claims of them.
fn names(set: &Object, ordinal: i64) -> impl Iterator<Item = (&str, String, &Value)> {
    set.array_at("/spec/volumeClaimTemplates").iter().filter_map(move |template| {
        let name = template.pointer("/metadata/name")?.as_str()?;
        Some((name, format!("{name}-{}-{ordinal}", set.name()), template))
    })
}

/// Makes the claims of a pod that are missing. False if one is about to go: its name is free only then.
pub fn make(set: &Object, ordinal: i64, claims: &dyn Fn(&str) -> Option<Object>, plan: &mut Plan) -> bool {
    let mut all = true;
    for (_, name, template) in names(set, ordinal) {
        if let Some(claim) = claims(&name) {
            // One that belongs to a former pod of this name goes as soon as somebody finds that pod gone.
            let former = control::controller(&claim).is_some_and(|owner| owner["kind"] == "Pod");
            all &= claim.deletion_timestamp().is_none() && !former;
            continue;
        }
        let mut claim = control::from_template(PERSISTENT_VOLUME_CLAIM, template, set);
        claim.remove("/metadata/ownerReferences");
        claim.set("/metadata/name", name.as_str());
        for (label, value) in set.map_at("/spec/selector/matchLabels").into_iter().flatten() {
            claim.set_label(label, value.as_str().unwrap_or_default());
        }
        if let Some(owner) = owner(set, None) {
            claim.set("/metadata/ownerReferences", json!([owner]));
        }
        let (pod, set) = (format!("{}-{ordinal}", set.name()), set.name());
        let told = Told::Events {
            done: format!("create Claim {name} Pod {pod} in StatefulSet {set} success"),
            failed: format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {{}}"),
        };
        plan.actions.push(Action::Create(claim, told));
    }
    all
}

/// Has a pod mount its claims, in the place of volumes by their templates' names.
pub fn mount(set: &Object, ordinal: i64, pod: &mut Object) {
    let claims: Vec<(&str, String)> = names(set, ordinal).map(|(volume, claim, _)| (volume, claim)).collect();
    if claims.is_empty() {
        return;
    }
    let others = pod.array_at("/spec/volumes").iter();
    let others = others.filter(|volume| claims.iter().all(|(name, _)| volume["name"] != *name)).cloned();
    let mine = claims
        .iter()
        .map(|(name, claim)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
    let volumes: Vec<Value> = mine.chain(others).collect();
    pod.set("/spec/volumes", volumes);
}

/// Has a pod's claims belong to what they are to go with: to `condemned`, the pod when it is too much, or to the set.
pub fn keep(
    set: &Object,
    ordinal: i64,
    condemned: Option<&Object>,
    claims: &dyn Fn(&str) -> Option<Object>,
    plan: &mut Plan,
) {
    let pod = format!("{}-{ordinal}", set.name());
    let is_ours =
        |owner: &Value| owner["uid"] == set.uid() || owner["kind"] == "Pod" && owner["name"] == *pod;
    for mut claim in names(set, ordinal).filter_map(|(_, name, _)| claims(&name)) {
        if control::controller(&claim).is_some_and(|owner| !is_ours(owner)) {
            continue;
        }
        let before = claim.array_at("/metadata/ownerReferences");
        let mut owners: Vec<Value> = before.iter().filter(|owner| !is_ours(owner)).cloned().collect();
        owners.extend(owner(set, condemned));
        if owners != before {
            claim.set("/metadata/ownerReferences", owners);
            plan.actions.push(Action::Update(claim, Told::Nothing));
        }
    }
}

fn owner(set: &Object, condemned: Option<&Object>) -> Option<Value> {
    let goes =
        |when: &str| set.str_at(&format!("/spec/persistentVolumeClaimRetentionPolicy/{when}")) == "Delete";
    match condemned {
        Some(pod) if goes("whenScaled") => Some(control::owner_reference(pod)),
        _ => goes("whenDeleted").then(|| control::owner_reference(set)),
    }
}
