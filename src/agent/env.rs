//! A container's environment, from its pod and what that names.

mod resource;

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

pub use self::resource::resource;
use super::configs::{Configs, Kind};
use super::node::Resources;
use crate::api::Object;
use crate::http::Url;

/// What sources may name beside the pod itself.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub pod_ips: &'a [IpAddr],
    pub host_ips: &'a [IpAddr],
    /// Where the API is: `https://…`, or "".
    pub server: &'a str,
    pub configs: &'a Configs,
    /// Of the node: what a container without a limit is told for one.
    pub allocatable: Resources,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// A source that midge does not have yet.
    Source {
        variable: String,
        source: String,
    },
    Field {
        variable: String,
        path: String,
    },
    Resource {
        variable: String,
        error: resource::Error,
    },
    NoConfig {
        kind: Kind,
        name: String,
    },
    NoKey {
        kind: Kind,
        namespace: String,
        name: String,
        key: String,
    },
    /// A Secret may hold any bytes; a variable, text without NUL.
    NotText {
        variable: String,
        kind: Kind,
        name: String,
    },
}

/// The container's own variables: those of `envFrom`, then those of `env`, each of which may use the ones
/// before it as `$(NAME)`. A later value of a name takes the place of an earlier one. The image's variables
/// are not among them: nothing expands to those.
pub fn env(pod: &Object, container: &Value, facts: &Facts<'_>) -> Result<Vec<(String, String)>, Error> {
    let mut env: Vec<(String, String)> = api(facts);
    for source in list(container, "/envFrom") {
        let prefix = source.get("prefix").and_then(Value::as_str).unwrap_or("");
        for (kind, reference) in [(Kind::ConfigMap, "configMapRef"), (Kind::Secret, "secretRef")] {
            let Some(reference) = source.get(reference).filter(|reference| !reference.is_null()) else {
                continue;
            };
            let Some(object) = config(pod, facts, kind, reference)? else { continue };
            for (key, value) in object.map_at("/data").into_iter().flatten() {
                let variable = format!("{prefix}{key}");
                let value = text(kind, value).ok_or_else(|| not_text(&variable, kind, reference))?;
                set(&mut env, &variable, value);
            }
        }
    }
    for variable in list(container, "/env") {
        let Some(name) = variable.get("name").and_then(Value::as_str) else { continue };
        let value = match variable.get("valueFrom").and_then(Value::as_object) {
            Some(from) => match value_from(pod, container, facts, name, from)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.get("value").and_then(Value::as_str).unwrap_or(""), &env),
        };
        set(&mut env, name, value);
    }
    Ok(env)
}

/// Where a client in the container finds the API: as this node does. Loopback is another machine to a pod.
fn api(facts: &Facts<'_>) -> Vec<(String, String)> {
    let Ok(server) = facts.server.parse::<Url>() else { return Vec::new() };
    let (host, port) = (server.host.trim_matches(['[', ']']).to_owned(), server.port.to_string());
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
    let host = match facts.host_ips.first() {
        Some(own) if is_loopback => own.to_string(),
        _ => host,
    };
    [("HOST", &host), ("PORT", &port), ("PORT_HTTPS", &port)]
        .map(|(name, value)| (format!("KUBERNETES_SERVICE_{name}"), value.clone()))
        .into()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether the environment of `container` has the pod's addresses in it.
pub fn asks_for_addresses(container: &Value) -> bool {
    let variables = container.pointer("/env").and_then(Value::as_array).into_iter().flatten();
    let mut fields =
        variables.filter_map(|variable| variable.pointer("/valueFrom/fieldRef/fieldPath")?.as_str());
    fields.any(|path| path.starts_with("status.podIP"))
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => env.push((name.to_owned(), value)),
    }
}

/// None: an optional key that is not there.
fn value_from(
    pod: &Object,
    container: &Value,
    facts: &Facts<'_>,
    variable: &str,
    from: &Map<String, Value>,
) -> Result<Option<String>, Error> {
    let source = from.iter().find(|(_, source)| !source.is_null());
    match source.map(|(kind, source)| (kind.as_str(), source)) {
        Some(("fieldRef", source)) => field(pod, facts, variable, source).map(Some),
        Some(("resourceFieldRef", source)) => resource(pod, container, source, &facts.allocatable)
            .map(Some)
            .map_err(|error| Error::Resource { variable: variable.to_owned(), error }),
        Some(("configMapKeyRef", source)) => key(pod, facts, variable, Kind::ConfigMap, source),
        Some(("secretKeyRef", source)) => key(pod, facts, variable, Kind::Secret, source),
        other => {
            let source = other.map_or("", |(kind, _)| kind).to_owned();
            Err(Error::Source { variable: variable.to_owned(), source })
        }
    }
}

