//! Security contexts of pods and containers.

use serde_json::{Value, json};

use super::{has, list, text, volume};
use crate::api::{Cause, Object};

pub fn validate(pod: &Object, causes: &mut Vec<Cause>) {
    let none = Value::Null;
    let field = "spec.securityContext";
    let context = pod.at("/spec/securityContext").unwrap_or(&none);
    ids(field, context, &["runAsUser", "runAsGroup", "fsGroup"], causes);
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        id(&format!("{field}.supplementalGroups[{index}]"), group, causes);
    }
    for (key, supported) in [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
    ] {
        one_of(&format!("{field}.{key}"), text(context, key), supported, causes);
    }
    if pod.bool_at("/spec/shareProcessNamespace") && pod.bool_at("/spec/hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.push(Cause::invalid(format!("{field}.shareProcessNamespace"), true, detail));
    }
    sysctls(field, context, causes);
    profiles(field, context, causes);
    annotations(pod, causes);

    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in pod.array_at(&format!("/spec/{kind}")).iter().enumerate() {
            let Some(context) = container.get("securityContext") else { continue };
            of_container(&format!("spec.{kind}[{index}].securityContext"), context, pod, causes);
        }
    }
}

/// Of AppArmor, before it had a field; followed by the container's name.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The field that an annotation's text stands for.
fn profile(text: &str) -> Option<Value> {
    match (text, text.strip_prefix("localhost/")) {
        ("runtime/default", _) => Some(json!({"type": "RuntimeDefault"})),
        ("unconfined", _) => Some(json!({"type": "Unconfined"})),
        (_, Some(name)) if !name.is_empty() => Some(json!({"type": "Localhost", "localhostProfile": name})),
        _ => None,
    }
}

/// Gives containers the AppArmor profiles that annotations name, where they have none of their own.
pub fn from_annotations(pod: &mut Object) {
    let named = pod.map_at("/metadata/annotations").into_iter().flatten();
    let named = named
        .filter_map(|(key, text)| Some((key.strip_prefix(APPARMOR)?.to_owned(), profile(text.as_str()?)?)));
    for (name, profile) in named.collect::<Vec<_>>() {
        for kind in ["/spec/containers", "/spec/initContainers"] {
            let Some(Value::Array(containers)) = pod.at_mut(kind) else { continue };
            let mut of_name = containers.iter_mut().filter(|container| text(container, "name") == name);
            let Some(Value::Object(container)) = of_name.next() else { continue };
            let context = container.entry("securityContext").or_insert(Value::Null);
            if context.is_null() {
                *context = json!({});
            }
            if let Value::Object(context) = context {
                let own = context.entry("appArmorProfile").or_insert(Value::Null);
                if own.is_null() {
                    *own = profile.clone();
                }
            }
        }
    }
}

fn annotations(pod: &Object, causes: &mut Vec<Cause>) {
    for (key, value) in pod.map_at("/metadata/annotations").into_iter().flatten() {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        let field = format!("metadata.annotations[{key}]");
        let value = value.as_str().unwrap_or("");
        let Some(profile) = profile(value) else {
            let detail = format!("invalid AppArmor profile name: \"{value}\"");
            causes.push(Cause::invalid(field, value, &detail));
            continue;
        };
        let mut known = false;
        for kind in ["containers", "initContainers"] {
            for (index, container) in pod.array_at(&format!("/spec/{kind}")).iter().enumerate() {
                if text(container, "name") != name {
                    continue;
                }
                known = true;
                let own = container.pointer("/securityContext/appArmorProfile").filter(|own| !own.is_null());
                if let Some(own) = own.filter(|own| **own != profile) {
                    let part = if own["type"] == profile["type"] { "localhostProfile" } else { "type" };
                    let field = format!("spec.{kind}[{index}].securityContext.appArmorProfile.{part}");
                    let what = if part == "type" { "type" } else { "profile" };
                    let detail = format!("apparmor {what} in annotation and field must match");
                    causes.push(Cause::forbidden(field, &detail));
                }
            }
        }
        if !known {
            causes.push(Cause::invalid(field, name, "container not found"));
        }
    }
}

