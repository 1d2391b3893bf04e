use serde_json::{Value, json};

use crate::api::kinds::*;
use crate::api::{Cause, Kind, Object, schema, strategy};

/// A new object as the registry makes it, and what is wrong with it.
fn created(kind: &Kind, body: Value) -> (Object, Vec<String>) {
    let mut object = Object::new(kind, "default", "web");
    object.set("/metadata/uid", "u");
    for (key, value) in body.as_object().unwrap() {
        object.set(&format!("/{key}"), value.clone());
    }
    schema::default(kind, &mut object);
    kind.strategy.prepare_create(&mut object);
    let causes = problems(kind, &object, None);
    (object, causes)
}

fn problems(kind: &Kind, new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut causes = schema::validate(kind, new).causes;
    causes.extend(strategy::validate(kind, new, old));
    causes.iter().map(Cause::to_string).collect()
}

/// What is wrong after a change of one field.
fn changed(kind: &Kind, old: &Object, field: &str, value: Value) -> Vec<String> {
    let mut new = old.clone();
    new.set(field, value);
    schema::default(kind, &mut new);
    kind.strategy.prepare_update(&mut new, old);
    problems(kind, &new, Some(old))
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}})
}

fn merged(mut base: Value, over: Value) -> Value {
    for (key, value) in over.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

/// A specification with a template and its selector.
fn spec(over: Value) -> Value {
    merged(json!({"selector": {"matchLabels": {"app": "web"}}, "template": template()}), over)
}

fn once(over: Value) -> Value {
    let mut template = template();
    template["spec"]["restartPolicy"] = "Never".into();
    merged(json!({"template": template}), over)
}

/// Cases with one problem each.
fn refused(kind: &Kind, cases: &[(Value, &str)]) {
    for (spec, expected) in cases {
        let (_, found) = created(kind, json!({"spec": spec}));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn defaults() {
    let (deployment, found) = created(DEPLOYMENT, json!({"spec": spec(json!({}))}));
    assert_eq!(found, [""; 0]);
    let mut pods = template();
    pods["spec"] = json!({
        "containers": [{"name": "a", "image": "x", "imagePullPolicy": "Always", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30});
    let expected = json!({
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "selector": {"matchLabels": {"app": "web"}}, "template": pods});
    assert_eq!(deployment.at("/spec"), Some(&expected));
    assert_eq!(deployment.at("/status"), Some(&json!({})));

    for (kind, spec, expected) in [
        (REPLICA_SET, spec(json!({})), json!({"/spec/replicas": 1, "/status": {"replicas": 0}})),
        (
            DAEMON_SET,
            spec(json!({})),
            json!({"/spec/revisionHistoryLimit": 10, "/spec/updateStrategy":
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}),
        ),
        (
            DAEMON_SET,
            spec(json!({"updateStrategy": {"type": "OnDelete"}})),
            json!({
            "/spec/updateStrategy": {"type": "OnDelete"}}),
        ),
        (
            STATEFUL_SET,
            spec(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]})),
            json!({"/spec/podManagementPolicy": "OrderedReady", "/spec/replicas": 1,
                "/spec/updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "/spec/persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "/spec/volumeClaimTemplates/0/status/phase": "Pending",
                "/spec/volumeClaimTemplates/0/spec/volumeMode": "Filesystem"}),
        ),
        (
            REPLICATION_CONTROLLER,
            json!({"template": template()}),
            json!({"/spec/selector": {"app": "web"}, "/metadata/labels": {"app": "web"}, "/spec/replicas": 1}),
        ),
        (
            JOB,
            once(json!({})),
            json!({"/spec/parallelism": 1, "/spec/completions": 1, "/spec/backoffLimit": 6,
                "/spec/completionMode": "NonIndexed", "/spec/suspend": false,
                "/spec/podReplacementPolicy": "TerminatingOrFailed", "/metadata/labels": {"app": "web"},
                "/spec/selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "/spec/template/metadata/labels": {"app": "web", "controller-uid": "u", "job-name": "web",
                    "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "web"}}),
        ),
        (
            CRON_JOB,
            json!({"schedule": "@daily", "jobTemplate": {"spec": once(json!({}))}}),
            json!({"/spec/concurrencyPolicy": "Allow", "/spec/suspend": false, "/spec/failedJobsHistoryLimit": 1,
                "/spec/successfulJobsHistoryLimit": 3,
                "/spec/jobTemplate/spec/template/spec/containers/0/imagePullPolicy": "Always"}),
        ),
        (
            HORIZONTAL_POD_AUTOSCALER,
            json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 60}}}),
            json!({"/spec/minReplicas": 1, "/spec/metrics": [{"type": "Resource", "resource":
                    {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
                "/spec/behavior/scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "/spec/behavior/scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15}]}}),
        ),
        (POD_DISRUPTION_BUDGET, json!({"minAvailable": 1}), json!({"/status/disruptionsAllowed": 0})),
    ] {
        let (object, found) = created(kind, json!({"spec": spec}));
        assert_eq!(found, [""; 0], "{kind:?}");
        for (pointer, value) in expected.as_object().unwrap() {
            assert_eq!(object.at(pointer), Some(value), "{kind:?} {pointer}");
        }
    }
}

