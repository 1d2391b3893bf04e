//! What a new pod gets of its service account.

use serde_json::{Value, json};

use super::upkeep;
use crate::api::kinds::{POD, SERVICE_ACCOUNT};
use crate::api::status::Details;
use crate::api::{Object, Status};
use crate::server::registry::{Registry, identity};

/// Where programs look for the token.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the name of the volume begins with.
pub const VOLUME: &str = "kube-api-access-";
/// As upstream's: an hour, and a sign that nobody has asked for it.
const SECONDS: u64 = 3607;

impl Registry {
    /// Names the account that a pod runs as, and gives it the account's image credentials and token.
    ///
    /// # Errors
    /// 403 if there is no such account.
    pub(in crate::server) async fn give_account(&self, pod: &mut Object) -> Result<(), Status> {
        let name = ["/spec/serviceAccountName", "/spec/serviceAccount"].map(|at| pod.str_at(at));
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or("default").to_owned();
        let namespace = pod.namespace().to_owned();
        if !matches!(pod.at("/spec"), Some(Value::Object(_))) {
            return Ok(()); // refused for that soon
        }
        if name == "default" && self.item(SERVICE_ACCOUNT, &namespace, &name).is_err() {
            // A namespace that was made a moment ago.
            upkeep::ensure_account(self, &namespace).await?;
        }
        let account = self.get(SERVICE_ACCOUNT, &namespace, &name).map_err(|status| {
            let pod_name =
                if pod.name().is_empty() { pod.str_at("/metadata/generateName") } else { pod.name() };
            let mut refused = Status::forbidden(format!(
                "pods \"{pod_name}\" is forbidden: error looking up service account {namespace}/{name}: {}",
                status.message.replacen("serviceaccounts", "serviceaccount", 1)
            ));
            refused.details = Some(Box::new(Details {
                name: pod_name.to_owned(),
                kind: POD.plural.to_owned(),
                ..Details::default()
            }));
            refused
        })?;
        pod.set("/spec/serviceAccountName", name.as_str());
        pod.set("/spec/serviceAccount", name);
        if pod.array_at("/spec/imagePullSecrets").is_empty()
            && !account.array_at("/imagePullSecrets").is_empty()
        {
            pod.set("/spec/imagePullSecrets", account.array_at("/imagePullSecrets").to_vec());
        }
        if mounts(pod, &account) {
            mount(pod)?;
        }
        Ok(())
    }
}

fn mounts(pod: &Object, account: &Object) -> bool {
    let said = |value: Option<&Value>| value.and_then(Value::as_bool);
    let own = said(pod.at("/spec/automountServiceAccountToken"));
    own.or(said(account.at("/automountServiceAccountToken"))).unwrap_or(true)
}

/// Mounts the token into every container that has nothing at its place.
fn mount(pod: &mut Object) -> Result<(), Status> {
    let volumes = pod.array_at("/spec/volumes").iter().filter_map(|volume| volume.get("name")?.as_str());
    let known = volumes.into_iter().find(|name| name.starts_with(VOLUME)).map(str::to_owned);
    let name = match &known {
        Some(name) => name.clone(),
        None => identity::name(VOLUME)?,
    };
    let mut is_used = false;
    for containers in ["/spec/initContainers", "/spec/containers"] {
        let Some(Value::Array(containers)) = pod.at_mut(containers) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert(Value::Null);
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Value::Array(mounts) = mounts else { continue };
            if !mounts.iter().any(|mount| mount.get("mountPath").is_some_and(|path| path == MOUNT)) {
                mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT }));
                is_used = true;
            }
        }
    }
    if is_used && known.is_none() {
        let mut volumes = pod.array_at("/spec/volumes").to_vec();
        volumes.push(json!({ "name": name, "projected": { "defaultMode": 0o644, "sources": [
            { "serviceAccountToken": { "expirationSeconds": SECONDS, "path": "token" } },
            { "configMap": { "name": upkeep::ROOT_CA, "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [
                { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }
            ] } },
        ] } }));
        pod.set("/spec/volumes", volumes);
    }
    Ok(())
}

/// Takes the volume off that [`mount`] has added, for a node whose agent knows no tokens. The object as JSON.
pub fn without_token(pod: &[u8]) -> Option<Vec<u8>> {
    let mut pod = Object::from_slice(pod).ok()?;
    let is_own = |entry: &Value| {
        entry.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(VOLUME))
    };
    if let Some(Value::Array(volumes)) = pod.at_mut("/spec/volumes") {
        volumes.retain(|volume| !is_own(volume));
    }
    for containers in ["/spec/initContainers", "/spec/containers"] {
        let Some(Value::Array(containers)) = pod.at_mut(containers) else { continue };
        for container in containers {
            if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
                mounts.retain(|mount| !is_own(mount));
            }
        }
    }
    Some(pod.to_vec())
}