fn of_container(field: &str, context: &Value, pod: &Object, causes: &mut Vec<Cause>) {
    ids(field, context, &["runAsUser", "runAsGroup"], causes);
    let proc_mount = text(context, "procMount");
    one_of(&format!("{field}.procMount"), proc_mount, &["Default", "Unmasked"], causes);
    if proc_mount == "Unmasked" && pod.at("/spec/hostUsers") != Some(&Value::Bool(false)) {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        causes.push(Cause::invalid(format!("{field}.procMount"), proc_mount, detail));
    }
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let mut refuse = |what: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            causes.push(Cause::invalid(field, context.clone(), &detail));
        };
        if context.get("privileged") == Some(&Value::Bool(true)) {
            refuse("`privileged` to true");
        }
        let capabilities = context.get("capabilities").unwrap_or(&Value::Null);
        if list(capabilities, "add").iter().any(|name| name == "CAP_SYS_ADMIN") {
            refuse("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    profiles(field, context, causes);
}

fn ids(field: &str, context: &Value, keys: &[&str], causes: &mut Vec<Cause>) {
    for key in keys {
        if let Some(value) = context.get(key).filter(|value| !value.is_null()) {
            id(&format!("{field}.{key}"), value, causes);
        }
    }
}

fn id(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    if !value.as_i64().is_some_and(|id| (0..=i64::from(i32::MAX)).contains(&id)) {
        causes.push(Cause::invalid(field, value.clone(), "must be between 0 and 2147483647, inclusive"));
    }
}

fn one_of(field: &str, value: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    if !value.is_empty() && !supported.contains(&value) {
        causes.push(Cause::not_supported(field, value, supported));
    }
}

fn sysctls(field: &str, context: &Value, causes: &mut Vec<Cause>) {
    let sysctls = list(context, "sysctls");
    let dotted = |sysctl: &Value| text(sysctl, "name").replace('/', ".");
    for (index, sysctl) in sysctls.iter().enumerate() {
        let (field, name) = (format!("{field}.sysctls[{index}].name"), text(sysctl, "name"));
        if name.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if !is_sysctl(name) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            causes.push(Cause::invalid(field, name, detail));
        } else if sysctls.iter().take(index).any(|other| dotted(other) == dotted(sysctl)) {
            causes.push(Cause::duplicate(field, name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(is_plain)
            && bytes.last().copied().is_some_and(is_plain)
            && bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_part)
}

fn profiles(field: &str, context: &Value, causes: &mut Vec<Cause>) {
    for (key, called) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let Some(profile) = context.get(key).filter(|profile| !profile.is_null()) else { continue };
        let field = format!("{field}.{key}");
        let (kind, name) = (text(profile, "type"), text(profile, "localhostProfile"));
        if kind.is_empty() {
            causes.push(Cause::required(
                format!("{field}.type"),
                &format!("type is required when {key} is set"),
            ));
        }
        one_of(&format!("{field}.type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"], causes);
        let field = format!("{field}.localhostProfile");
        match kind {
            "Localhost" if name.is_empty() => {
                causes.push(Cause::required(field, &format!("must be set when {called} type is Localhost")));
            }
            "Localhost" if key == "seccompProfile" => volume::relative(&field, name, causes),
            "Localhost" if name.trim() != name => {
                causes.push(Cause::invalid(field, name, "must not be padded with whitespace"));
            }
            "Localhost" => {}
            _ if has(profile, "localhostProfile") => {
                let detail = format!("can only be set when {called} type is Localhost");
                causes.push(Cause::invalid(field, name, &detail));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: Value) -> Vec<String> {
        let mut causes = Vec::new();
        validate(&Object::from_value(json!({"spec": spec})).unwrap(), &mut causes);
        causes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pods() {
        let of = |context: Value| refused(json!({"securityContext": context}));
        assert_eq!(of(json!({"runAsUser": 0, "fsGroup": 2_147_483_647, "supplementalGroups": [1]})), [""; 0]);
        for (context, expected) in [
            (
                json!({"runAsUser": -1}),
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ),
            (
                json!({"supplementalGroups": [1, 2_147_483_648_u64]}),
                "spec.securityContext.supplementalGroups[1]: Invalid value: 2147483648: must be between 0 and 2147483647, \
                 inclusive",
            ),
            (
                json!({"fsGroupChangePolicy": "Never"}),
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Never\": supported values: \"Always\", \
                 \"OnRootMismatch\"",
            ),
            (
                json!({"sysctls": [{"name": "net/ipv4/tcp_rmem", "value": "1"}, {"name": "net.ipv4.tcp_rmem"}]}),
                "spec.securityContext.sysctls[1].name: Duplicate value: \"net.ipv4.tcp_rmem\"",
            ),
            (
                json!({"seccompProfile": {"type": "Localhost"}}),
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is \
                 Localhost",
            ),
            (
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}),
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"../x\": must not contain '..'",
            ),
            (
                json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}}),
                "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when \
                 AppArmor type is Localhost",
            ),
        ] {
            assert_eq!(of(context), [expected]);
        }
        for name in ["a..b", "../x", "A.b", "-a", ""] {
            assert_eq!(of(json!({"sysctls": [{"name": name}]})).len(), 1, "{name}");
        }
        assert_eq!(refused(json!({"shareProcessNamespace": true, "hostPID": true})).len(), 1);
    }

    #[test]
    fn annotations_of_old() {
        let of = |text: &str, context: Value| {
            let containers = json!([{"name": "web", "securityContext": context}, {"name": "other"}]);
            let annotations = json!({format!("{APPARMOR}web"): text});
            let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}});
            let mut pod = Object::from_value(pod).unwrap();
            from_annotations(&mut pod);
            let mut causes = Vec::new();
            validate(&pod, &mut causes);
            assert_eq!(pod.at("/spec/containers/1/securityContext"), None);
            let field = pod.at("/spec/containers/0/securityContext/appArmorProfile").cloned();
            (field, causes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let localhost = json!({"type": "Localhost", "localhostProfile": "own"});
        assert_eq!(of("localhost/own", Value::Null), (Some(localhost.clone()), vec![]));
        assert_eq!(of("runtime/default", json!({})), (Some(json!({"type": "RuntimeDefault"})), vec![]));
        let other = of("unconfined", json!({"appArmorProfile": localhost}));
        assert_eq!(other.0, Some(localhost));
        let expected = "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation \
                        and field must match";
        assert_eq!(other.1, [expected]);
        let wrong = of("localhost/", json!({}));
        assert_eq!(wrong.0, None);
        assert!(wrong.1[0].ends_with("invalid AppArmor profile name: \"localhost/\""), "{wrong:?}");
    }

    #[test]
    fn containers() {
        let of = |context: Value| refused(json!({"containers": [{"securityContext": context}]}));
        assert_eq!(of(json!({"privileged": true, "procMount": "Default"})), [""; 0]);
        for context in [
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
            json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}, "allowPrivilegeEscalation": false}),
            json!({"procMount": "Unmasked"}),
            json!({"procMount": "Bare"}),
            json!({"seccompProfile": {}}),
        ] {
            assert_eq!(of(context.clone()).len(), 1, "{context}");
        }
    }
}