#[test]
fn deployments() {
    refused(
        DEPLOYMENT,
        &[
            (
                spec(json!({"replicas": -1})),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                spec(json!({"selector": {"matchLabels": {"app": "x"}}})),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template \
                 `labels`",
            ),
            (
                spec(json!({"selector": {}})),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                spec(json!({"selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
                    {"key": "app", "operator": "In"}]}})),
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' \
                 or 'NotIn'",
            ),
            (
                spec(json!({"strategy": {"type": "Rolling"}})),
                "spec.strategy.type: Unsupported value: \"Rolling\": supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                spec(json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}})),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                spec(json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}})),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ),
            (
                spec(json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}})),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                spec(json!({"strategy": {"rollingUpdate": {"maxSurge": "some"}}})),
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"some\": a valid percent string must be",
            ),
            (
                spec(json!({"minReadySeconds": 10, "progressDeadlineSeconds": 10})),
                "spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds",
            ),
        ],
    );
    let (_, found) = created(DEPLOYMENT, json!({"spec": {"template": template()}}));
    assert_eq!(found[0], "spec.selector: Required value");
    assert!(found.len() == 2 && found[1].starts_with("spec.template.metadata.labels: Invalid"), "{found:?}");
}

#[test]
fn templates_are_held_to_the_rules_of_pods() {
    let with = |over: Value| {
        let mut template = template();
        for (key, value) in over.as_object().unwrap() {
            template["spec"][key] = value.clone();
        }
        spec(json!({"template": template}))
    };
    refused(
        DEPLOYMENT,
        &[
            (with(json!({"containers": []})), "spec.template.spec.containers: Required value"),
            (
                with(json!({"restartPolicy": "Never"})),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                with(json!({"activeDeadlineSeconds": 5})),
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not \
                 Supported",
            ),
            (
                with(json!({"containers": [{"name": "A", "image": "x"}]})),
                "spec.template.spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label",
            ),
            (
                with(json!({"overhead": {"cpu": 1}})),
                "spec.template.spec.overhead: Forbidden: not supported by midge",
            ),
            (
                with(json!({"ephemeralContainers": [{"name": "e", "image": "x"}]})),
                "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
            ),
            (
                with(json!({"containers": [{"name": "a", "image": "x",
                    "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]})),
                "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
            ),
        ],
    );
    let mounted = with(json!({"containers": [{"name": "a", "image": "x",
        "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}));
    let claims = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let (set, found) =
        created(STATEFUL_SET, json!({"spec": merged(mounted, json!({"volumeClaimTemplates": claims}))}));
    assert_eq!(found, [""; 0]);
    assert!(set.at("/spec/template/spec/volumes").is_none(), "claims are no part of the template");
    let (_, found) =
        created(POD_TEMPLATE, json!({"template": {"metadata": {"labels": {"-": "x"}}, "spec": {}}}));
    assert!(found.iter().any(|text| text.starts_with("template.labels: Invalid value: \"-\"")), "{found:?}");

    // What was stored when this midge was older can still be scaled, but not be given more of the same.
    let (mut old, _) = created(DEPLOYMENT, json!({"spec": spec(json!({}))}));
    old.set("/spec/template/spec/overhead", json!({"cpu": "1"}));
    assert_eq!(changed(DEPLOYMENT, &old, "/spec/replicas", json!(3)), [""; 0]);
    let found = changed(DEPLOYMENT, &old, "/spec/template/spec/hostname", json!("web"));
    assert!(found.len() == 1 && found[0].starts_with("spec.template.spec.overhead: Forbidden"), "{found:?}");
}

#[test]
fn sets() {
    let rolling = |over: Value| spec(json!({"updateStrategy": {"rollingUpdate": over}}));
    let path = "spec.updateStrategy.rollingUpdate";
    refused(
        DAEMON_SET,
        &[
            (
                rolling(json!({"maxUnavailable": 0})),
                &format!("{path}.maxUnavailable: Required value: cannot be 0 when"),
            ),
            (
                rolling(json!({"maxSurge": 1})),
                &format!("{path}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
            ),
            (
                spec(json!({"updateStrategy": {"type": "x"}})),
                "spec.updateStrategy: Unsupported value: {\"type\":\"x\"}",
            ),
        ],
    );
    refused(
        STATEFUL_SET,
        &[
            (
                rolling(json!({"partition": -1})),
                &format!("{path}.partition: Invalid value: -1: must be greater"),
            ),
            (
                rolling(json!({"maxUnavailable": 0})),
                &format!("{path}.maxUnavailable: Invalid value: 0: cannot be 0"),
            ),
            (
                spec(json!({"podManagementPolicy": "x"})),
                "spec.podManagementPolicy: Invalid value: \"x\": must be 'Ord",
            ),
            (
                spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}})),
                &format!("{path}: Invalid"),
            ),
            (spec(json!({"ordinals": {"start": -1}})), "spec.ordinals.start: Invalid value: -1"),
        ],
    );
    let (set, _) = created(STATEFUL_SET, json!({"spec": spec(json!({"serviceName": "a"}))}));
    assert_eq!(changed(STATEFUL_SET, &set, "/spec/replicas", json!(2)), [""; 0]);
    let found = changed(STATEFUL_SET, &set, "/spec/serviceName", json!("b"));
    assert!(
        found[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")
    );
    refused(
        REPLICATION_CONTROLLER,
        &[
            (
                json!({"selector": {"app": "x"}, "template": template()}),
                "spec.template.metadata.labels: Invalid value",
            ),
            (json!({"template": {"spec": template()["spec"]}}), "spec.selector: Required value"),
        ],
    );
}

#[test]
fn what_cannot_change() {
    for kind in [DEPLOYMENT, REPLICA_SET, DAEMON_SET] {
        let (old, _) = created(kind, json!({"spec": spec(json!({}))}));
        let mut new = old.clone();
        new.set("/spec/template/metadata/labels/b", "c");
        let found = changed(kind, &new, "/spec/selector/matchLabels", json!({"b": "c"}));
        let expected = "spec.selector: Invalid value: {\"matchLabels\":{\"b\":\"c\"}}: field is immutable";
        assert_eq!(found, [expected], "{kind:?}");
    }
    let (job, _) = created(JOB, json!({"spec": once(json!({"suspend": true}))}));
    assert_eq!(changed(JOB, &job, "/spec/parallelism", json!(2)), [""; 0]);
    assert_eq!(changed(JOB, &job, "/spec/suspend", json!(false)), [""; 0]);
    assert_eq!(changed(JOB, &job, "/spec/template/spec/nodeSelector", json!({"a": "b"})), [""; 0]);
    for (field, value) in [
        ("completions", json!(2)),
        ("completionMode", json!("Indexed")),
        ("template/spec/hostname", json!("other")),
    ] {
        let found = changed(JOB, &job, &format!("/spec/{field}"), value);
        assert!(found.len() == 1 && found[0].ends_with("field is immutable"), "{field}: {found:?}");
    }
    let (revision, found) = created(CONTROLLER_REVISION, json!({"data": {"a": 1}, "revision": 1}));
    assert_eq!(found, [""; 0]);
    assert_eq!(
        changed(CONTROLLER_REVISION, &revision, "/data", json!({"a": 2})),
        ["data: Invalid value: {\"a\":2}: field is immutable"]
    );
}

#[test]
fn a_deployments_generation_counts_annotations() {
    let (mut old, _) = created(DEPLOYMENT, json!({"spec": spec(json!({}))}));
    old.set("/metadata/generation", 4);
    let mut new = old.clone();
    new.set("/metadata/annotations/a", "b");
    DEPLOYMENT.strategy.prepare_update(&mut new, &old);
    assert_eq!(new.generation(), 5);
    let mut new = old.clone();
    new.set("/metadata/labels", json!({"a": "b"}));
    DEPLOYMENT.strategy.prepare_update(&mut new, &old);
    assert_eq!(new.generation(), 4);
}

#[test]
fn statuses() {
    let (old, _) = created(DEPLOYMENT, json!({"spec": spec(json!({}))}));
    let mut new = old.clone();
    new.set("/spec/replicas", 9);
    new.set("/status", json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": -1}));
    DEPLOYMENT.strategy.prepare_status_update(&mut new, &old);
    assert_eq!(new.at("/spec"), old.at("/spec"));
    assert_eq!(
        problems(DEPLOYMENT, &new, Some(&old)),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: -1: must be greater than or equal to 0"
        ]
    );
    new.set("/metadata/labels", json!({"a": "b"}));
    DEPLOYMENT.strategy.prepare_update(&mut new, &old);
    assert_eq!(new.at("/status"), old.at("/status"));
}

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
