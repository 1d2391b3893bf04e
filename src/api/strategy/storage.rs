//! PersistentVolumes, PersistentVolumeClaims and StorageClasses.

use serde_json::{Value, json};

use super::{Strategy, restore};
use crate::api::quantity::Quantity;
use crate::api::{Cause, Object, names};

/// Holds a claim while a pod uses it; the claims loop takes it away.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Holds a volume while a claim is bound to it.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// A claim is Pending until it is bound, and its specification stays as it is.
pub struct ClaimStrategy;

impl Strategy for ClaimStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/status", json!({"phase": "Pending"}));
        protect(new, CLAIM_PROTECTION);
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        modes(new, &mut causes);
        let field = "spec.resources[storage]";
        match new.at("/spec/resources/requests/storage") {
            None => causes.push(Cause::required(field, "")),
            Some(size) => positive(size, field, &mut causes),
        }
        for field in ["selector", "dataSource", "dataSourceRef"] {
            refuse(new, &format!("/spec/{field}"), &mut causes);
        }
        block(new, &mut causes);
        let class = new.str_at("/spec/storageClassName");
        if let (false, Err(message)) = (class.is_empty(), names::is_dns_subdomain(class)) {
            causes.push(Cause::invalid("spec.storageClassName", class, &message));
        }
        if let Some(old) = old {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName \
                          for bound claims";
            let mut before = old.clone();
            // The claims loop gives a claim its class and volume, once.
            for field in ["/spec/storageClassName", "/spec/volumeName"] {
                if old.str_at(field).is_empty() {
                    restore(&mut before, new, field);
                }
            }
            if new.at("/spec") != before.at("/spec") {
                causes.push(Cause::forbidden("spec", detail));
            }
        }
        causes
    }
}

/// A volume is Pending until the claims loop has seen it.
pub struct VolumeStrategy;

impl Strategy for VolumeStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/status", json!({"phase": "Pending"}));
        protect(new, VOLUME_PROTECTION);
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        modes(new, &mut causes);
        match new.at("/spec/capacity/storage") {
            None => causes.push(Cause::required("spec.capacity", "")),
            Some(size) => positive(size, "spec.capacity[storage]", &mut causes),
        }
        if new.str_at("/spec/persistentVolumeReclaimPolicy") == "Recycle" {
            let detail = "midge does not recycle volumes: use Retain or Delete";
            causes.push(Cause::forbidden("spec.persistentVolumeReclaimPolicy", detail));
        }
        block(new, &mut causes);
        let sources = ["hostPath", "local"].map(|source| new.at(&format!("/spec/{source}/path")));
        match sources.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().as_slice() {
            [path] if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {}
            [path] => {
                let detail = "must be an absolute path without `..`";
                causes.push(Cause::invalid("spec", *path, detail));
            }
            [] => causes.push(Cause::required(
                "spec",
                "must specify a volume type: midge has `local` and `hostPath`",
            )),
            _ => causes.push(Cause::forbidden("spec", "may not specify more than 1 volume type")),
        }
        if new.at("/spec/local").is_some() && new.at("/spec/nodeAffinity/required").is_none() {
            let detail = "Local volume requires node affinity";
            causes.push(Cause::required("spec.nodeAffinity", detail));
        }
        if let Some(old) = old {
            for field in ["hostPath", "local", "nodeAffinity"] {
                let pointer = format!("/spec/{field}");
                if old.at(&pointer).is_some() && new.at(&pointer) != old.at(&pointer) {
                    causes.push(Cause::forbidden(format!("spec.{field}"), "is immutable after creation"));
                }
            }
        }
        causes
    }
}

/// What a class says of its volumes does not change under them.
pub struct StorageClassStrategy;

impl Strategy for StorageClassStrategy {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        if new.str_at("/provisioner").is_empty() {
            causes.push(Cause::required("provisioner", ""));
        }
        for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
            let pointer = format!("/{field}");
            if old.is_some_and(|old| old.at(&pointer) != new.at(&pointer)) {
                causes.push(Cause::forbidden(field, "updates to this field are forbidden."));
            }
        }
        causes
    }
}

fn protect(object: &mut Object, finalizer: &str) {
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(finalizer.to_owned());
        object.set("/metadata/finalizers", finalizers);
    }
}

fn modes(object: &Object, causes: &mut Vec<Cause>) {
    let modes = object.array_at("/spec/accessModes");
    if modes.is_empty() {
        causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        causes.push(Cause::forbidden("spec.accessModes", detail));
    }
}

fn positive(size: &Value, field: &str, causes: &mut Vec<Cause>) {
    if Quantity::from_json(size).is_ok_and(|size| size.nanos() <= 0) {
        causes.push(Cause::invalid(field, size.clone(), "must be greater than zero"));
    }
}

fn refuse(object: &Object, pointer: &str, causes: &mut Vec<Cause>) {
    if object.at(pointer).is_some_and(|value| !value.is_null()) {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        causes.push(Cause::forbidden(field, "midge has no volumes that could answer it"));
    }
}

fn block(object: &Object, causes: &mut Vec<Cause>) {
    if object.str_at("/spec/volumeMode") == "Block" {
        causes.push(Cause::forbidden("spec.volumeMode", "midge has no block volumes: use Filesystem"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(strategy: &dyn Strategy, spec: Value, old: Option<Value>) -> Vec<String> {
        let object = |spec| Object::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        let causes = strategy.validate(&object(spec), old.map(object).as_ref());
        causes.into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn claims() {
        let fine = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let with = |field: &str, value: Value| {
            let mut spec = fine.clone();
            spec[field] = value;
            spec
        };
        for (spec, old, expected) in [
            (fine.clone(), None, &[][..]),
            (json!({}), None, &["spec.accessModes", "spec.resources[storage]"][..]),
            (
                with("resources", json!({"requests": {"storage": "0"}})),
                None,
                &["spec.resources[storage]"][..],
            ),
            (with("volumeMode", "Block".into()), None, &["spec.volumeMode"][..]),
            (with("dataSource", json!({"kind": "x"})), None, &["spec.dataSource"][..]),
            (with("storageClassName", "Not a name".into()), None, &["spec.storageClassName"][..]),
            (with("storageClassName", "x".into()), Some(fine.clone()), &[][..]),
            (with("storageClassName", "x".into()), Some(with("storageClassName", "y".into())), &["spec"][..]),
        ] {
            assert_eq!(causes(&ClaimStrategy, spec.clone(), old), expected, "{spec}");
        }
    }

    #[test]
    fn volumes() {
        let spec = |source: Value| {
            let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
            spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            spec
        };
        for (source, expected) in [
            (json!({"hostPath": {"path": "/srv"}}), &[][..]),
            (json!({"hostPath": {"path": "/srv/../etc"}}), &["spec"][..]),
            (json!({"nfs": {"path": "/srv"}}), &["spec"][..]),
            (json!({"local": {"path": "/srv"}}), &["spec.nodeAffinity"][..]),
            (
                json!({"hostPath": {"path": "/a"}, "local": {"path": "/b"}, "nodeAffinity": {"required": {}}}),
                &["spec"][..],
            ),
            (json!({"hostPath": {"path": "/a"}, "volumeMode": "Block"}), &["spec.volumeMode"][..]),
        ] {
            assert_eq!(causes(&VolumeStrategy, spec(source.clone()), None), expected, "{source}");
        }
    }
}
