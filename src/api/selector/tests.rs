use serde_json::json;

use super::*;
use crate::api::kinds::{EVENT, LEASE, POD};

fn pod(labels: Value) -> Object {
    Object::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "labels": labels},
        "spec": {"nodeName": "pi-1"},
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

#[test]
fn labels_match_as_upstream() {
    let pod = pod(json!({"app": "web", "tier": "", "n": "5", "in": "x"}));
    for (text, expected) in [
        ("", true),
        ("app=web", true),
        ("app == web , tier=", true),
        ("app!=web", false),
        ("none!=web", true),
        ("app in (db, web)", true),
        ("app notin (db,web)", false),
        ("none notin (db)", true),
        ("tier in ()", true),
        ("app", true),
        ("!app", false),
        ("!none", true),
        ("n>4,n<6", true),
        ("app>4", false),
        ("in=x", true),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&pod), expected, "{text}");
    }
}

#[test]
fn labels_that_do_not_parse() {
    for text in
        ["a=b,", ",a", "a b", "a in b", "a in (b", "=b", "a=b=c", "a!b", "a=-", "a b in (c)", "n>x", "(", "!"]
    {
        assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
    }
}

#[test]
fn labels_from_json() {
    let selector = json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}],
    });
    let selector = LabelSelector::from_json(&selector).unwrap();
    assert!(selector.matches(&pod(json!({"app": "web"}))));
    assert!(!selector.matches(&pod(json!({"app": "web", "old": ""}))));
    let empty = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    assert!(LabelSelector::from_json(&empty).is_err());
}

#[test]
fn fields_match_and_unknown_ones_are_refused() {
    let pod = pod(json!({}));
    for (text, expected) in [
        ("", true),
        ("spec.nodeName=pi-1,status.phase!=Succeeded,status.phase!=Failed", true),
        ("metadata.name==web", true),
        ("metadata.namespace!=default", false),
        ("spec.hostNetwork=false", true),
        ("status.podIP=", true),
    ] {
        assert_eq!(FieldSelector::parse(POD, text).unwrap().matches(&pod), expected, "{text}");
    }
    let name = FieldSelector::parse(LEASE, "metadata.name=a\\,b").unwrap();
    assert_eq!(name.name(), Some("a,b"));
    let refused = |kind, text| FieldSelector::parse(kind, text).unwrap_err().message;
    assert_eq!(refused(POD, "spec.foo=x"), "field label not supported: spec.foo");
    assert_eq!(refused(EVENT, "x"), "invalid selector: 'x'; can't understand 'x'");
    assert!(refused(LEASE, "spec.x=1").starts_with("\"spec.x\" is not a known field selector"));
}

#[test]
fn an_event_is_found_by_what_it_is_about() {
    let event = Object::from_value(json!({
        "involvedObject": {"kind": "Node", "name": "pi-1", "uid": "u"},
        "reportingComponent": "midge",
    }))
    .unwrap();
    let text = "involvedObject.name=pi-1,involvedObject.namespace=,involvedObject.kind=Node,source=midge";
    assert!(FieldSelector::parse(EVENT, text).unwrap().matches(&event));
}
