//! Kinds that keep pods running: apps, batch, ReplicationController, PodTemplate, their autoscaler and their
//! disruption budget.

use serde_json::{Map, Value};

use super::{Strategy, pod, restore};
use crate::api::selector::LabelSelector;
use crate::api::{Cause, Object};

mod autoscaler;
mod budget;
mod cron_job;
mod deployment;
mod job;
mod job_policy;
mod revision;
mod selector;
mod sets;
mod stateful_set;
#[cfg(test)]
mod tests;

pub use autoscaler::HORIZONTAL_POD_AUTOSCALER;
pub use budget::POD_DISRUPTION_BUDGET;
pub use cron_job::CRON_JOB;
pub use deployment::DEPLOYMENT;
pub use job::JOB;
pub use revision::{CONTROLLER_REVISION, POD_TEMPLATE};
pub use sets::{DAEMON_SET, REPLICA_SET, REPLICATION_CONTROLLER};
pub use stateful_set::STATEFUL_SET;

type Rules = fn(&Object, Option<&Object>, &mut Vec<Cause>);

/// The strategy of one of these kinds.
pub struct Workload {
    /// Where its template of pods is; "" for a kind without.
    template: &'static str,
    /// Counts that a new object's status starts with: clients' types require them. None: no status at all.
    status: Option<&'static [&'static str]>,
    /// Defaults that are computed, before the template's.
    defaults: fn(&mut Object),
    /// What is set once.
    create: fn(&mut Object),
    /// Whether a change of annotations counts as one of the spec.
    counts_annotations: bool,
    rules: Rules,
}

/// A kind without any of it.
const PLAIN: Workload = Workload {
    template: "/spec/template",
    status: Some(&[]),
    defaults: |_| {},
    create: |_| {},
    counts_annotations: false,
    rules: |_, _, _| {},
};

impl Workload {
    fn prepare(&self, new: &mut Object) {
        (self.defaults)(new);
        if !self.template.is_empty() {
            pod::template::prepare(new, self.template);
        }
    }
}

impl Strategy for Workload {
    fn prepare_create(&self, new: &mut Object) {
        new.remove("/status");
        if let Some(counts) = self.status {
            let zeroes: Map<_, _> = counts.iter().map(|name| ((*name).to_owned(), 0.into())).collect();
            new.set("/status", zeroes);
        }
        self.prepare(new);
        (self.create)(new);
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        restore(new, old, "/status");
        self.prepare(new);
        let none = Value::Null;
        let annotations = |object: &Object| object.at("/metadata/annotations").unwrap_or(&none).clone();
        if self.counts_annotations && !pod::same(&annotations(new), &annotations(old)) {
            new.set("/metadata/generation", old.generation() + 1);
        }
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        (self.rules)(new, old, &mut causes);
        causes
    }
}

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// `spec.template` as a pointer.
fn pointer(field: &str) -> String {
    format!("/{}", field.replace('.', "/"))
}

/// What a field holds; null when it is absent.
fn value<'a>(object: &'a Object, field: &str) -> &'a Value {
    object.at(&pointer(field)).unwrap_or(&Value::Null)
}

fn not_negative(object: &Object, fields: &[&str], causes: &mut Vec<Cause>) {
    for field in fields {
        if let Some(number) = value(object, field).as_i64().filter(|number| *number < 0) {
            causes.push(Cause::invalid(*field, number, NOT_NEGATIVE));
        }
    }
}

fn immutable(new: &Object, old: Option<&Object>, fields: &[&str], causes: &mut Vec<Cause>) {
    let Some(old) = old else { return };
    for field in fields {
        let now = value(new, field);
        if !pod::same(now, value(old, field)) {
            causes.push(Cause::invalid(*field, now.clone(), "field is immutable"));
        }
    }
}

/// Numbers of a status: none negative, and no `parts` above `replicas`.
fn counts(object: &Object, parts: &[&str], causes: &mut Vec<Cause>) {
    let number = |name: &str| object.i64_at(&format!("/status/{name}")).unwrap_or(0);
    let whole = number("replicas");
    not_negative(object, &["status.replicas", "status.observedGeneration", "status.collisionCount"], causes);
    for part in parts {
        let (field, count) = (format!("status.{part}"), number(part));
        if count < 0 {
            causes.push(Cause::invalid(field, count, NOT_NEGATIVE));
        } else if count > whole {
            causes.push(Cause::invalid(field, count, "cannot be greater than status.replicas"));
        }
    }
    let available = number("availableReplicas");
    if available > number("readyReplicas") {
        let detail = "cannot be greater than readyReplicas";
        causes.push(Cause::invalid("status.availableReplicas", available, detail));
    }
}

/// `spec.selector` and whether it is that of the template's labels. `what` names the kind in a message.
fn selected_template(object: &Object, what: &str, causes: &mut Vec<Cause>) {
    let selector = value(object, "spec.selector");
    let before = causes.len();
    selector::validate("spec.selector", selector, causes);
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if selector::is_empty(selector) {
        let detail = format!("empty selector is invalid for {what}");
        causes.push(Cause::invalid("spec.selector", selector.clone(), &detail));
    } else if causes.len() > before {
        return;
    }
    let found = LabelSelector::from_json(selector).unwrap_or_default();
    let labels = object.map_at("/spec/template/metadata/labels");
    if selector.is_null() || !found.matches_labels(labels) {
        mismatch(object, causes);
    }
}

fn mismatch(object: &Object, causes: &mut Vec<Cause>) {
    let (field, detail) = ("spec.template.metadata.labels", "`selector` does not match template `labels`");
    causes.push(Cause::invalid(field, value(object, field).clone(), detail));
}

/// The template of pods that run until they are deleted.
fn endless_template(
    new: &Object,
    old: Option<&Object>,
    what: &str,
    claims: &[&str],
    causes: &mut Vec<Cause>,
) {
    pod::template::validate(new, old, "/spec/template", claims, causes);
    let policy = new.str_at("/spec/template/spec/restartPolicy");
    if matches!(policy, "OnFailure" | "Never") {
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if !value(new, "spec.template.spec.activeDeadlineSeconds").is_null() {
        let detail = format!("activeDeadlineSeconds in {what} is not Supported");
        causes.push(Cause::forbidden("spec.template.spec.activeDeadlineSeconds", &detail));
    }
}

/// A count or a percentage, neither negative. Returns the number of either.
fn int_or_percent(object: &Object, field: &str, at_most_all: bool, causes: &mut Vec<Cause>) -> Option<i64> {
    let found = value(object, field);
    let number = match found {
        Value::String(text) => {
            let Some(number) = percent(text) else {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                              '1%',  or '93%', regex used for validation is '[0-9]+%')";
                causes.push(Cause::invalid(field, text.as_str(), detail));
                return None;
            };
            if at_most_all && number > 100 {
                causes.push(Cause::invalid(field, text.as_str(), "must not be greater than 100%"));
            }
            number
        }
        _ => found.as_i64()?,
    };
    if number < 0 {
        causes.push(Cause::invalid(field, number, NOT_NEGATIVE));
    }
    Some(number)
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%').filter(|digits| !digits.is_empty())?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().unwrap_or(i64::MAX))
}
