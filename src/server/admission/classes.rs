//! Priorities of pods by their PriorityClass, and the class of an Ingress that names none.

use serde_json::Value;

use super::forbidden;
use crate::api::kinds::{INGRESS_CLASS, POD, PRIORITY_CLASS};
use crate::api::object::mentions;
use crate::api::strategy::{SYSTEM_CLASSES, restore};
use crate::api::{Object, Reason, Status};
use crate::server::registry::{Item, Registry, WriteOptions};

const DEFAULT_INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Makes the system's priority classes that are not there.
///
/// # Errors
/// The store's.
pub async fn seed(registry: &Registry) -> Result<(), Status> {
    for (name, value, description) in SYSTEM_CLASSES {
        if registry.item(PRIORITY_CLASS, "", name).is_ok() {
            continue;
        }
        let mut class = Object::new(PRIORITY_CLASS, "", name);
        class.set("/value", value);
        class.set("/description", description);
        match registry.create(PRIORITY_CLASS, class, WriteOptions::default()).await {
            Err(status) if status.reason != Reason::AlreadyExists => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// Sets a new pod's priority from its class, or from the cluster's default one.
pub fn set_priority(registry: &Registry, pod: &mut Object) -> Result<(), Status> {
    let name = pod.str_at("/spec/priorityClassName");
    let class = if name.is_empty() {
        default_priority(registry)?
    } else {
        let why = || format!("no PriorityClass with name {name} was found");
        let found = registry.get(PRIORITY_CLASS, "", name);
        Some(found.map_err(|_| forbidden(POD, pod.name(), &why()))?)
    };
    let value = class.as_ref().and_then(|class| class.i64_at("/value")).unwrap_or(0);
    if let Some(given) = pod.i64_at("/spec/priority").filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(POD, pod.name(), &why));
    }
    let policy = class.as_ref().map_or("", |class| class.str_at("/preemptionPolicy"));
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    let given = pod.str_at("/spec/preemptionPolicy");
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(POD, pod.name(), &why));
    }
    pod.set("/spec/preemptionPolicy", policy);
    pod.set("/spec/priority", value);
    if let (Some(class), true) = (class, pod.str_at("/spec/priorityClassName").is_empty()) {
        pod.set("/spec/priorityClassName", class.name());
    }
    Ok(())
}

/// An update need not repeat what was set at the creation.
pub fn keep_priority(new: &mut Object, old: &Object) {
    for field in ["/spec/priority", "/spec/preemptionPolicy"] {
        if new.at(field).is_none() {
            restore(new, old, field);
        }
    }
}

/// The default class with the lowest value, since a cluster may have come to several.
fn default_priority(registry: &Registry) -> Result<Option<Object>, Status> {
    // Every pod asks, and few classes are it: others are not parsed.
    let mut items = registry.all(PRIORITY_CLASS, None)?.items;
    items.retain(|item| mentions(&item.value, "\"globalDefault\":true"));
    let classes: Result<Vec<Object>, Status> = items.iter().map(Item::object).collect();
    let defaults = classes?.into_iter().filter(|class| class.bool_at("/globalDefault"));
    Ok(defaults.min_by_key(|class| class.i64_at("/value").unwrap_or(0)))
}

/// There is one default only.
pub fn check_default(registry: &Registry, class: &Object) -> Result<(), Status> {
    if !class.bool_at("/globalDefault") {
        return Ok(());
    }
    match default_priority(registry)?.filter(|other| other.name() != class.name()) {
        Some(other) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name()
            );
            Err(forbidden(PRIORITY_CLASS, class.name(), &why))
        }
        None => Ok(()),
    }
}

/// The newest of the default classes, unless the ingress names one in either way.
pub fn set_ingress_class(registry: &Registry, ingress: &mut Object) -> Result<(), Status> {
    let named = ingress.at("/spec/ingressClassName").is_some_and(Value::is_string)
        || ingress.annotation("kubernetes.io/ingress.class").is_some();
    if named {
        return Ok(());
    }
    let classes = registry.objects(INGRESS_CLASS, None)?.into_iter();
    let defaults = classes.filter(|class| class.annotation(DEFAULT_INGRESS) == Some("true"));
    // Of two made in the same second, the first by name.
    let newest = defaults
        .reduce(|one, other| if other.creation_timestamp() > one.creation_timestamp() { other } else { one });
    if let Some(class) = newest {
        ingress.set("/spec/ingressClassName", class.name());
    }
    Ok(())
}
