//! What a role's rules allow, and whether one set of rules allows all that another does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Attributes;

const ANY: &str = "*";

/// A `rbac.v1.PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub names: Vec<String>,
    pub paths: Vec<String>,
}

impl Rule {
    fn from_json(value: &Value) -> Self {
        let list = |name: &str| {
            let items = value.get(name).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    /// The rules of a role, `rules` being its field of that name.
    pub fn list(rules: &[Value]) -> Vec<Self> {
        rules.iter().map(Self::from_json).collect()
    }

    /// The whole of what there is to allow.
    pub fn all() -> [Self; 2] {
        let any = || vec![ANY.to_owned()];
        [
            Self { verbs: any(), groups: any(), resources: any(), ..Self::default() },
            Self { verbs: any(), paths: any(), ..Self::default() },
        ]
    }

    pub fn to_json(&self) -> Value {
        let mut value = json!({});
        for (name, _, list) in self.fields() {
            if !list.is_empty() {
                value[name] = json!(list);
            }
        }
        value
    }

    /// Each field's name, and how upstream's messages name it.
    fn fields(&self) -> [(&'static str, &'static str, &Vec<String>); 5] {
        [
            ("apiGroups", "APIGroups", &self.groups),
            ("resources", "Resources", &self.resources),
            ("nonResourceURLs", "NonResourceURLs", &self.paths),
            ("resourceNames", "ResourceNames", &self.names),
            ("verbs", "Verbs", &self.verbs),
        ]
    }

    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        if wanted.resource.is_empty() {
            return self.paths.iter().any(|rule| path_matches(rule, wanted.path));
        }
        has(&self.groups, wanted.group)
            && self.resources.iter().any(|rule| resource_matches(rule, wanted.resource, wanted.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == wanted.name))
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = self.fields().into_iter().filter(|(_, _, list)| !list.is_empty());
        let texts: Vec<String> = fields.map(|(_, name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", texts.join(", "))
    }
}

/// `["a" "b"]`: a list in upstream's messages.
pub fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ANY || one == wanted)
}

/// `pods`, `pods/log`, `*/scale`, `*`.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ANY {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((kind, part)) => {
            !subresource.is_empty() && part == subresource && (kind == ANY || kind == resource)
        }
    }
}

/// `/healthz`, `/apis/*`, `*`.
fn path_matches(rule: &str, path: &str) -> bool {
    rule == ANY || rule == path || rule.ends_with(ANY) && path.starts_with(rule.trim_end_matches('*'))
}

/// The most single rights that somebody may hand out at once: what is compared is every verb on every
/// resource of every group, and a body has room for many of each.
const MOST_RIGHTS: usize = 20_000;

/// What `wanted` allows beyond `held`: nothing, or rules for a message.
///
/// # Errors
/// The number of rights, if they are too many to be compared.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Result<Vec<Rule>, usize> {
    let mut missing: Vec<Rule> = Vec::new();
    let mut rights = 0_usize;
    for rule in wanted {
        let named =
            rule.groups.len().saturating_mul(rule.resources.len()).saturating_mul(rule.names.len().max(1));
        let more = rule.verbs.len().saturating_mul(named.saturating_add(rule.paths.len()));
        rights = rights.saturating_add(more);
        if rights > MOST_RIGHTS {
            return Err(rights);
        }
        each(rule, |right| {
            if held.iter().any(|held| covers(held, &right)) {
                return;
            }
            // Verbs on the same thing are told together.
            let same = |other: &&mut Rule| {
                other.groups == right.groups
                    && other.resources == right.resources
                    && other.names == right.names
                    && other.paths == right.paths
            };
            match missing.iter_mut().rev().take(64).find(same) {
                Some(other) => other.verbs.extend(right.verbs),
                None => missing.push(right),
            }
        });
    }
    Ok(missing)
}

/// Calls `right` with every single right of a rule: one verb on one thing.
fn each(rule: &Rule, mut right: impl FnMut(Rule)) {
    let one = |text: &String| vec![text.clone()];
    let names: Vec<Vec<String>> =
        if rule.names.is_empty() { vec![Vec::new()] } else { rule.names.iter().map(one).collect() };
    for group in &rule.groups {
        for resource in &rule.resources {
            for name in &names {
                for verb in unique(&rule.verbs) {
                    right(Rule {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names: name.clone(),
                        paths: Vec::new(),
                    });
                }
            }
        }
    }
    for path in &rule.paths {
        for verb in unique(&rule.verbs) {
            right(Rule { verbs: one(verb), paths: one(path), ..Rule::default() });
        }
    }
}

fn unique(list: &[String]) -> BTreeSet<&String> {
    list.iter().collect()
}

