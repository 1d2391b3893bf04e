//! Roles and their bindings.

use serde_json::{Value, json};

use super::Strategy;
use super::shape::{list, named, ruled, text};
use crate::api::{Cause, Object, names};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles (`namespaced`) and ClusterRoles.
pub struct RoleStrategy {
    pub namespaced: bool,
}

impl Strategy for RoleStrategy {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (index, rule) in new.array_at("/rules").iter().enumerate() {
            rule_of_role(rule, &format!("rules[{index}]"), self.namespaced, &mut causes);
        }
        for (index, selector) in new.array_at("/aggregationRule/clusterRoleSelectors").iter().enumerate() {
            let field = format!("aggregationRule.clusterRoleSelectors[{index}]");
            super::shape::label_selector(&field, selector, &mut causes);
        }
        if new.at("/aggregationRule").is_some()
            && new.array_at("/aggregationRule/clusterRoleSelectors").is_empty()
        {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            causes.push(Cause::required("aggregationRule.clusterRoleSelectors", detail));
        }
        causes
    }
}

fn rule_of_role(rule: &Value, field: &str, namespaced: bool, causes: &mut Vec<Cause>) {
    let mut require = |key: &str, detail: &str| {
        if list(rule, key).is_empty() {
            causes.push(Cause::required(format!("{field}.{key}"), detail));
        }
    };
    require("verbs", "verbs must contain at least one value");
    let urls = list(rule, "nonResourceURLs");
    if urls.is_empty() {
        require("apiGroups", "resource rules must supply at least one api group");
        require("resources", "resource rules must supply at least one resource");
        return;
    }
    let mut wrong = |detail: &str| {
        causes.push(Cause::invalid(format!("{field}.nonResourceURLs"), urls, detail));
    };
    if namespaced {
        wrong("namespaced rules cannot apply to non-resource URLs");
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !list(rule, key).is_empty()) {
        wrong("rules cannot apply to both regular resources and non-resource URLs");
    }
}

/// RoleBindings (`namespaced`) and ClusterRoleBindings.
pub struct RoleBindingStrategy {
    pub namespaced: bool,
}

impl Strategy for RoleBindingStrategy {
    fn prepare_create(&self, new: &mut Object) {
        default(new);
    }

    fn prepare_update(&self, new: &mut Object, _old: &Object) {
        default(new);
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let role = |key: &str| new.str_at(&format!("/roleRef/{key}"));
        if role("apiGroup") != GROUP {
            causes.push(Cause::not_supported("roleRef.apiGroup", role("apiGroup"), &[GROUP]));
        }
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&role("kind")) {
            causes.push(Cause::not_supported("roleRef.kind", role("kind"), kinds));
        }
        named("roleRef.name".to_owned(), role("name"), names::is_path_segment, &mut causes);
        for (index, subject) in new.array_at("/subjects").iter().enumerate() {
            subject_of_binding(subject, &format!("subjects[{index}]"), self.namespaced, &mut causes);
        }
        if old.is_some_and(|old| old.at("/roleRef") != new.at("/roleRef")) {
            let value = new.at("/roleRef").cloned().unwrap_or_else(|| json!({}));
            causes.push(Cause::invalid("roleRef", value, "cannot change roleRef"));
        }
        causes
    }
}

/// Users and groups are this API group's, ServiceAccounts the core group's.
fn default(binding: &mut Object) {
    if let Some(Value::Array(subjects)) = binding.at_mut("/subjects") {
        for subject in subjects {
            let unset = text(subject, "apiGroup").is_empty();
            let ours = matches!(text(subject, "kind"), "User" | "Group");
            if let (true, Value::Object(subject)) = (unset && ours, subject) {
                subject.insert("apiGroup".to_owned(), GROUP.into());
            }
        }
    }
}

fn subject_of_binding(subject: &Value, field: &str, namespaced: bool, causes: &mut Vec<Cause>) {
    let (kind, name, group) = (text(subject, "kind"), text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    let expected = if kind == "ServiceAccount" { "" } else { GROUP };
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                ruled(format!("{field}.name"), name, names::is_dns_subdomain, causes);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                causes.push(Cause::required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => {}
        other => {
            let kinds = &["ServiceAccount", "User", "Group"];
            causes.push(Cause::not_supported(format!("{field}.kind"), other, kinds));
            return;
        }
    }
    if group != expected {
        causes.push(Cause::not_supported(format!("{field}.apiGroup"), group, &[expected]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(strategy: &dyn Strategy, object: Value, old: Option<Value>) -> Vec<String> {
        let mut object = Object::from_value(object).unwrap();
        strategy.prepare_create(&mut object);
        let old = old.map(|old| Object::from_value(old).unwrap());
        strategy.validate(&object, old.as_ref()).into_iter().map(|cause| cause.to_string()).collect()
    }

    #[test]
    fn roles() {
        for (rule, namespaced, expected) in [
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), true, &[][..]),
            (
                json!({}),
                true,
                &[
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                    "rules[0].resources: Required value: resource rules must supply at least one resource",
                ],
            ),
            (json!({"verbs": ["get"], "nonResourceURLs": ["/x"]}), false, &[]),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["a"]}),
                true,
                &[
                    "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
                    "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
                ],
            ),
        ] {
            assert_eq!(
                causes(&RoleStrategy { namespaced }, json!({"rules": [rule]}), None),
                expected,
                "{rule}"
            );
        }
    }

    #[test]
    fn bindings() {
        let binding = |kind: &str, subject: Value| json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": "view"}, "subjects": [subject]});
        let fine = binding("Role", json!({"kind": "User", "name": "jane"}));
        let namespaced = RoleBindingStrategy { namespaced: true };
        assert_eq!(causes(&namespaced, fine.clone(), None), [""; 0]);
        let other = binding("ClusterRole", json!({"kind": "User", "name": "jane"}));
        assert_eq!(
            causes(&namespaced, other, Some(fine)),
            [
                "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"view\"}: cannot change roleRef"
            ]
        );
        for (kind, subject, expected) in [
            (
                "Role",
                json!({"kind": "Group", "name": "x"}),
                &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""][..],
            ),
            (
                "ClusterRole",
                json!({"kind": "ServiceAccount", "name": "x"}),
                &["subjects[0].namespace: Required value"],
            ),
            (
                "ClusterRole",
                json!({"kind": "Robot", "name": "x"}),
                &[
                    "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
                ],
            ),
        ] {
            let found = causes(&RoleBindingStrategy { namespaced: false }, binding(kind, subject), None);
            assert_eq!(found, expected);
        }
    }
}
