//! What a Job makes of its pods' ends: podFailurePolicy and successPolicy.

use serde_json::Value;

use super::indexes::Indexes;
use crate::api::Object;

/// What a failed pod means to its Job.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// Why the whole Job fails.
    pub fails: Option<String>,
    /// Whether it counts towards the back-off limit.
    pub counts: bool,
    /// Whether its index fails at once.
    pub fails_index: bool,
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The first rule that matches decides; without one the pod counts.
pub fn of_failure(job: &Object, pod: &Object) -> Verdict {
    for (at, rule) in job.array_at("/spec/podFailurePolicy/rules").iter().enumerate() {
        let matched = match rule.get("onExitCodes") {
            Some(codes) => exit_code(codes, pod).map(|(container, code)| {
                let pod = format!("{}/{}", pod.namespace(), pod.name());
                format!("Container {container} for pod {pod} failed with exit code {code}")
            }),
            None => condition(list(rule, "onPodConditions"), pod)
                .map(|kind| format!("Pod {}/{} has condition {kind}", pod.namespace(), pod.name())),
        };
        let Some(what) = matched else { continue };
        let (fails, counts, fails_index) = match rule["action"].as_str().unwrap_or_default() {
            "Ignore" => (None, false, false),
            "FailIndex" => (None, true, true),
            "FailJob" => (Some(format!("{what} matching FailJob rule at index {at}")), true, false),
            _ => (None, true, false),
        };
        return Verdict { fails, counts, fails_index };
    }
    Verdict { fails: None, counts: true, fails_index: false }
}

/// The first container that failed with one of the codes.
fn exit_code<'a>(codes: &Value, pod: &'a Object) -> Option<(&'a str, i64)> {
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    statuses.iter().flat_map(|list| pod.array_at(list)).find_map(|status| {
        let name = status["name"].as_str().unwrap_or_default();
        let code = status.pointer("/state/terminated/exitCode")?.as_i64().filter(|code| *code != 0)?;
        let named = codes.get("containerName").and_then(Value::as_str).is_none_or(|wanted| wanted == name);
        let listed = list(codes, "values").iter().any(|value| *value == code);
        (named && listed == (codes["operator"] == "In")).then_some((name, code))
    })
}

fn condition<'a>(patterns: &'a [Value], pod: &Object) -> Option<&'a str> {
    let conditions = pod.array_at("/status/conditions");
    let matches = |pattern: &Value| {
        let status = pattern.get("status").and_then(Value::as_str).unwrap_or("True");
        conditions.iter().any(|found| found["type"] == pattern["type"] && found["status"] == status)
    };
    patterns.iter().find(|pattern| matches(pattern))?["type"].as_str()
}

/// The message of the first rule of successPolicy that is met.
pub fn success(job: &Object, succeeded: &Indexes, completions: i64) -> Option<String> {
    let total = succeeded.total();
    let met = |rule: &Value| {
        let count = rule.get("succeededCount").and_then(Value::as_i64);
        match rule.get("succeededIndexes").and_then(Value::as_str) {
            Some(wanted) => {
                let wanted = Indexes::parse(wanted, completions);
                wanted.shared(succeeded) >= count.unwrap_or(wanted.total())
            }
            None => count.is_some_and(|count| total >= count),
        }
    };
    let rules = job.array_at("/spec/successPolicy/rules");
    let at = rules.iter().position(met).filter(|_| total > 0)?;
    Some(format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let job = |rules: Value| {
            Object::from_value(json!({"spec": {"podFailurePolicy": {"rules": rules}}})).unwrap()
        };
        let pod = Object::from_value(json!({"metadata": {"namespace": "a", "name": "p"}, "status": {
            "containerStatuses": [{"name": "ok", "state": {"terminated": {"exitCode": 0}}},
                {"name": "main", "state": {"terminated": {"exitCode": 42}}}],
            "conditions": [{"type": "DisruptionTarget", "status": "True"}]}}))
        .unwrap();
        let codes = |operator: &str, values: &[i64]| json!({"operator": operator, "values": values});
        let table = [
            (json!([]), (None, true, false)),
            (
                json!([{"action": "FailJob", "onExitCodes": codes("In", &[1, 42])}]),
                (
                    Some(
                        "Container main for pod a/p failed with exit code 42 matching FailJob rule at index 0",
                    ),
                    true,
                    false,
                ),
            ),
            (
                json!([{"action": "FailJob", "onExitCodes": codes("NotIn", &[42])},
                {"action": "FailIndex", "onExitCodes": codes("NotIn", &[1])}]),
                (None, true, true),
            ),
            (
                json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]),
                (None, false, false),
            ),
            (
                json!([{"action": "FailJob", "onPodConditions": [{"type": "Other", "status": "True"}, {"type": "DisruptionTarget", "status": "True"}]}]),
                (
                    Some("Pod a/p has condition DisruptionTarget matching FailJob rule at index 0"),
                    true,
                    false,
                ),
            ),
            (
                json!([{"action": "Count", "onExitCodes": codes("In", &[42])}, {"action": "Ignore", "onExitCodes": codes("In", &[42])}]),
                (None, true, false),
            ),
        ];
        for (rules, (fails, counts, fails_index)) in table {
            let expected = Verdict { fails: fails.map(str::to_owned), counts, fails_index };
            assert_eq!(of_failure(&job(rules.clone()), &pod), expected, "{rules}");
        }
    }

    #[test]
    fn success_by_count_by_indexes_or_by_both() {
        let met = |rule: Value, succeeded: &str| {
            let job = Object::from_value(json!({"spec": {"successPolicy": {"rules": [rule]}}})).unwrap();
            success(&job, &Indexes::parse(succeeded, 10), 10).is_some()
        };
        assert!(met(json!({"succeededCount": 2}), "3,7") && !met(json!({"succeededCount": 3}), "3,7"));
        assert!(
            met(json!({"succeededIndexes": "0,2-3"}), "0-5")
                && !met(json!({"succeededIndexes": "0,2-3"}), "0,2")
        );
        assert!(met(json!({"succeededIndexes": "0-5", "succeededCount": 1}), "4,8"));
        assert!(!met(json!({"succeededIndexes": "0-5", "succeededCount": 1}), "8"));
    }
}