/// Whether a rule allows a single right.
fn covers(held: &Rule, right: &Rule) -> bool {
    let all = |held: &[String], right: &[String]| right.iter().all(|one| has(held, one));
    let resource = |wanted: &String| {
        held.resources.iter().any(|rule| match wanted.split_once('/') {
            Some((kind, part)) => rule == wanted || resource_matches(rule, kind, part),
            None => rule == ANY || rule == wanted,
        })
    };
    let path = |wanted: &String| held.paths.iter().any(|rule| path_matches(rule, wanted));
    let names = match (held.names.is_empty(), right.names.is_empty()) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => right.names.iter().all(|name| held.names.contains(name)),
    };
    all(&held.verbs, &right.verbs)
        && all(&held.groups, &right.groups)
        && right.resources.iter().all(resource)
        && right.paths.iter().all(path)
        && names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str, paths: &str) -> Rule {
        let list = |text: &str| match text {
            "" => Vec::new(),
            text => text.split(',').map(|word| word.trim_matches('\'').to_owned()).collect(),
        };
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: list(names),
            paths: list(paths),
        }
    }

    #[test]
    fn what_a_rule_allows() {
        const CORE: &str = "''";
        let cases: &[(Rule, &str, &str, &str, &str, &str, bool)] = &[
            (rule("get", CORE, "pods", "", ""), "get", "", "pods", "", "a", true),
            (rule("get", CORE, "pods", "", ""), "list", "", "pods", "", "", false),
            (rule("get", CORE, "pods", "", ""), "get", "apps", "pods", "", "a", false),
            (rule("get", CORE, "pods", "", ""), "get", "", "pods", "log", "a", false),
            (rule("get", CORE, "pods/log", "", ""), "get", "", "pods", "log", "a", true),
            (rule("get", CORE, "pods/log", "", ""), "get", "", "pods", "", "a", false),
            (rule("get", CORE, "*/log", "", ""), "get", "", "pods", "log", "a", true),
            (rule("get", CORE, "*/log", "", ""), "get", "", "pods", "", "a", false),
            (rule("get", CORE, "pods/*", "", ""), "get", "", "pods", "log", "a", false),
            (rule("*", "*", "*", "", ""), "delete", "apps", "deployments", "scale", "a", true),
            (rule("get", CORE, "secrets", "a,b", ""), "get", "", "secrets", "", "b", true),
            (rule("get", CORE, "secrets", "a,b", ""), "get", "", "secrets", "", "c", false),
            (rule("list", CORE, "secrets", "a,b", ""), "list", "", "secrets", "", "", false),
            (rule("*", "", "pods", "", ""), "get", "", "pods", "", "", false),
            (rule("", CORE, "pods", "", ""), "get", "", "pods", "", "", false),
        ];
        for (rule, verb, group, resource, subresource, name, expected) in cases {
            let wanted = Attributes { verb, group, resource, subresource, name, ..Attributes::default() };
            assert_eq!(rule.allows(&wanted), *expected, "{rule} {wanted:?}");
        }
        for (rule_path, path, expected) in [
            ("/metrics", "/metrics", true),
            ("/metrics", "/metrics/", false),
            ("/apis/*", "/apis/apps/v1", true),
            ("/apis/*", "/apis", false),
            ("*", "/anything", true),
            ("/a*b", "/axb", false),
        ] {
            let wanted = Attributes { verb: "get", path, ..Attributes::default() };
            assert_eq!(rule("get", "", "", "", rule_path).allows(&wanted), expected, "{rule_path} {path}");
        }
        let everything = Rule::all();
        let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
        assert!(!everything[0].allows(&path) && everything[1].allows(&path));
    }

    #[test]
    fn what_is_missing() {
        let cases = [
            ("get,list", "pods", "", "get", "pods", "", ""),
            (
                "get",
                "pods",
                "",
                "list,get",
                "pods",
                "",
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}",
            ),
            ("*", "*", "", "escalate", "roles,pods/exec", "x", ""),
            ("get", "pods", "a", "get", "pods", "a", ""),
            (
                "get",
                "pods",
                "a",
                "get",
                "pods",
                "",
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}",
            ),
            (
                "get",
                "pods",
                "a",
                "get,list",
                "pods",
                "b",
                "{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"b\"], Verbs:[\"get\" \"list\"]}",
            ),
            ("get", "*/log", "", "get", "pods/log", "", ""),
            (
                "get",
                "pods",
                "",
                "get",
                "pods/log",
                "",
                "{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\"]}",
            ),
            ("get", "pods", "", "get", "*", "", "{APIGroups:[\"\"], Resources:[\"*\"], Verbs:[\"get\"]}"),
            ("get", "pods", "", "*", "pods", "", "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}"),
        ];
        for (verbs, resources, names, wanted_verbs, wanted, wanted_names, expected) in cases {
            let held = rule(verbs, "''", resources, names, "");
            let wanted = rule(wanted_verbs, "''", wanted, wanted_names, "");
            let texts: Vec<String> =
                missing(&[held], &[wanted]).unwrap().iter().map(Rule::to_string).collect();
            assert_eq!(texts.join("\n"), expected);
        }
        let held = rule("get", "", "", "", "/apis/*");
        assert!(missing(&[held.clone()], &[rule("get", "", "", "", "/apis/x/*")]).unwrap().is_empty());
        assert_eq!(missing(&[held], &[rule("get", "", "", "", "/api*")]).unwrap().len(), 1);
    }

    #[test]
    fn too_much_to_compare_is_refused() {
        let many = Rule {
            verbs: vec!["a".to_owned(); 1000],
            groups: vec!["b".to_owned(); 1000],
            resources: vec!["c".to_owned(); 1000],
            ..Rule::default()
        };
        assert!(missing(&[], &[many]).is_err());
    }
}
