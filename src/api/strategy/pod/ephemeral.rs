//! Containers that are added to a running pod (`kubectl debug`), and never changed or taken away.

use serde_json::Value;

use super::{container, has, list, text};
use crate::api::{Cause, Object};

/// What only a pod's own containers have.
const NOT_ALLOWED: [&str; 9] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
];

/// The rules for a new list; the rest of the pod is as it was.
pub fn validate(new: &Object, old: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = new.at("/spec").unwrap_or(&Value::Null);
    let lists = ["containers", "initContainers"];
    let own: Vec<&str> =
        lists.iter().flat_map(|name| list(spec, name)).map(|container| text(container, "name")).collect();
    let mut seen = own.clone();
    let volumes: Vec<&str> = list(spec, "volumes").iter().map(|volume| text(volume, "name")).collect();
    for (index, added) in list(spec, "ephemeralContainers").iter().enumerate() {
        let field = format!("spec.ephemeralContainers[{index}]");
        container::basics(&field, added, &volumes, &mut seen, &mut causes);
        let target = text(added, "targetContainerName");
        if !target.is_empty() && !own.contains(&target) {
            causes.push(Cause::not_found(format!("{field}.targetContainerName"), target));
        }
        let says = |key: &&&str| match added.get(**key) {
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            _ => false,
        };
        for key in NOT_ALLOWED.iter().filter(says) {
            let detail = "cannot be set for an Ephemeral Container";
            causes.push(Cause::forbidden(format!("{field}.{key}"), detail));
        }
        for (index, mount) in list(added, "volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"].iter().filter(|key| has(mount, key)) {
                let detail = "cannot be set for an Ephemeral Container";
                causes.push(Cause::forbidden(format!("{field}.volumeMounts[{index}].{key}"), detail));
            }
        }
    }
    for was in old.array_at("/spec/ephemeralContainers") {
        let name = text(was, "name");
        let now = list(spec, "ephemeralContainers").iter().find(|now| text(now, "name") == name);
        let what = match now {
            None => "removed",
            Some(now) if now != was => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers \"{name}\" may not be {what}");
        causes.push(Cause::forbidden("spec.ephemeralContainers", &detail));
    }
    super::security::validate(new, &mut causes);
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ephemeral: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "web"}, "spec": {
            "containers": [{"name": "a", "image": "x"}], "initContainers": [{"name": "i", "image": "x"}],
            "ephemeralContainers": ephemeral}}))
        .unwrap()
    }

    #[test]
    fn rules() {
        let old = pod(json!([{"name": "d", "image": "x"}]));
        let refused = |list: Value| -> Vec<String> {
            validate(&pod(list), &old).iter().map(Cause::to_string).collect()
        };
        let kept = json!({"name": "d", "image": "x"});
        let with = |other: Value| refused(json!([kept, other]));
        assert!(with(json!({"name": "e", "image": "x", "targetContainerName": "a"})).is_empty());
        for (other, words) in [
            (json!({"name": "a", "image": "x"}), "Duplicate value"),
            (json!({"name": "d", "image": "x"}), "Duplicate value"),
            (json!({"name": "e"}), "[1].image: Required"),
            (
                json!({"name": "e", "image": "x", "targetContainerName": "z"}),
                "targetContainerName: Not found",
            ),
            (json!({"name": "e", "image": "x", "ports": [{"containerPort": 1}]}), "[1].ports: Forbidden"),
            (json!({"name": "e", "image": "x", "resources": {"limits": {"cpu": 1}}}), "cannot be set for an"),
        ] {
            let causes = with(other);
            assert!(causes.len() == 1 && causes[0].contains(words), "{words}: {causes:?}");
        }
        assert!(refused(json!([]))[0].contains("may not be removed"));
        assert!(refused(json!([{"name": "d", "image": "y"}]))[0].contains("may not be changed"));
    }
}
