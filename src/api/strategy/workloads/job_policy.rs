//! What a Job makes of its pods' ends: podFailurePolicy and successPolicy.

use serde_json::Value;

use super::value;
use crate::api::strategy::pod::{has, list, text};
use crate::api::{Cause, Object, names};

const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

/// Checks both below `at`, the field of a Job's specification.
pub fn validate(job: &Object, at: &str, causes: &mut Vec<Cause>) {
    let spec = value(job, at);
    failure(spec, &format!("{at}.podFailurePolicy"), causes);
    success(spec, &format!("{at}.successPolicy"), causes);
    if has(spec, "podFailurePolicy") && text(spec, "podReplacementPolicy") == "TerminatingOrFailed" {
        let field = format!("{at}.podReplacementPolicy");
        causes.push(Cause::not_supported(field, "TerminatingOrFailed", &["Failed"]));
    }
}

fn failure(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let Some(policy) = spec.get("podFailurePolicy") else { return };
    let rules = list(policy, "rules");
    if rules.len() > MOST_RULES {
        causes.push(Cause::too_many(format!("{field}.rules"), rules.len(), MOST_RULES));
        return;
    }
    let containers = ["/template/spec/containers", "/template/spec/initContainers"];
    let containers: Vec<&str> = containers
        .iter()
        .filter_map(|list| spec.pointer(list)?.as_array())
        .flatten()
        .map(|container| text(container, "name"))
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}.rules[{index}]");
        if text(rule, "action") == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
            let detail = "requires the backoffLimitPerIndex to be set";
            causes.push(Cause::invalid(format!("{field}.action"), "FailIndex", detail));
        }
        match (rule.get("onExitCodes"), list(rule, "onPodConditions")) {
            (None, []) => {
                let detail = "specifying one of OnExitCodes and OnPodConditions is required";
                causes.push(Cause::invalid(field, rule.clone(), detail));
            }
            (Some(_), [_, ..]) => {
                let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
                causes.push(Cause::invalid(field, rule.clone(), detail));
            }
            (Some(codes), []) => exit_codes(codes, &containers, &format!("{field}.onExitCodes"), causes),
            (None, conditions) => pod_conditions(conditions, &format!("{field}.onPodConditions"), causes),
        }
    }
}

fn exit_codes(codes: &Value, containers: &[&str], field: &str, causes: &mut Vec<Cause>) {
    let name = text(codes, "containerName");
    if has(codes, "containerName") && !containers.contains(&name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        causes.push(Cause::invalid(format!("{field}.containerName"), name, detail));
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let all = || Value::from(values.as_slice());
    let field = format!("{field}.values");
    if values.is_empty() {
        causes.push(Cause::invalid(field, all(), "at least one value is required"));
        return;
    }
    if values.len() > MOST_CODES {
        causes.push(Cause::too_many(field, values.len(), MOST_CODES));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        if *value == 0 && text(codes, "operator") == "In" {
            let detail = "must not be 0 for the In operator";
            causes.push(Cause::invalid(format!("{field}[{index}]"), 0, detail));
        }
        if values.iter().take(index).any(|other| other == value) {
            causes.push(Cause::duplicate(format!("{field}[{index}]"), *value));
        }
    }
    if !values.is_sorted() {
        causes.push(Cause::invalid(field, all(), "must be ordered"));
    }
}

fn pod_conditions(conditions: &[Value], field: &str, causes: &mut Vec<Cause>) {
    if conditions.len() > MOST_RULES {
        causes.push(Cause::too_many(field, conditions.len(), MOST_RULES));
        return;
    }
    for (index, condition) in conditions.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if let Err(message) = names::is_label_key(kind) {
            causes.push(Cause::invalid(format!("{field}[{index}].type"), kind, &message));
        }
        if !matches!(status, "False" | "True" | "Unknown") {
            let supported = &["False", "True", "Unknown"];
            causes.push(Cause::not_supported(format!("{field}[{index}].status"), status, supported));
        }
    }
}

fn success(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let Some(policy) = spec.get("successPolicy") else { return };
    if text(spec, "completionMode") != "Indexed" {
        causes.push(Cause::invalid(field, policy.clone(), "requires indexed completion mode"));
        return;
    }
    let rules = list(policy, "rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        causes.push(Cause::required(format!("{field}.rules"), detail));
    }
    if rules.len() > MOST_RULES {
        causes.push(Cause::too_many(format!("{field}.rules"), rules.len(), MOST_RULES));
        return;
    }
    let completions = spec.get("completions").and_then(Value::as_i64).unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}.rules[{index}]");
        if !has(rule, "succeededCount") && !has(rule, "succeededIndexes") {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            causes.push(Cause::required(field.as_str(), detail));
        }
        let mut most = (completions, "must be less than or equal to completions");
        if has(rule, "succeededIndexes") {
            let indexes = text(rule, "succeededIndexes");
            match count_indexes(indexes, completions) {
                Err(detail) => {
                    causes.push(Cause::invalid(format!("{field}.succeededIndexes"), indexes, &detail));
                }
                Ok(count) => {
                    most = (count, "must be less than or equal to the number of indexes in succeededIndexes");
                }
            }
        }
        let Some(count) = rule.get("succeededCount").and_then(Value::as_i64) else { continue };
        let field = format!("{field}.succeededCount");
        if count < 0 {
            causes.push(Cause::invalid(field, count, super::NOT_NEGATIVE));
        } else if count > most.0 {
            causes.push(Cause::invalid(field, count, most.1));
        }
    }
}

/// How many indexes `1,3-5,7` names; they grow, and are below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut next) = (0, 0);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let number = |text: &str| match text.parse::<i64>() {
            Ok(number) if number >= completions => Err("too large index: must be less than completions"),
            Ok(number) if number >= 0 => Ok(number),
            _ => Err("cannot convert string to integer for index"),
        };
        let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
        let of = |text: &str| number(text).map_err(|problem| format!("{problem}: {text:?}"));
        let (first, last) = (of(first)?, of(last)?);
        if first < next || last < first {
            return Err(format!("non-increasing order, previous: {}, current: {first}", next - 1));
        }
        total += last - first + 1;
        next = last + 1;
    }
    Ok(total)
}
