use super::*;
use serde_json::json;

fn pod(containers: Value) -> Object {
    let metadata = json!({"name": "web", "namespace": "shop", "uid": "u"});
    Object::from_value(json!({"metadata": metadata, "spec": {"containers": containers}})).unwrap()
}

fn of(container: Value) -> Result<Vec<(String, String)>, String> {
    let pod = pod(json!([container, {"name": "other", "resources": {"limits": {"memory": "3Mi"}}}]));
    let facts = Facts {
        pod_ips: &[],
        host_ips: &[],
        server: "",
        configs: &Configs::new("/nonexistent".into()),
        allocatable: Resources { cpu_millis: 4000, memory: 1 << 30, disk: 1 << 33, huge_pages: 0 },
    };
    env(&pod, &pod.array_at("/spec/containers")[0], &facts).map_err(|error| error.to_string())
}

#[test]
fn amounts() {
    let resources = json!({"limits": {"cpu": "1500m"}, "requests": {"cpu": "250m", "memory": "1000"}});
    for (selector, expected) in [
        (json!({"resource": "limits.cpu"}), Ok("2")),
        (json!({"resource": "limits.cpu", "divisor": "1m"}), Ok("1500")),
        (json!({"resource": "requests.cpu", "divisor": "0"}), Ok("1")),
        (json!({"resource": "requests.memory"}), Ok("1000")),
        (json!({"resource": "requests.memory", "divisor": "1Ki"}), Ok("1")),
        (json!({"resource": "limits.memory", "divisor": "1Mi"}), Ok("1024")),
        (json!({"resource": "limits.memory", "divisor": "1Mi", "containerName": "other"}), Ok("3")),
        (json!({"resource": "limits.ephemeral-storage", "divisor": "1Gi"}), Ok("8")),
        (json!({"resource": "requests.ephemeral-storage"}), Ok("0")),
        (json!({"resource": "limits.hugepages-2Mi"}), Ok("0")),
        (json!({"resource": "limits.gpu"}), Err("variable A: unsupported container resource : limits.gpu")),
        (
            json!({"resource": "limits.cpu", "containerName": "none"}),
            Err("variable A: container none not found"),
        ),
    ] {
        let source = json!({"name": "A", "valueFrom": {"resourceFieldRef": selector.clone()}});
        let found = of(json!({"env": [source], "resources": resources})).map(|env| env[0].1.clone());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{selector}");
    }
}

#[test]
fn what_is_not_there() {
    let one = |kind: &str, optional: bool| json!({kind: {"name": "none", "key": "k", "optional": optional}});
    for (kind, expected) in
        [("configMapKeyRef", "configmap \"none\" not found"), ("secretKeyRef", "secret \"none\" not found")]
    {
        assert_eq!(of(json!({"env": [{"name": "A", "valueFrom": one(kind, false)}]})).unwrap_err(), expected);
        assert_eq!(of(json!({"env": [{"name": "A", "valueFrom": one(kind, true)}]})), Ok(vec![]));
    }
    for (kind, expected) in
        [("configMapRef", "configmap \"none\" not found"), ("secretRef", "secret \"none\" not found")]
    {
        assert_eq!(of(json!({"envFrom": [one(kind, false)]})).unwrap_err(), expected);
        assert_eq!(of(json!({"envFrom": [one(kind, true)]})), Ok(vec![]));
    }
}

#[test]
fn secrets_are_text() {
    let value = |text: &str| Value::from(text);
    assert_eq!(text(Kind::Secret, &value("aGVsbG8=")).as_deref(), Some("hello"));
    for bad in ["/w==", "AA==", "not base64"] {
        assert_eq!(text(Kind::Secret, &value(bad)), None, "{bad}");
    }
    assert_eq!(text(Kind::ConfigMap, &value("a\nb")).as_deref(), Some("a\nb"));
}

#[test]
fn expansion() {
    let known = [("A".to_owned(), "1".to_owned())];
    for (text, expected) in [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
    ] {
        assert_eq!(expand(text, &known), expected);
    }
}
