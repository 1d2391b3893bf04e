//! Kinds that keep pods running: stored, checked, shown and scaled.

use serde_json::{Value, json};

use crate::server::Server;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: a
        image: nginx:1.27
";

const APPS: &str = "/apis/apps/v1/namespaces/default";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// A table as kubectl prints it, with one blank between cells.
fn cells(table: &str) -> Vec<String> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_deployment_with_kubectl() {
    let server = Server::start();
    server.write("web.yaml", DEPLOYMENT);
    let created = server.kubectl("apply -f web.yaml").ok();
    assert!(created.contains("deployment.apps/web created"), "{created}");
    assert!(server.kubectl("apply -f web.yaml").ok().contains("deployment.apps/web unchanged"));
    let shown = cells(&server.kubectl("get deploy -o wide").ok());
    assert_eq!(shown[0], "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR");
    assert!(shown[1].starts_with("web 0/2 ") && shown[1].ends_with(" a nginx:1.27 app=web"), "{shown:?}");

    assert!(server.kubectl("scale deploy/web --replicas=3").ok().contains("deployment.apps/web scaled"));
    let mismatch = server.kubectl("scale deploy/web --replicas=1 --current-replicas=9").fails();
    assert!(mismatch.contains("Expected replicas to be 9, was 3"), "{mismatch}");
    let scale = server.kubectl("get deploy web --subresource=scale -o json").ok();
    let scale: Value = serde_json::from_str(&scale).unwrap();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"]["selector"], "app=web");
    let refused =
        server.kubectl("patch deploy web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":-1}}");
    let refused = refused.fails();
    let expected =
        "The Scale \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert!(refused.contains(expected), "{refused}");

    assert!(server.kubectl("set image deploy/web a=nginx:1.28").ok().contains("image updated"));
    assert!(server.kubectl("rollout pause deploy/web").ok().contains("paused"));
    assert!(server.kubectl("rollout resume deploy/web").ok().contains("resumed"));
    assert!(server.kubectl("rollout restart deploy/web").ok().contains("restarted"));
    server.kubectl("rollout history deploy/web").ok();
    // Created, scaled, image, pause, resume, restart: each changed the specification.
    assert_eq!(server.kubectl("get deploy web -o jsonpath={.metadata.generation}").ok(), "6");
    // There is no node: nothing becomes available.
    let waiting = server.kubectl("rollout status deploy/web --watch=false").ok();
    assert!(waiting.contains("Waiting for deployment"), "{waiting}");

    server.write("web.yaml", &DEPLOYMENT.replace("app: web", "app: site"));
    let refused = server.kubectl("apply -f web.yaml").fails();
    assert!(refused.contains("field is immutable"), "{refused}");
    server.write(
        "web.yaml",
        &DEPLOYMENT.replace("      containers:", "      runtimeClassName: kata\n      containers:"),
    );
    let refused = server.kubectl("apply -f web.yaml").fails();
    assert!(
        refused.contains("spec.template.spec.runtimeClassName: Forbidden: not supported by midge"),
        "{refused}"
    );
    assert!(server.kubectl("get deploy --field-selector=spec.replicas=3").fails().contains("field selector"));
    assert!(server.kubectl("delete deploy web").ok().contains("deleted"));
}

#[test]
fn every_kind_is_listed_as_upstream_lists_it() {
    let server = Server::start();
    let pods = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "containers": [{"name": "a", "image": "x"}]}});
    let mut once = pods.clone();
    once["spec"]["restartPolicy"] = "OnFailure".into();
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": pods});
    let none = json!({"selector": {"matchLabels": {"app": "web"}}, "template": pods, "replicas": 0});
    let kinds = midge::api::kinds::Catalogue::default();
    for (path, kind, body, columns, row) in [
        ("apps/v1", "ReplicaSet", json!({"spec": none}), "NAME DESIRED CURRENT READY AGE", "web 0 0 0"),
        (
            "apps/v1",
            "DaemonSet",
            json!({"spec": spec}),
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE",
            "web 0 0 0 0 0 <none>",
        ),
        ("apps/v1", "StatefulSet", json!({"spec": none}), "NAME READY AGE", "web 0/0"),
        (
            "apps/v1",
            "ControllerRevision",
            json!({"data": {}, "revision": 2}),
            "NAME CONTROLLER REVISION AGE",
            "web <none> 2",
        ),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"template": once}}),
            "NAME STATUS COMPLETIONS DURATION AGE",
            "web Running 0/1",
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": once}}}}),
            "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE",
            "web @daily <none> False 0 <none>",
        ),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 2}}),
            "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE",
            "web Deployment/web cpu: <unknown>/80% 1 2 0",
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"maxUnavailable": 1}}),
            "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
            "web N/A 1 0",
        ),
        (
            "v1",
            "PodTemplate",
            json!({"template": pods}),
            "NAME CONTAINERS IMAGES POD LABELS",
            "web a x app=web",
        ),
        (
            "v1",
            "ReplicationController",
            json!({"spec": {"template": pods, "replicas": 0}}),
            "NAME DESIRED CURRENT READY AGE",
            "web 0 0 0",
        ),
    ] {
        let mut body = body;
        body["metadata"] = json!({"name": "web"});
        let plural = format!("{}s", kind.to_lowercase());
        let root = if path == "v1" { "/api/v1".to_owned() } else { format!("/apis/{path}") };
        let answer =
            server.ask("POST", &format!("{root}/namespaces/default/{plural}"), &[], body.to_string());
        let answer = answer.is(201);
        let said = answer.headers.get("warning").and_then(|value| value.to_str().ok()).unwrap_or("");
        let inert = kinds.of(path, kind).unwrap().is_inert;
        assert_eq!(said.contains("has no controller that acts on them yet"), inert, "{kind}: {said}");
        let shown = cells(&server.kubectl(&format!("get {plural}")).ok());
        assert_eq!(shown[0], columns, "{kind}");
        assert!(shown[1].starts_with(row), "{kind}: {shown:?}");
    }
    // The Job's own labels are those of its pods, found by them.
    let uid = server.kubectl("get job web -o jsonpath={.metadata.uid}").ok();
    let found = server.kubectl("get job web -o jsonpath={.spec.selector.matchLabels}").ok();
    assert!(found.contains(&uid), "{found}");
    for (selector, count) in
        [("jobs?fieldSelector=status.successful%3D0", 1), ("jobs?fieldSelector=status.successful!%3D0", 0)]
    {
        let list = server.get(&format!("/apis/batch/v1/namespaces/default/{selector}")).is(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{selector}");
    }
}

