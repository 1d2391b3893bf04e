//! ConfigMaps and Secrets. No message here ever holds a Secret's value.

use data_encoding::BASE64;
use serde_json::Value;

use super::Strategy;
use crate::api::object::escape;
use crate::api::{Cause, CauseReason, Object, names};

/// All values of one object together.
const SIZE_LIMIT: usize = 1024 * 1024;

/// Keys, size, immutability.
pub struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut size = 0;
        let binary = new.map_at("/binaryData");
        for (key, value) in new.map_at("/data").into_iter().flatten() {
            check_key("data", key, &mut causes);
            if binary.is_some_and(|binary| binary.contains_key(key)) {
                let detail = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(format!("data[{key}]"), key.as_str(), detail));
            }
            size += value.as_str().map_or(0, str::len);
        }
        for (key, value) in binary.into_iter().flatten() {
            check_key("binaryData", key, &mut causes);
            size += check_base64("binaryData", key, value, &mut causes);
        }
        if size > SIZE_LIMIT {
            causes.push(Cause::too_long("", SIZE_LIMIT));
        }
        if let Some(old) = old {
            check_immutable(new, old, &["data", "binaryData"], &mut causes);
        }
        causes
    }
}

/// `stringData` goes into `data`; the type is Opaque unless it says otherwise.
pub struct SecretStrategy;

impl Strategy for SecretStrategy {
    fn prepare_create(&self, new: &mut Object) {
        merge_string_data(new);
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        if new.str_at("/type").is_empty() {
            new.set("/type", old.str_at("/type"));
        }
        merge_string_data(new);
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut size = 0;
        for (key, value) in new.map_at("/data").into_iter().flatten() {
            check_key("data", key, &mut causes);
            size += check_base64("data", key, value, &mut causes);
        }
        if size > SIZE_LIMIT {
            causes.push(Cause::too_long("data", SIZE_LIMIT));
        }
        check_type(new, &mut causes);
        if let Some(old) = old {
            if new.str_at("/type") != old.str_at("/type") {
                causes.push(Cause::invalid("type", new.str_at("/type"), "field is immutable"));
            }
            check_immutable(new, old, &["data"], &mut causes);
        }
        causes
    }
}

fn merge_string_data(secret: &mut Object) {
    if secret.str_at("/type").is_empty() {
        secret.set("/type", "Opaque");
    }
    let Some(strings) = secret.remove("/stringData") else { return };
    for (key, value) in strings.as_object().into_iter().flatten() {
        if let Some(text) = value.as_str() {
            secret.set(&format!("/data/{}", escape(key)), BASE64.encode(text.as_bytes()));
        }
    }
}

/// What a type promises to its readers.
fn check_type(secret: &Object, causes: &mut Vec<Cause>) {
    let has = |key: &str| secret.map_at("/data").is_some_and(|data| data.contains_key(key));
    let mut require = |key: &str| {
        if !has(key) {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    };
    match secret.str_at("/type") {
        "kubernetes.io/dockercfg" => require(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => require(".dockerconfigjson"),
        "kubernetes.io/ssh-auth" => require("ssh-privatekey"),
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            require("username");
            require("password");
        }
        "kubernetes.io/service-account-token"
            if secret.annotation("kubernetes.io/service-account.name").unwrap_or("").is_empty() =>
        {
            let field = "metadata.annotations[kubernetes.io/service-account.name]";
            causes.push(Cause::required(field, ""));
        }
        _ => {}
    }
    for key in [".dockercfg", ".dockerconfigjson"] {
        let typed = secret.str_at("/type") == format!("kubernetes.io/{}", key.trim_start_matches('.'));
        let text = secret.map_at("/data").and_then(|data| data.get(key)).and_then(Value::as_str);
        let bytes = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
        if let (true, Some(bytes)) = (typed, bytes) {
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
                let hidden = "<secret contents redacted>";
                causes.push(Cause::invalid(format!("data[{key}]"), hidden, &error.to_string()));
            }
        }
    }
}

fn check_key(field: &str, key: &str, causes: &mut Vec<Cause>) {
    if let Err(message) = names::is_config_key(key) {
        causes.push(Cause::invalid(format!("{field}[{key}]"), key, &message));
    }
}

/// The number of bytes that the text stands for.
fn check_base64(field: &str, key: &str, value: &Value, causes: &mut Vec<Cause>) -> usize {
    // A JSON null is how Go writes an empty value.
    let text = value.as_str().unwrap_or("");
    match BASE64.decode(text.as_bytes()) {
        Ok(bytes) => bytes.len(),
        Err(error) => {
            causes.push(Cause {
                reason: CauseReason::Invalid,
                message: format!("Invalid value: illegal base64 data at input byte {}", error.position),
                field: format!("{field}[{key}]"),
            });
            0
        }
    }
}

fn check_immutable(new: &Object, old: &Object, fields: &[&str], causes: &mut Vec<Cause>) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !old.bool_at("/immutable") {
        return;
    }
    if !new.bool_at("/immutable") {
        causes.push(Cause::forbidden("immutable", WHY));
    }
    for field in fields {
        let pointer = format!("/{field}");
        let nothing = serde_json::Map::new();
        let map = |object: &Object| object.map_at(&pointer).unwrap_or(&nothing).clone();
        if map(new) != map(old) {
            causes.push(Cause::forbidden(*field, WHY));
        }
    }
}
