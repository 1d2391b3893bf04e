use serde_json::{Value, json};

use super::{created, merged, once, refused, template};
use crate::api::kinds::*;

#[test]
fn jobs() {
    let mut endless = once(json!({}));
    endless["template"]["spec"]["restartPolicy"] = "Always".into();
    let failing = |rule: Value| once(json!({"podFailurePolicy": {"rules": [rule]}}));
    let codes = |over: Value| failing(merged(json!({"action": "FailJob"}), json!({"onExitCodes": over})));
    let path = "spec.podFailurePolicy.rules[0]";
    let indexed = |over: Value| once(merged(json!({"completionMode": "Indexed", "completions": 3}), over));
    let succeeding = |rule: Value| indexed(json!({"successPolicy": {"rules": [rule]}}));
    refused(
        JOB,
        &[
            (
                endless,
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ),
            (once(json!({"backoffLimit": -1})), "spec.backoffLimit: Invalid value: -1: must be greater"),
            (once(json!({"completionMode": "x"})), "spec.completionMode: Unsupported value: \"x\""),
            (
                once(json!({"completionMode": "Indexed", "parallelism": 1})),
                "spec.completions: Required value: when completion mode is Indexed",
            ),
            (
                once(json!({"backoffLimitPerIndex": 1})),
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed",
            ),
            (
                indexed(json!({"maxFailedIndexes": 1})),
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes",
            ),
            (
                once(json!({"managedBy": "me"})),
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path",
            ),
            (
                once(
                    json!({"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u", "app": "web"}}}),
                ),
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: \
              `selector` not auto-generated",
            ),
            (
                failing(json!({"action": "Ignore"})),
                &format!("{path}: Invalid value: {{\"action\":\"Ignore\"}}: specifying one"),
            ),
            (
                failing(json!({"action": "x", "onPodConditions": [{"type": "a"}]})),
                &format!("{path}.action: Unsupported"),
            ),
            (
                codes(json!({"operator": "In", "values": [0]})),
                &format!("{path}.onExitCodes.values[0]: Invalid value: 0"),
            ),
            (
                codes(json!({"operator": "In", "values": [2, 1]})),
                &format!("{path}.onExitCodes.values: Invalid value: [2,1]"),
            ),
            (
                codes(json!({"operator": "In", "values": [1], "containerName": "b"})),
                &format!(
                    "{path}.onExitCodes.containerName: Invalid value: \"b\": must be one of the container"
                ),
            ),
            (
                succeeding(json!({})),
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount",
            ),
            (
                succeeding(json!({"succeededIndexes": "0,3"})),
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value",
            ),
            (
                succeeding(json!({"succeededIndexes": "2,0-1"})),
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value",
            ),
            (
                succeeding(json!({"succeededIndexes": "0-1", "succeededCount": 3})),
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to the number",
            ),
        ],
    );
    let (_, found) = created(JOB, json!({"spec": codes(json!({"operator": "NotIn", "values": [0, 1]}))}));
    assert_eq!(found, [""; 0]);
    let taken =
        json!({"metadata": {"labels": {"job-name": "other"}}, "spec": once(json!({}))["template"]["spec"]});
    let (_, found) = created(JOB, json!({"spec": {"template": taken}}));
    assert!(
        found.len() == 1
            && found[0].contains("[job-name]: Invalid value")
            && found[0].ends_with("must be 'web'")
    );
    let (_, found) = created(
        JOB,
        json!({"metadata": {"name": "a.b", "uid": "u", "namespace": "default"},
        "spec": indexed(json!({}))}),
    );
    assert_eq!(
        found,
        ["metadata.name: Invalid value: \"a.b\": will not able to create pod with invalid DNS label: a.b-2"]
    );
    let manual = once(json!({"manualSelector": true}));
    let (_, found) = created(JOB, json!({"spec": manual}));
    assert_eq!(found[0], "spec.selector: Required value");
}

#[test]
fn cron_jobs() {
    let of = |over: Value| {
        merged(json!({"schedule": "* * * * *", "jobTemplate": {"spec": once(json!({}))}}), over)
    };
    refused(
        CRON_JOB,
        &[
            (
                of(json!({"schedule": "* *"})),
                "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]",
            ),
            (
                of(json!({"schedule": "TZ=UTC * * * * *"})),
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ",
            ),
            (
                of(json!({"timeZone": ""})),
                "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string",
            ),
            (
                of(json!({"timeZone": "Nowhere!"})),
                "spec.timeZone: Invalid value: \"Nowhere!\": unknown time zone Nowhere!",
            ),
            (
                of(json!({"concurrencyPolicy": "x"})),
                "spec.concurrencyPolicy: Unsupported value: \"x\": supported values: \"Allow\"",
            ),
            (of(json!({"startingDeadlineSeconds": -1})), "spec.startingDeadlineSeconds: Invalid value: -1"),
            (
                of(json!({"jobTemplate": {"spec": once(json!({"parallelism": -1}))}})),
                "spec.jobTemplate.spec.parallelism: Invalid",
            ),
            (
                of(json!({"jobTemplate": {"spec": once(json!({"selector": {"matchLabels": {"a": "b"}}}))}})),
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
            ),
            (
                of(json!({"jobTemplate": {"spec": once(json!({"template": template()}))}})),
                "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values:",
            ),
        ],
    );
    let (_, found) = created(CRON_JOB, json!({"spec": of(json!({"schedule": ""}))}));
    assert!(found.iter().all(|text| text == "spec.schedule: Required value"), "{found:?}");
    let (_, found) = created(
        CRON_JOB,
        json!({"metadata": {"name": "a".repeat(53), "namespace": "default"},
        "spec": of(json!({}))}),
    );
    assert!(found.len() == 1 && found[0].ends_with("must be no more than 52 characters"), "{found:?}");
}

#[test]
fn autoscalers_and_budgets() {
    let of = |over: Value| {
        merged(json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3}), over)
    };
    let metric = |metric: Value| of(json!({"metrics": [metric]}));
    let cpu =
        |target: Value| metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    let at = "spec.metrics[0]";
    refused(
        HORIZONTAL_POD_AUTOSCALER,
        &[
            (
                of(json!({"minReplicas": 0})),
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            ),
            (
                of(json!({"minReplicas": 4})),
                "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
            ),
            (
                of(json!({"scaleTargetRef": {"kind": "a/b", "name": "c"}})),
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            ),
            (
                metric(json!({"type": "Pods"})),
                &format!("{at}.pods: Required value: must populate information for"),
            ),
            (
                metric(json!({"type": "x"})),
                &format!("{at}.type: Unsupported value: \"x\": supported values: \"ContainerResource\""),
            ),
            (
                cpu(json!({"type": "Utilization"})),
                &format!("{at}.resource.target.averageUtilization: Required value: must set either"),
            ),
            (
                cpu(json!({"type": "x", "averageUtilization": 5})),
                &format!("{at}.resource.target.type: Invalid value: \"x\": must be either"),
            ),
            (
                cpu(json!({"type": "Value", "averageValue": "-1"})),
                &format!("{at}.resource.target.averageValue: Invalid value: \"-1\": must be positive"),
            ),
            (
                of(json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}})),
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            ),
            (
                of(
                    json!({"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}}),
                ),
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            ),
        ],
    );
    refused(
        POD_DISRUPTION_BUDGET,
        &[
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and",
            ),
            (
                json!({"minAvailable": "200%"}),
                "spec.minAvailable: Invalid value: \"200%\": must not be greater than 100%",
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "x"}),
                "spec.unhealthyPodEvictionPolicy: Unsupported value",
            ),
        ],
    );
}
