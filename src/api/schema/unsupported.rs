//! What this release of midge does not act on.
//!
//! Every field of the structs below has a row, and a test holds the rows against the schema table: a
//! field that a newer Kubernetes adds can't slip through unread. Whoever makes midge act on a field
//! changes its row here.

pub(super) mod security;
pub(super) mod volume;

use serde_json::{Map, Value};

use super::MAX_PROBLEMS;
use crate::api::{Cause, Object};

const NOT_YET: &str = concat!(
    "not supported by midge ",
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR"),
    " yet"
);

pub(super) type Row = (&'static str, Rule);

/// What becomes of one field.
pub(super) enum Rule {
    /// midge acts on it, whatever its value.
    Acts,
    /// Refused, unless it says nothing: absent, false, 0 or empty.
    Refused,
    /// Refused, unless it is one of these JSON texts (or says nothing).
    Only(&'static [&'static str]),
    /// A struct, or a list of structs, with rows of its own.
    In(&'static [Row]),
    /// A map of which midge acts on these keys.
    Keys(&'static [&'static str]),
    /// Refused, unless this holds for its value, the struct it is in, and the pod.
    Unless(fn(&Value, &Map<String, Value>, &Object) -> bool),
}

use Rule::{Acts, In, Keys, Only, Refused, Unless};

