//! A container's environment. Pure.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use super::configs::Configs;
use crate::api::Object;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `fieldRef` may name beside the pod itself.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub hostname: &'a str,
    pub pod_ips: &'a [IpAddr],
    pub host_ips: &'a [IpAddr],
    pub configs: &'a Configs,
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
}

/// The image's variables, HOSTNAME, then the container's, each of which may use those before it as
/// `$(NAME)`. A later value of a name takes the place of an earlier one.
pub fn env(
    pod: &Object,
    container: &Value,
    image: &[String],
    facts: &Facts<'_>,
) -> Result<Vec<(String, String)>, Error> {
    let mut env: Vec<(String, String)> = Vec::new();
    for variable in image {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(&mut env, name, value.to_owned());
    }
    if !env.iter().any(|(name, _)| name == "PATH") {
        set(&mut env, "PATH", DEFAULT_PATH.to_owned());
    }
    set(&mut env, "HOSTNAME", facts.hostname.to_owned());
    // `$(NAME)` sees the container's own variables only, as the API documents.
    let mut own: Vec<(String, String)> = Vec::new();
    for variable in container.pointer("/env").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = variable.get("name").and_then(Value::as_str) else { continue };
        let value = match variable.get("valueFrom").filter(|from| !from.is_null()) {
            Some(from) => field(pod, facts, name, from)?,
            None => expand(variable.get("value").and_then(Value::as_str).unwrap_or(""), &own),
        };
        set(&mut own, name, value);
    }
    for (name, value) in own {
        set(&mut env, &name, value);
    }
    Ok(env)
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

fn field(pod: &Object, facts: &Facts<'_>, variable: &str, from: &Value) -> Result<String, Error> {
    let Some(path) = from.pointer("/fieldRef/fieldPath").and_then(Value::as_str) else {
        let source = from.as_object().and_then(|map| map.keys().next().cloned()).unwrap_or_default();
        return Err(Error::Source { variable: variable.to_owned(), source });
    };
    let join = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "spec.nodeName" => pod.str_at("/spec/nodeName").to_owned(),
        "spec.serviceAccountName" => pod.str_at("/spec/serviceAccountName").to_owned(),
        "status.podIP" => first(facts.pod_ips),
        "status.podIPs" => join(facts.pod_ips),
        "status.hostIP" => first(facts.host_ips),
        "status.hostIPs" => join(facts.host_ips),
        _ => match (key("metadata.labels"), key("metadata.annotations")) {
            (Some(key), _) => pod.label(key).unwrap_or("").to_owned(),
            (_, Some(key)) => pod.annotation(key).unwrap_or("").to_owned(),
            _ => return Err(Error::Field { variable: variable.to_owned(), path: path.to_owned() }),
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
        match name.and_then(|(name, rest)| Some((env.iter().find(|(known, _)| known == name)?, rest))) {
            Some(((_, value), after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
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
        }
    }
}

impl std::error::Error for Error {}