#[test]
fn scales_on_the_wire() {
    let server = Server::start();
    server.write("web.yaml", DEPLOYMENT);
    server.kubectl("create -f web.yaml").ok();
    let path = format!("{APPS}/deployments/web/scale");
    // The controller may write its status in between, a few times.
    let put = || {
        let mut scale = server.get(&path).is(200).json();
        assert_eq!(scale["metadata"]["name"], "web");
        scale["spec"]["replicas"] = 4.into();
        let done = server.ask("PUT", &path, &[], scale.to_string());
        (done.code != 409).then_some((scale, done))
    };
    let (scale, done) = (0..20).find_map(|_| put()).unwrap();
    assert_eq!(done.is(200).json()["spec"]["replicas"], 4);
    // The version is that of before.
    let conflict = server.ask("PUT", &path, &[], scale.to_string()).is(409).message();
    assert!(conflict.contains("the object has been modified"), "{conflict}");
    let dry =
        server.ask("PATCH", &format!("{path}?dryRun=All"), &MERGE, r#"{"spec":{"replicas":9}}"#).is(200);
    assert_eq!(dry.json()["spec"]["replicas"], 9);
    let json_patch = [("content-type", "application/json-patch+json")];
    let patch = r#"[{"op":"test","path":"/spec/replicas","value":4},{"op":"replace","path":"/spec/replicas","value":0}]"#;
    server.ask("PATCH", &path, &json_patch, patch).is(200);
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    server.ask("PATCH", &path, &strategic, r#"{"spec":{"replicas":2}}"#).is(200);
    assert_eq!(server.get(&format!("{APPS}/deployments/web")).json()["spec"]["replicas"], 2);
    assert_eq!(server.get(&format!("{APPS}/deployments/web")).json()["metadata"]["generation"], 4);
    for (method, path, headers, body, code) in [
        ("PUT", path.as_str(), &[][..], r#"{"metadata":{"name":"other"},"spec":{"replicas":1}}"#, 400),
        ("PUT", &path, &[], r#"{"kind":"Pod","metadata":{"name":"web"}}"#, 400),
        ("PUT", &path, &[], r#"{"metadata":{"name":"web"},"spec":{"replicas":"many"}}"#, 400),
        ("PUT", &path, &[], r#"{"metadata":{"name":"web"},"spec":{"replicas":-2}}"#, 422),
        ("PATCH", &path, &[("content-type", "text/plain")], "{}", 415),
        ("PATCH", &path, &MERGE, r#"{"metadata":{"uid":"other"}}"#, 409),
        ("PATCH", &path, &MERGE, "{", 400),
        ("DELETE", &path, &[], "", 405),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/none/scale", &[], "", 404),
        ("GET", "/api/v1/namespaces/default/pods/web/scale", &[], "", 404),
    ] {
        let answer = server.ask(method, path, headers, body);
        assert_eq!(answer.code, code, "{method} {path} {body}: {}", answer.text);
    }
    let strict = format!("{path}?fieldValidation=Strict");
    let odd = r#"{"spec":{"replicas":2,"odd":1}}"#;
    assert!(
        server.ask("PATCH", &strict, &MERGE, odd).is(400).message().contains("unknown field \"spec.odd\"")
    );
    // Everything but the replicas is as it was.
    assert_eq!(server.get(&path).json()["spec"]["replicas"], 2);
}
