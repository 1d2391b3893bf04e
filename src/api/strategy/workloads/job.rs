//! Jobs.

use serde_json::{Map, Value};

use super::{PLAIN, Workload, immutable, job_policy, mismatch, not_negative, pod, pointer, selector, value};
use crate::api::selector::LabelSelector;
use crate::api::{Cause, Object};

pub static JOB: Workload = Workload { defaults, create: select, rules, ..PLAIN };

const UID: &str = "batch.kubernetes.io/controller-uid";
/// The labels of a Job's pods: its uid and its name, each under its present and its former key.
const LABELS: [(&str, &str); 4] = [
    (UID, "/metadata/uid"),
    ("controller-uid", "/metadata/uid"),
    ("batch.kubernetes.io/job-name", "/metadata/name"),
    ("job-name", "/metadata/name"),
];

const TEMPLATE_LABELS: &str = "spec.template.metadata.labels";

fn defaults(job: &mut Object) {
    let absent = |job: &Object, name: &str| value(job, &format!("spec.{name}")).is_null();
    if absent(job, "parallelism") {
        if absent(job, "completions") {
            job.set("/spec/completions", 1);
        }
        job.set("/spec/parallelism", 1);
    }
    let limit = if absent(job, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    let replaced = if absent(job, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    for (name, default) in [
        ("backoffLimit", Value::from(limit)),
        ("completionMode", "NonIndexed".into()),
        ("suspend", false.into()),
        ("podReplacementPolicy", replaced.into()),
    ] {
        if absent(job, name) {
            job.set(&format!("/spec/{name}"), default);
        }
    }
    let own = job.labels().is_some_and(|labels| !labels.is_empty());
    if let (false, Some(labels)) = (own, job.map_at(&pointer(TEMPLATE_LABELS)).cloned()) {
        job.set("/metadata/labels", labels);
    }
}

/// Gives the pods the labels that only this Job's have, and selects them.
fn select(job: &mut Object) {
    if job.bool_at("/spec/manualSelector") {
        return;
    }
    let mut labels = job.map_at(&pointer(TEMPLATE_LABELS)).cloned().unwrap_or_default();
    for (key, from) in LABELS {
        labels.entry(key).or_insert_with(|| job.str_at(from).into());
    }
    job.set(&pointer(TEMPLATE_LABELS), labels);
    let mut wanted: Map<String, Value> =
        job.map_at("/spec/selector/matchLabels").cloned().unwrap_or_default();
    wanted.entry(UID).or_insert_with(|| job.uid().into());
    job.set("/spec/selector/matchLabels", wanted);
}

fn rules(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    if !new.bool_at("/spec/manualSelector") {
        generated(new, causes);
    }
    spec(new, old, "spec", causes);
    let wanted = value(new, "spec.selector");
    if wanted.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    }
    selector::validate("spec.selector", wanted, causes);
    let matches = LabelSelector::from_json(wanted).unwrap_or_default();
    if wanted.is_null() || !matches.matches_labels(new.map_at(&pointer(TEMPLATE_LABELS))) {
        mismatch(new, causes);
    }
    if let Some(old) = old {
        update(new, old, causes);
    }
    not_negative(new, &["status.active", "status.succeeded", "status.failed", "status.ready"], causes);
}

/// Labels and selector are those that [`select`] makes.
fn generated(job: &Object, causes: &mut Vec<Cause>) {
    let labels = job.map_at(&pointer(TEMPLATE_LABELS));
    for (key, from) in LABELS {
        let (expected, field) = (job.str_at(from), format!("{TEMPLATE_LABELS}[{key}]"));
        let detail = format!("must be '{expected}'");
        match labels.and_then(|labels| labels.get(key)) {
            None => causes.push(Cause::required(field, &detail)),
            Some(found) if found != expected => {
                causes.push(Cause::invalid(field, value(job, TEMPLATE_LABELS).clone(), &detail));
            }
            Some(_) => {}
        }
    }
    let expected: Map<String, Value> =
        LABELS.iter().map(|(key, from)| ((*key).to_owned(), job.str_at(from).into())).collect();
    let wanted = value(job, "spec.selector");
    if LabelSelector::from_json(wanted).is_ok_and(|wanted| !wanted.matches_labels(Some(&expected))) {
        causes.push(Cause::invalid("spec.selector", wanted.clone(), "`selector` not auto-generated"));
    }
}

/// The fields that a CronJob's template has as well; `at` is `spec` or `spec.jobTemplate.spec`.
pub fn spec(new: &Object, old: Option<&Object>, at: &str, causes: &mut Vec<Cause>) {
    let field = |name: &str| format!("{at}.{name}");
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(new, &[&field(name)], causes);
    }
    let number = |name: &str| value(new, &field(name)).as_i64();
    if value(new, &field("completionMode")) == "Indexed" {
        indexed(&field, &number, causes);
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = number(name) {
                causes.push(Cause::invalid(field(name), number, "requires indexed completion mode"));
            }
        }
    }
    if number("maxFailedIndexes").is_some() && number("backoffLimitPerIndex").is_none() {
        let detail = "when maxFailedIndexes is specified";
        causes.push(Cause::required(field("backoffLimitPerIndex"), detail));
    }
    let owner = value(new, &field("managedBy")).as_str().unwrap_or("");
    if !owner.is_empty() && (!owner.contains('/') || crate::api::names::is_label_key(owner).is_err()) {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        causes.push(Cause::invalid(field("managedBy"), owner, detail));
    }
    job_policy::validate(new, at, causes);
    pod::template::validate(new, old, &pointer(&field("template")), &[], causes);
    let restart = field("template.spec.restartPolicy");
    match value(new, &restart).as_str().unwrap_or("") {
        "Always" => {
            causes.push(Cause::required(restart, "valid values: \"OnFailure\", \"Never\""));
        }
        policy if policy != "Never" && !value(new, &field("podFailurePolicy")).is_null() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            causes.push(Cause::invalid(restart, policy, detail));
        }
        _ => {}
    }
}

