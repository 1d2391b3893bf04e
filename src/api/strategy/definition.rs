//! CustomResourceDefinitions (apiextensions `validation.go`).

use serde_json::{Map, Value, json};

use super::{Strategy, keep_all_but_status, restore};
use crate::api::structural;
use crate::api::{Cause, Object, names};

mod versions;

pub struct DefinitionStrategy;

const APPROVAL: &str = "api-approved.kubernetes.io";

impl Strategy for DefinitionStrategy {
    fn prepare_create(&self, new: &mut Object) {
        complete(new);
        let stored: Vec<Value> = storage(new).map(Value::from).into_iter().collect();
        new.set(
            "/status",
            json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": stored}),
        );
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        complete(new);
        restore(new, old, "/status");
        let Some(storage) = storage(new).map(Value::from) else { return };
        let mut stored = new.array_at("/status/storedVersions").to_vec();
        if !stored.contains(&storage) {
            stored.push(storage);
            new.set("/status/storedVersions", stored);
        }
    }

    fn prepare_status_update(&self, new: &mut Object, old: &Object) {
        keep_all_but_status(new, old);
        // Who has which names is the server's to say, and what it said is believed after a restart.
        for field in ["acceptedNames", "conditions"] {
            restore(new, old, &format!("/status/{field}"));
        }
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        identity(new, &mut causes);
        versions::check(new, &mut causes);
        words(new, "spec.names", new.at("/spec/names"), true, &mut causes);
        conversion(new, &mut causes);
        stored(new, &mut causes);
        if let Some(old) = old {
            immutable(new, old, &mut causes);
        }
        causes
    }

    fn warnings(&self, new: &Object) -> Vec<String> {
        let versions = new.array_at("/spec/versions").iter().enumerate();
        let with_rules = versions.filter(|(_, version)| structural::uses_rules(version));
        with_rules
            .map(|(index, _)| {
                format!(
                    "spec.versions[{index}].schema.openAPIV3Schema: x-kubernetes-validations (CEL rules) are not evaluated by midge {}",
                    crate::VERSION
                )
            })
            .collect()
    }
}

/// What follows from other fields.
fn complete(new: &mut Object) {
    let kind = new.str_at("/spec/names/kind").to_owned();
    if !kind.is_empty() && new.at("/spec/names").is_some_and(Value::is_object) {
        if new.str_at("/spec/names/singular").is_empty() {
            new.set("/spec/names/singular", kind.to_lowercase());
        }
        if new.str_at("/spec/names/listKind").is_empty() {
            new.set("/spec/names/listKind", format!("{kind}List"));
        }
    }
    if new.at("/spec/conversion").is_none() && new.at("/spec").is_some_and(Value::is_object) {
        new.set("/spec/conversion", json!({"strategy": "None"}));
    }
    if new.at("/spec/preserveUnknownFields") == Some(&Value::Bool(false)) {
        new.remove("/spec/preserveUnknownFields");
    }
}

/// The version that objects are stored in.
fn storage(definition: &Object) -> Option<String> {
    let mut versions = definition.array_at("/spec/versions").iter();
    let found = versions.find(|version| flag(version, "storage"))?;
    Some(text(found, "name").to_owned())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}

