//! When a container that has ended is started again: its own policy, and rules by exit code.

use serde_json::Value;

use crate::api::Cause;
use crate::api::strategy::pod::{list, text};

const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;

pub fn validate(field: &str, container: &Value, causes: &mut Vec<Cause>) {
    let policy = text(container, "restartPolicy");
    let rules = list(container, "restartPolicyRules");
    if !policy.is_empty() {
        one_of(format!("{field}.restartPolicy"), policy, &["Always", "Never", "OnFailure"], causes);
    } else if !rules.is_empty() {
        let detail = "must specify restartPolicy when restart rules are used";
        causes.push(Cause::required(format!("{field}.restartPolicy"), detail));
    }
    let field = format!("{field}.restartPolicyRules");
    if rules.len() > MAX_RULES {
        causes.push(Cause::too_many(field, rules.len(), MAX_RULES));
        return;
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let actions = &["Restart", "RestartAllContainers"];
        one_of(format!("{field}.action"), text(rule, "action"), actions, causes);
        let field = format!("{field}.exitCodes");
        let Some(codes) = rule.get("exitCodes").filter(|codes| !codes.is_null()) else {
            causes.push(Cause::required(field, "must be specified"));
            continue;
        };
        one_of(format!("{field}.operator"), text(codes, "operator"), &["In", "NotIn"], causes);
        let count = list(codes, "values").len();
        if count > MAX_CODES {
            causes.push(Cause::too_many(format!("{field}.values"), count, MAX_CODES));
        }
    }
}

fn one_of(field: String, value: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    if !supported.contains(&value) {
        causes.push(Cause::not_supported(field, value, supported));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_in_upstreams_words() {
        let rule = |operator: &str, codes: usize| json!({"action": "Restart", "exitCodes": {"operator": operator, "values": vec![1; codes]}});
        for (container, expected) in [
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [rule("In", 255), rule("NotIn", 0)]}),
                vec![],
            ),
            (
                json!({"restartPolicy": "never"}),
                vec![
                    "c.restartPolicy: Unsupported value: \"never\": supported values: \"Always\", \"Never\", \"OnFailure\"",
                ],
            ),
            (
                json!({"restartPolicyRules": [rule("In", 1)]}),
                vec![
                    "c.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "DoNotRestart"}, rule("Equals", 256)]}),
                vec![
                    "c.restartPolicyRules[0].action: Unsupported value: \"DoNotRestart\": supported values: \"Restart\", \"RestartAllContainers\"",
                    "c.restartPolicyRules[0].exitCodes: Required value: must be specified",
                    "c.restartPolicyRules[1].exitCodes.operator: Unsupported value: \"Equals\": supported values: \"In\", \"NotIn\"",
                    "c.restartPolicyRules[1].exitCodes.values: Too many: 256: must have at most 255 items",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": vec![rule("In", 1); 21]}),
                vec!["c.restartPolicyRules: Too many: 21: must have at most 20 items"],
            ),
        ] {
            let mut causes = Vec::new();
            validate("c", &container, &mut causes);
            let messages: Vec<String> = causes.iter().map(Cause::to_string).collect();
            assert_eq!(messages, expected, "{container}");
        }
    }
}