/// The ConfigMap or Secret that `reference` names; None: an optional one that is not there.
fn config(pod: &Object, facts: &Facts<'_>, kind: Kind, reference: &Value) -> Result<Option<Object>, Error> {
    let name = name_of(reference);
    match facts.configs.get(kind, pod.namespace(), name) {
        Some(object) => Ok(Some(object)),
        None if is_optional(reference) => Ok(None),
        None => Err(Error::NoConfig { kind, name: name.to_owned() }),
    }
}

fn key(
    pod: &Object,
    facts: &Facts<'_>,
    variable: &str,
    kind: Kind,
    reference: &Value,
) -> Result<Option<String>, Error> {
    let Some(object) = config(pod, facts, kind, reference)? else { return Ok(None) };
    let key = reference.get("key").and_then(Value::as_str).unwrap_or("");
    match object.map_at("/data").and_then(|data| data.get(key)) {
        Some(value) => text(kind, value).ok_or_else(|| not_text(variable, kind, reference)).map(Some),
        None if is_optional(reference) => Ok(None),
        None => Err(Error::NoKey {
            kind,
            namespace: pod.namespace().to_owned(),
            name: name_of(reference).to_owned(),
            key: key.to_owned(),
        }),
    }
}

fn name_of(reference: &Value) -> &str {
    reference.get("name").and_then(Value::as_str).unwrap_or("")
}

fn is_optional(reference: &Value) -> bool {
    reference.get("optional") == Some(&Value::Bool(true))
}

/// A value of a ConfigMap's or Secret's `data` as a variable can have it.
fn text(kind: Kind, value: &Value) -> Option<String> {
    let value = value.as_str()?;
    let text = match kind {
        Kind::ConfigMap | Kind::PersistentVolumeClaim => value.to_owned(),
        Kind::Secret => String::from_utf8(data_encoding::BASE64.decode(value.as_bytes()).ok()?).ok()?,
    };
    (!text.contains('\0')).then_some(text)
}

fn not_text(variable: &str, kind: Kind, reference: &Value) -> Error {
    Error::NotText { variable: variable.to_owned(), kind, name: name_of(reference).to_owned() }
}

fn field(pod: &Object, facts: &Facts<'_>, variable: &str, from: &Value) -> Result<String, Error> {
    let path = from.get("fieldPath").and_then(Value::as_str).unwrap_or("");
    let join = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => pod.str_at("/spec/nodeName").to_owned(),
        "spec.serviceAccountName" => pod.str_at("/spec/serviceAccountName").to_owned(),
        "status.podIP" => first(facts.pod_ips),
        "status.podIPs" => join(facts.pod_ips),
        "status.hostIP" => first(facts.host_ips),
        "status.hostIPs" => join(facts.host_ips),
        _ => {
            let unknown = || Error::Field { variable: variable.to_owned(), path: path.to_owned() };
            return metadata_field(pod, path).ok_or_else(unknown);
        }
    })
}

/// `metadata.name`, `metadata.labels['key']` and the like, as a `fieldRef` names them.
pub fn metadata_field(pod: &Object, path: &str) -> Option<String> {
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    Some(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        _ => match (key("metadata.labels"), key("metadata.annotations")) {
            (Some(key), _) => pod.label(key).unwrap_or("").to_owned(),
            (None, key) => pod.annotation(key?).unwrap_or("").to_owned(),
        },
    })
}

/// Replaces `$(NAME)` by its value if `env` has it and leaves it otherwise; `$$` is a plain `$`.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match name {
            Some((name, after)) => {
                match env.iter().find(|(known, _)| known == name) {
                    Some((_, value)) => expanded.push_str(value),
                    // As a whole: nothing in it is replaced.
                    None => expanded.extend(["$(", name, ")"]),
                }
                after
            }
            None => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Source { variable, source } => {
                write!(f, "variable {variable} comes from `{source}`, which midge does not support yet")
            }
            Error::Field { variable, path } => {
                write!(f, "variable {variable} comes from the field `{path}`, which is not supported")
            }
            Error::Resource { variable, error } => write!(f, "variable {variable}: {error}"),
            // As the API server words it, which the kubelet passes on.
            Error::NoConfig { kind, name } => {
                write!(f, "{} \"{name}\" not found", kind.resource())
            }
            Error::NoKey { kind, namespace, name, key } => {
                write!(f, "couldn't find key {key} in {kind:?} {namespace}/{name}")
            }
            Error::NotText { variable, kind, name } => write!(
                f,
                "the value of variable {variable} in {kind:?} {name} is no text: mount it as a volume instead"
            ),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