fn identity(new: &Object, causes: &mut Vec<Cause>) {
    let (group, plural) = (new.str_at("/spec/group"), new.str_at("/spec/names/plural"));
    if new.name() != format!("{plural}.{group}") {
        causes.push(Cause::invalid(
            "metadata.name",
            new.name(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if let Err(message) = names::is_dns_subdomain(group) {
        causes.push(Cause::invalid("spec.group", group, &message));
    } else if !group.contains('.') {
        causes.push(Cause::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    // Groups of the community's need its approval, or a word that they do without.
    if [".k8s.io", ".kubernetes.io"].iter().any(|end| group.ends_with(end))
        || matches!(group, "k8s.io" | "kubernetes.io")
    {
        let approval = new.annotation(APPROVAL).unwrap_or("");
        let field = format!("metadata.annotations[{APPROVAL}]");
        if approval.is_empty() {
            let detail = format!(
                "protected groups must have approval annotation \"{APPROVAL}\", see https://github.com/kubernetes/enhancements/pull/1111"
            );
            causes.push(Cause::required(field, &detail));
        } else if !approval.starts_with("https://")
            && !approval.starts_with("http://")
            && !approval.starts_with("unapproved")
        {
            let detail = format!(
                "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            );
            causes.push(Cause::invalid(field, approval, &detail));
        }
    }
    match new.str_at("/spec/scope") {
        "" => causes.push(Cause::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        scope => causes.push(Cause::not_supported("spec.scope", scope, &["Cluster", "Namespaced"])),
    }
    if new.bool_at("/spec/preserveUnknownFields") {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", true, detail));
    }
}

fn words(new: &Object, path: &str, names: Option<&Value>, required: bool, causes: &mut Vec<Cause>) {
    let Some(names) = names else { return causes.push(Cause::required(path, "")) };
    let mut check = |field: String, word: &str, required: bool| {
        if word.is_empty() {
            if required {
                causes.push(Cause::required(field, ""));
            }
        } else if let Err(message) = names::is_dns_1035_label(word) {
            causes.push(Cause::invalid(field, word, &message));
        }
    };
    check(format!("{path}.plural"), text(names, "plural"), required);
    check(format!("{path}.singular"), text(names, "singular"), required);
    check(format!("{path}.kind"), &text(names, "kind").to_lowercase(), required);
    check(format!("{path}.listKind"), &text(names, "listKind").to_lowercase(), required);
    for key in ["shortNames", "categories"] {
        for (index, word) in names.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            check(format!("{path}.{key}[{index}]"), word.as_str().unwrap_or(""), true);
        }
    }
    if !text(names, "kind").is_empty() && text(names, "kind") == text(names, "listKind") {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid(format!("{path}.listKind"), new.str_at("/spec/names/listKind"), detail));
    }
}

fn conversion(new: &Object, causes: &mut Vec<Cause>) {
    match new.str_at("/spec/conversion/strategy") {
        "" => causes.push(Cause::required("spec.conversion.strategy", "")),
        "None" => {
            if new.at("/spec/conversion/webhook").is_some() {
                let detail = "should not be set when strategy is not set to Webhook";
                causes.push(Cause::forbidden("spec.conversion.webhook", detail));
            }
        }
        "Webhook" => {
            let detail =
                format!("conversion by webhooks is not supported by midge {} yet: use None", crate::VERSION);
            causes.push(Cause::forbidden("spec.conversion.strategy", &detail));
        }
        other => causes.push(Cause::not_supported("spec.conversion.strategy", other, &["None", "Webhook"])),
    }
}

/// Versions in which objects may be stored must stay, and the one that new ones are stored in is one of them.
fn stored(new: &Object, causes: &mut Vec<Cause>) {
    let told = new.array_at("/status/storedVersions");
    if let Some(storage) = storage(new).filter(|storage| !told.iter().any(|version| version == storage)) {
        let detail = format!("must have the storage version {storage}");
        causes.push(Cause::invalid("status.storedVersions", told.to_vec(), &detail));
    }
    for (index, version) in new.array_at("/status/storedVersions").iter().enumerate() {
        let name = version.as_str().unwrap_or("");
        if !new.array_at("/spec/versions").iter().any(|version| text(version, "name") == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            causes.push(Cause::invalid(format!("status.storedVersions[{index}]"), name, &detail));
        }
    }
}

fn immutable(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let established = old.condition_status("Established") == "True";
    let always: &[&str] = &["/spec/group", "/spec/names/plural"];
    let once_established: &[&str] = if established { &["/spec/scope", "/spec/names/kind"] } else { &[] };
    for pointer in always.iter().chain(once_established) {
        if new.at(pointer) != old.at(pointer) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(Cause::invalid(field, new.str_at(pointer), "field is immutable"));
        }
    }
}

/// Holds a deleted definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Marks a definition that is deleted: its objects go first.
pub fn mark_definition(definition: &mut Object, now: &str) {
    let mut finalizers = definition.array_at("/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        finalizers.push(CLEANUP.into());
        definition.set("/metadata/finalizers", finalizers);
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(definition, "Terminating", true, "InstanceDeletionPending", message, now);
}

/// Sets a condition of a definition; the time changes with the status only.
pub fn set_condition(definition: &mut Object, of: &str, is: bool, reason: &str, message: &str, now: &str) {
    let status = if is { "True" } else { "False" };
    let mut conditions = definition.array_at("/status/conditions").to_vec();
    let at = conditions.iter().position(|condition| text(condition, "type") == of);
    let before = at.and_then(|index| conditions.get(index)).filter(|before| text(before, "status") == status);
    let since = before.map_or(now, |before| text(before, "lastTransitionTime")).to_owned();
    let mut condition = Map::new();
    for (key, value) in [
        ("lastTransitionTime", since.as_str()),
        ("message", message),
        ("reason", reason),
        ("status", status),
        ("type", of),
    ] {
        condition.insert(key.to_owned(), value.into());
    }
    let condition = Value::Object(condition);
    match at.and_then(|index| conditions.get_mut(index)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    definition.set("/status/conditions", conditions);
}
