//! Templates of pods: held to a pod's rules, so that what is stored can be run.

use serde_json::Value;

use super::{defaults, has, metadata, rules, same};
use crate::api::kinds::POD;
use crate::api::{Cause, Object, schema};

/// Sets the defaults of the template at a pointer.
pub fn prepare(object: &mut Object, at: &str) {
    let mut pod = pod(object, at);
    schema::default(POD, &mut pod);
    defaults::of_template(&mut pod);
    if let Some(spec) = pod.remove("/spec") {
        object.set(&format!("{at}/spec"), spec);
    }
}

/// Checks the template at a pointer. `claims` are volumes that its pods get from elsewhere. What this
/// release can't run is refused where it is new: an object that was stored before can still be changed.
pub fn validate(new: &Object, old: Option<&Object>, at: &str, claims: &[&str], causes: &mut Vec<Cause>) {
    let field = at.trim_start_matches('/').replace('/', ".");
    let mut pod = pod(new, at);
    metadata::labels(&format!("{field}.labels"), pod.at("/metadata/labels"), causes);
    metadata::annotations(&format!("{field}.annotations"), pod.at("/metadata/annotations"), causes);
    let mut found = Vec::new();
    let nothing = &Value::Null;
    let before = old.and_then(|old| old.at(at));
    if before.is_none_or(|before| !same(before, new.at(at).unwrap_or(nothing))) {
        found.append(&mut schema::unsupported(POD, &pod));
    }
    if !pod.array_at("/spec/ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        found.push(Cause::forbidden("spec.ephemeralContainers", detail));
    }
    add(&mut pod, claims);
    rules(&pod, &mut found);
    for mut cause in found {
        cause.field = format!("{field}.{}", cause.field);
        // A field that is refused both as wrong and as unknown to midge is told of once.
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
}

/// The pod that a template describes.
fn pod(object: &Object, at: &str) -> Object {
    let mut pod = Object::new(POD, object.namespace(), "");
    for part in ["metadata/labels", "metadata/annotations", "spec"] {
        if let Some(value) = object.at(&format!("{at}/{part}")) {
            pod.set(&format!("/{part}"), value.clone());
        }
    }
    if !pod.at("/spec").is_some_and(Value::is_object) {
        pod.set("/spec", serde_json::json!({}));
    }
    pod
}

/// Adds volumes that take the place of the template's of the same name.
fn add(pod: &mut Object, claims: &[&str]) {
    for name in claims {
        if !pod.array_at("/spec/volumes").iter().any(|volume| volume.get("name") == Some(&(*name).into())) {
            if !has(pod.at("/spec").unwrap_or(&Value::Null), "volumes") {
                pod.set("/spec/volumes", Vec::<Value>::new());
            }
            let volume = serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
            pod.set("/spec/volumes/-", volume);
        }
    }
}