#[rustfmt::skip]
pub(super) const POD_SPEC: &[Row] = &[
    ("volumes",                       In(volume::VOLUME)),
    ("initContainers",                In(CONTAINER)),
    ("containers",                    In(CONTAINER)),
    ("ephemeralContainers",           Acts),
    ("restartPolicy",                 Acts),
    ("terminationGracePeriodSeconds", Acts),
    ("activeDeadlineSeconds",         Acts),
    ("dnsPolicy",                     Acts),
    ("nodeSelector",                  Acts),
    ("serviceAccountName",            Acts),
    ("serviceAccount",                Acts),
    ("automountServiceAccountToken",  Acts),
    ("nodeName",                      Acts),
    ("hostNetwork",                   Acts),
    ("hostPID",                       Acts),
    ("hostIPC",                       Acts),
    ("shareProcessNamespace",         Acts),
    ("securityContext",               In(security::POD_SECURITY)),
    ("imagePullSecrets",              Acts),
    ("hostname",                      Acts),
    ("subdomain",                     Acts),
    ("affinity",                      Acts),
    ("schedulerName",                 Only(&[r#""default-scheduler""#])),
    ("tolerations",                   Acts),
    ("hostAliases",                   Acts),
    ("priorityClassName",             Acts),
    ("priority",                      Acts),
    ("dnsConfig",                     Acts),
    ("readinessGates",                Acts),
    ("runtimeClassName",              Refused),
    ("enableServiceLinks",            Acts), // there are no services to link to
    ("preemptionPolicy",              Acts),
    ("overhead",                      Refused),
    ("topologySpreadConstraints",     Acts),
    ("setHostnameAsFQDN",             Acts),
    ("os",                            Only(&[r#"{"name":"linux"}"#])),
    ("hostUsers",                     Only(&["true"])),
    ("schedulingGates",               Acts),
    ("resourceClaims",                Refused),
    ("resources",                     Refused),
    ("hostnameOverride",              Refused),
    ("evictionResponders",            Refused),
    ("schedulingGroup",               Refused),
];

#[rustfmt::skip]
pub(super) const CONTAINER: &[Row] = &[
    ("name",                     Acts),
    ("image",                    Acts),
    ("command",                  Acts),
    ("args",                     Acts),
    ("workingDir",               Acts),
    ("ports",                    In(CONTAINER_PORT)),
    ("envFrom",                  Acts),
    ("env",                      In(ENV_VAR)),
    ("resources",                In(RESOURCES)),
    ("resizePolicy",             Refused),
    ("restartPolicy",            Acts),
    ("restartPolicyRules",       In(RESTART_RULE)),
    ("volumeMounts",             In(volume::VOLUME_MOUNT)),
    ("volumeDevices",            Refused),
    ("livenessProbe",            In(PROBE)),
    ("readinessProbe",           In(PROBE)),
    ("startupProbe",             In(PROBE)),
    ("lifecycle",                In(LIFECYCLE)),
    ("terminationMessagePath",   Acts),
    ("terminationMessagePolicy", Acts),
    ("imagePullPolicy",          Acts),
    ("securityContext",          In(security::SECURITY_CONTEXT)),
    ("stdin",                    Acts),
    ("stdinOnce",                Acts),
    ("tty",                      Acts),
];

#[rustfmt::skip]
pub(super) const RESTART_RULE: &[Row] = &[
    ("action",    Unless(|action, _, _| action != "RestartAllContainers")),
    ("exitCodes", Acts),
];

#[rustfmt::skip]
pub(super) const CONTAINER_PORT: &[Row] = &[
    ("name",          Acts),
    ("hostPort",      Acts),
    ("containerPort", Acts), // informational
    ("protocol",      Acts),
    ("hostIP",        Acts),
];

#[rustfmt::skip]
pub(super) const PROBE: &[Row] = &[
    ("exec",                          Acts),
    ("httpGet",                       In(HTTP_GET)),
    ("tcpSocket",                     Acts),
    ("grpc",                          In(GRPC)),
    ("initialDelaySeconds",           Acts),
    ("timeoutSeconds",                Acts),
    ("periodSeconds",                 Acts),
    ("successThreshold",              Acts),
    ("failureThreshold",              Acts),
    ("terminationGracePeriodSeconds", Acts),
];

#[rustfmt::skip]
pub(super) const HTTP_GET: &[Row] = &[
    ("path",        Acts),
    ("port",        Acts),
    ("host",        Acts),
    ("scheme",      Acts),
    ("httpHeaders", Acts),
    ("protocol",    Refused),
];

#[rustfmt::skip]
pub(super) const GRPC: &[Row] = &[
    ("port",    Acts),
    ("service", Acts),
    ("mode",    Refused),
];

#[rustfmt::skip]
pub(super) const LIFECYCLE: &[Row] = &[
    ("postStart",  In(HOOK)),
    ("preStop",    In(HOOK)),
    ("stopSignal", Acts),
];

#[rustfmt::skip]
pub(super) const HOOK: &[Row] = &[
    ("exec",      Acts),
    ("httpGet",   In(HTTP_GET)),
    ("tcpSocket", Acts),
    ("sleep",     Acts),
];

#[rustfmt::skip]
pub(super) const ENV_VAR: &[Row] = &[
    ("name",      Acts),
    ("value",     Acts),
    ("valueFrom", In(security::ENV_VAR_SOURCE)),
];

/// Huge pages of the sizes that the architectures' kernels have.
const AMOUNTS: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "hugepages-64Ki",
    "hugepages-2Mi",
    "hugepages-32Mi",
    "hugepages-1Gi",
];

#[rustfmt::skip]
pub(super) const RESOURCES: &[Row] = &[
    ("limits",   Keys(AMOUNTS)),
    ("requests", Keys(AMOUNTS)),
    ("claims",   Refused),
];

/// What the specification of a pod says that midge does not act on.
pub fn pod(pod: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(spec) = pod.map_at("/spec") {
        check(POD_SPEC, spec, "spec", pod, &mut causes);
    }
    causes.truncate(MAX_PROBLEMS);
    causes
}

fn check(rows: &[Row], map: &Map<String, Value>, path: &str, pod: &Object, causes: &mut Vec<Cause>) {
    for (name, rule) in rows {
        if causes.len() >= MAX_PROBLEMS {
            return;
        }
        let Some(value) = map.get(*name).filter(|value| !says_nothing(value)) else { continue };
        let path = format!("{path}.{name}");
        let accepted = match rule {
            Acts => true,
            Refused => false,
            Only(texts) => texts.contains(&value.to_string().as_str()),
            Unless(holds) => holds(value, map, pod),
            Keys(keys) => {
                let other =
                    value.as_object().into_iter().flatten().filter(|(key, _)| !keys.contains(&key.as_str()));
                causes.extend(other.map(|(key, _)| Cause::forbidden(format!("{path}[{key}]"), NOT_YET)));
                true
            }
            In(rows) => {
                match value {
                    Value::Object(map) => check(rows, map, &path, pod, causes),
                    Value::Array(items) => {
                        for (index, map) in items.iter().enumerate() {
                            if let Value::Object(map) = map {
                                check(rows, map, &format!("{path}[{index}]"), pod, causes);
                            }
                        }
                    }
                    _ => {} // mistyped: validation says so
                }
                true
            }
        };
        if !accepted {
            causes.push(Cause::forbidden(path, NOT_YET));
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