fn indexed(field: &impl Fn(&str) -> String, number: &impl Fn(&str) -> Option<i64>, causes: &mut Vec<Cause>) {
    const MOST: i64 = 100_000;
    let Some(completions) = number("completions") else {
        causes.push(Cause::required(field("completions"), "when completion mode is Indexed"));
        return;
    };
    if let Some(parallelism) = number("parallelism").filter(|&parallelism| parallelism > MOST) {
        let detail = "must be less than or equal to 100000 when completion mode is Indexed";
        causes.push(Cause::invalid(field("parallelism"), parallelism, detail));
    }
    if let Some(most) = number("maxFailedIndexes").filter(|&most| most > completions) {
        let detail = "must be less than or equal to completions";
        causes.push(Cause::invalid(field("maxFailedIndexes"), most, detail));
    }
}

fn update(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let elastic = value(new, "spec.completionMode") == "Indexed";
    let completions = value(new, "spec.completions");
    if !elastic {
        immutable(new, Some(old), &["spec.completions"], causes);
    } else if completions != value(old, "spec.completions") && completions != value(new, "spec.parallelism") {
        let detail = "can only be modified in tandem with spec.parallelism";
        causes.push(Cause::invalid("spec.completions", completions.clone(), detail));
    }
    let fields = [
        "spec.selector",
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.successPolicy",
    ];
    immutable(new, Some(old), &fields, causes);
    let mut expected = old.clone();
    // While none of its pods has been started, where they run may still be decided.
    if old.bool_at("/spec/suspend") && value(old, "status.startTime").is_null() {
        for part in [
            "metadata/labels",
            "metadata/annotations",
            "spec/nodeSelector",
            "spec/affinity",
            "spec/tolerations",
            "spec/schedulingGates",
        ] {
            crate::api::strategy::restore(&mut expected, new, &format!("/spec/template/{part}"));
        }
    }
    immutable(new, Some(&expected), &["spec.template"], causes);
}
