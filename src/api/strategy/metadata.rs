//! Rules of `metadata`, the same for every kind (apimachinery `api/validation/objectmeta.go`).

use serde_json::{Value, json};

use crate::api::{Cause, Kind, Object, names};

/// Keys and values of all annotations together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What no update may change, once the object is there.
const IMMUTABLE: &[&str] =
    &["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

pub fn validate(kind: &Kind, new: &Object, old: Option<&Object>) -> Vec<Cause> {
    let mut causes = Vec::new();
    name_and_namespace(kind, new, &mut causes);
    values(new, &mut causes);
    if let Some(old) = old {
        for field in IMMUTABLE {
            let pointer = format!("/metadata/{field}");
            if new.at(&pointer) != old.at(&pointer) {
                let value = new.at(&pointer).cloned().unwrap_or_default();
                causes.push(Cause::invalid(format!("metadata.{field}"), value, "field is immutable"));
            }
        }
        late_finalizers(new, old, &mut causes);
    }
    causes
}

/// Before an update: what a client may leave out of metadata and can't change comes from the old object.
pub fn carry(new: &mut Object, old: &Object) {
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionGracePeriodSeconds"] {
        let pointer = format!("/metadata/{field}");
        if let (None | Some(Value::String(_)), Some(value)) = (new.at(&pointer), old.at(&pointer)) {
            if new.str_at(&pointer).is_empty() {
                new.set(&pointer, value.clone());
            }
        }
    }
    // A deletion that has begun can't be taken back.
    if let Some(value) = old.at("/metadata/deletionTimestamp") {
        new.set("/metadata/deletionTimestamp", value.clone());
    }
}

fn name_and_namespace(kind: &Kind, new: &Object, causes: &mut Vec<Cause>) {
    let is_name = match kind.group {
        "rbac.authorization.k8s.io" => names::is_path_segment,
        _ if kind.label_names => names::is_dns_label,
        _ => names::is_dns_subdomain,
    };
    match new.name() {
        "" => causes.push(Cause::required("metadata.name", "name or generateName is required")),
        name => {
            if let Err(message) = is_name(name) {
                causes.push(Cause::invalid("metadata.name", name, &message));
            }
        }
    }
    match (kind.namespaced, new.namespace()) {
        (true, "") => causes.push(Cause::required("metadata.namespace", "")),
        (true, namespace) => {
            if let Err(message) = names::is_dns_label(namespace) {
                causes.push(Cause::invalid("metadata.namespace", namespace, &message));
            }
        }
        (false, "") => {}
        (false, _) => causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type")),
    }
}

/// What is wrong with an object inside another that says what it is (apiextensions `schema/objectmeta`).
pub fn embedded(resource: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["apiVersion", "kind"] {
        match resource.get(field) {
            None => causes.push(Cause::required(field, "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                causes.push(Cause::invalid(field, "", "must not be empty"));
            }
            Some(Value::String(text)) if field == "kind" => {
                if let Err(message) = names::is_dns_1035_label(&text.to_lowercase()) {
                    let detail = format!("may have mixed case, but should otherwise match: {message}");
                    causes.push(Cause::invalid(field, text.as_str(), &detail));
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                let detail = format!("unexpected GroupVersion string: {text}");
                causes.push(Cause::invalid(field, text.as_str(), &detail));
            }
            Some(Value::String(_)) => {}
            Some(other) => causes.push(Cause::invalid(field, other.clone(), "must be a string")),
        }
    }
    let Some(metadata) = resource.get("metadata") else { return causes };
    match Object::from_value(json!({ "metadata": metadata })) {
        Ok(object) => {
            if let Err(message) = names::is_dns_subdomain(object.name())
                && !object.name().is_empty()
            {
                causes.push(Cause::invalid("metadata.name", object.name(), &message));
            }
            values(&object, &mut causes);
        }
        Err(error) => causes.push(Cause::invalid("metadata", metadata.clone(), &error.to_string())),
    }
    causes
}

fn values(new: &Object, causes: &mut Vec<Cause>) {
    labels("metadata.labels", new.at("/metadata/labels"), causes);
    annotations("metadata.annotations", new.at("/metadata/annotations"), causes);
    owners(new, causes);
    finalizers(new, causes);
}

/// A map of labels anywhere: keys and values.
pub fn labels(field: &str, labels: Option<&Value>, causes: &mut Vec<Cause>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if let Err(message) = names::is_label_key(key) {
            causes.push(Cause::invalid(field, key.as_str(), &message));
        }
        let value = value.as_str().unwrap_or("");
        if let Err(message) = names::is_label_value(value) {
            causes.push(Cause::invalid(field, value, &message));
        }
    }
}

/// A map of annotations anywhere: keys, and the size of it all.
pub fn annotations(field: &str, annotations: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Err(message) = names::is_label_key(&key.to_lowercase()) {
            causes.push(Cause::invalid(field, key.as_str(), &message));
        }
    }
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long(field, ANNOTATIONS_LIMIT));
    }
}

fn owners(new: &Object, causes: &mut Vec<Cause>) {
    let mut controllers = 0;
    for (index, owner) in new.array_at("/metadata/ownerReferences").iter().enumerate() {
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner.get(key).and_then(Value::as_str).unwrap_or("").is_empty() {
                causes.push(Cause::invalid(format!("metadata.ownerReferences[{index}].{key}"), "", detail));
            }
        }
        controllers += usize::from(owner.get("controller").and_then(Value::as_bool).unwrap_or(false));
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            new.at("/metadata/ownerReferences").cloned().unwrap_or_default(),
            detail,
        ));
    }
}

fn finalizers(new: &Object, causes: &mut Vec<Cause>) {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    for (index, finalizer) in new.finalizers().enumerate() {
        let field = format!("metadata.finalizers[{index}]");
        if let Err(message) = names::is_label_key(finalizer) {
            causes.push(Cause::invalid(field, finalizer, &message));
        } else if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(field, finalizer, detail));
        }
    }
    let has = |name: &str| new.finalizers().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let value = new.at("/metadata/finalizers").cloned().unwrap_or_default();
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", value, detail));
    }
}

/// An object that is being deleted is held by no more than at first.
fn late_finalizers(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let known = |name: &str| old.finalizers().any(|finalizer| finalizer == name);
    let late: Vec<String> =
        new.finalizers().filter(|name| !known(name)).map(|name| format!("{name:?}")).collect();
    if old.deletion_timestamp().is_some() && !late.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            late.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
}
