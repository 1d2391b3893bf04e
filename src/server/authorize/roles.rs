//! The roles that every cluster has, and roles that gather the rules of others.

use std::sync::Arc;

use serde_json::{Value, json};

use super::rules::{Rule, missing};
use crate::Executor;
use crate::api::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING};
use crate::api::selector::LabelSelector;
use crate::api::{Kind, Object, Reason, Status};
use crate::server::failures::Failures;
use crate::server::registry::{Change, Registry, WriteOptions};
use crate::store::Durability;

const TABLE: &str = include_str!("roles.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
/// Who sets this annotation to "false" keeps what it made of a role.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Makes the roles and bindings that every cluster has, and adds to those that are there what they lack, as
/// upstream does at each start. Writes nothing where nothing is missing.
///
/// # Errors
/// Those of the registry.
pub async fn ensure(registry: &Registry) -> Result<(), Status> {
    // What a crash loses of this is made anew: the flash need not be waited for.
    let lazy = WriteOptions { durability: Durability::Lazy, ..WriteOptions::default() };
    for (kind, object) in defaults() {
        let name = object.name().to_owned();
        match registry.item(kind, "", &name) {
            Err(status) if status.reason == Reason::NotFound => {
                registry.create(kind, object, lazy).await.map(drop)?;
            }
            Err(status) => return Err(status),
            Ok(_) => {
                let complete = |current: &mut Object| Ok(complete(current, &object));
                registry.modify(kind, "", &name, lazy, complete).await.map(drop)?;
            }
        }
    }
    Ok(())
}

/// Adds what a role or binding lacks.
fn complete(current: &mut Object, wanted: &Object) -> Change {
    if current.annotation(AUTOUPDATE) == Some("false") {
        return Change::Keep;
    }
    let mut change = Change::Keep;
    let held = Rule::list(current.array_at("/rules"));
    let lacking = missing(&held, &Rule::list(wanted.array_at("/rules"))).unwrap_or_default();
    // An aggregated role's rules are the loop's.
    if !lacking.is_empty() && wanted.at("/aggregationRule").is_none() {
        let mut rules = current.array_at("/rules").to_vec();
        rules.extend(lacking.iter().map(Rule::to_json));
        current.set("/rules", rules);
        change = Change::Write;
    }
    let mut subjects = current.array_at("/subjects").to_vec();
    let before = subjects.len();
    for subject in wanted.array_at("/subjects") {
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
        }
    }
    if subjects.len() > before {
        current.set("/subjects", subjects);
        change = Change::Write;
    }
    change
}

/// The objects of the table.
fn defaults() -> Vec<(&'static Kind, Object)> {
    let mut made: Vec<(&'static Kind, Object)> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ROLE", name, rest @ ..] => made.push((CLUSTER_ROLE, role(name, rest))),
            ["AGGREGATE", name, rest @ ..] => {
                let mut role = role(name, rest);
                let labels = json!({ label_to(name): "true" });
                role.set("/aggregationRule/clusterRoleSelectors", json!([{ "matchLabels": labels }]));
                made.push((CLUSTER_ROLE, role));
            }
            ["BIND", name, groups @ ..] => {
                let mut binding = object(CLUSTER_ROLE_BINDING, name);
                binding.set("/roleRef", json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name}));
                let subject = |group: &&str| json!({"apiGroup": GROUP, "kind": "Group", "name": group});
                binding.set("/subjects", groups.iter().map(subject).collect::<Vec<Value>>());
                made.push((CLUSTER_ROLE_BINDING, binding));
            }
            rule => {
                if let Some((_, role)) = made.last_mut() {
                    let mut rules = role.array_at("/rules").to_vec();
                    rules.push(parse(rule).to_json());
                    role.set("/rules", rules);
                }
            }
        }
    }
    made
}

/// A line of the table that is a rule.
fn parse(words: &[&str]) -> Rule {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|word| if word == "-" { "" } else { word }.to_owned()).collect()
    };
    let verbs = |text: &str| -> Vec<String> {
        let text = text.replace('R', "get,list,watch");
        list(&text.replace('W', "create,delete,deletecollection,patch,update"))
    };
    match words {
        [said, groups, resources] => {
            Rule { verbs: verbs(said), groups: list(groups), resources: list(resources), ..Rule::default() }
        }
        [said, paths] => Rule { verbs: verbs(said), paths: list(paths), ..Rule::default() },
        _ => Rule::default(),
    }
}

fn role(name: &str, rest: &[&str]) -> Object {
    let mut role = object(CLUSTER_ROLE, name);
    for to in rest.iter().filter_map(|word| word.strip_prefix("aggregate-to=")) {
        role.set_label(&label_to(to), "true");
    }
    role.set("/rules", json!([]));
    role
}

fn label_to(role: &str) -> String {
    format!("{GROUP}/aggregate-to-{role}")
}

fn object(kind: &Kind, name: &str) -> Object {
    let mut object = Object::new(kind, "", name);
    object.set("/metadata/annotations", json!({ AUTOUPDATE: "true" }));
    object.set("/metadata/labels", json!({"kubernetes.io/bootstrapping": "rbac-defaults"}));
    object
}

/// Keeps the rules of roles that aggregate others, until the task is dropped. Woken by changes of roles only.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let revision = registry.store().revision();
            match aggregate(&registry).await {
                Ok(()) => {
                    failures.end();
                    let Ok(mut changes) = registry.store().watch(&CLUSTER_ROLE.prefix(None), revision) else {
                        continue;
                    };
                    // Fallen behind: look at everything.
                    let _ = changes.next().await;
                }
                Err(status) => {
                    failures.rest("gather the rules of cluster roles", &status).await;
                }
            }
        }
    })
}

/// Sets the rules of every role with an aggregationRule: those of the roles that it selects, each once.
async fn aggregate(registry: &Registry) -> Result<(), Status> {
    let list = registry.all(CLUSTER_ROLE, None)?;
    let lazy = WriteOptions { durability: Durability::Lazy, ..WriteOptions::default() };
    for item in &list.items {
        let role = item.object()?;
        let Some(selectors) = role.at("/aggregationRule/clusterRoleSelectors") else { continue };
        let selectors = selectors.as_array().into_iter().flatten().map(LabelSelector::from_json);
        // One that can't be read selects nothing; the others still do.
        let selectors: Vec<LabelSelector> = selectors.filter_map(Result::ok).collect();
        let mut rules: Vec<Value> = Vec::new();
        for selector in &selectors {
            for item in &list.items {
                let other = item.object()?;
                if other.name() == role.name() || !selector.matches(&other) {
                    continue;
                }
                // As it is by now: roles that select each other would take turns otherwise.
                let Ok(other) = registry.get(CLUSTER_ROLE, "", other.name()) else { continue };
                for rule in other.array_at("/rules") {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        // In whatever order: roles that select each other would pass it around.
        let held = role.array_at("/rules");
        if rules.len() == held.len() && rules.iter().all(|rule| held.contains(rule)) {
            continue;
        }
        let set = |current: &mut Object| {
            current.set("/rules", rules.clone());
            Ok(Change::Write)
        };
        match registry.modify(CLUSTER_ROLE, "", role.name(), lazy, set).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let made = defaults();
        let roles = made.iter().filter(|(kind, _)| *kind == CLUSTER_ROLE);
        assert_eq!((made.len(), roles.clone().count()), (21, 15));
        for (_, role) in roles {
            let rules = Rule::list(role.array_at("/rules"));
            assert_eq!(rules.is_empty(), role.at("/aggregationRule").is_some(), "{role:?}");
            assert!(rules.iter().all(|rule| !rule.verbs.is_empty()), "{role:?}");
        }
        let (_, edit) = made.iter().find(|(_, role)| role.name() == "edit").unwrap();
        assert_eq!(edit.label("rbac.authorization.k8s.io/aggregate-to-admin"), Some("true"));
        assert_eq!(
            parse(&["R", "-", "pods"]).to_string(),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\" \"watch\"]}"
        );
    }

    #[test]
    fn roles_that_gather_each_other_come_to_rest() {
        use crate::server::registry::testing::Cluster;
        let cluster = Cluster::new("aggregate");
        for (name, verb) in [("a", "get"), ("b", "list"), ("c", "watch")] {
            let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
            let (leaf, labels) = (format!("{name}-leaf"), json!({ "all": "true" }));
            let version = "rbac.authorization.k8s.io/v1";
            let leaf = json!({"apiVersion": version, "kind": "ClusterRole",
                "metadata": {"name": leaf, "labels": labels}, "rules": rules});
            let gathers = json!({"clusterRoleSelectors": [{"matchLabels": {"all": "true"}}]});
            let role = json!({"apiVersion": version, "kind": "ClusterRole",
                "metadata": {"name": name, "labels": labels}, "aggregationRule": gathers});
            smol::block_on(cluster.create(leaf)).unwrap();
            smol::block_on(cluster.create(role)).unwrap();
        }
        let registry = &cluster.registry;
        smol::block_on(aggregate(registry)).unwrap();
        smol::block_on(aggregate(registry)).unwrap();
        let revision = registry.store().revision();
        for name in ["a", "b", "c"] {
            assert_eq!(registry.get(CLUSTER_ROLE, "", name).unwrap().array_at("/rules").len(), 3, "{name}");
        }
        smol::block_on(aggregate(registry)).unwrap();
        assert_eq!(registry.store().revision(), revision, "nothing is written without news");
    }

    #[test]
    fn only_what_lacks_is_added() {
        let (_, wanted) =
            defaults().into_iter().find(|(_, role)| role.name() == "system:basic-user").unwrap();
        let mut current = wanted.clone();
        assert_eq!(complete(&mut current, &wanted), Change::Keep);
        current.set("/rules", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
        let mut kept = current.clone();
        assert_eq!(complete(&mut current, &wanted), Change::Write);
        assert_eq!(current.array_at("/rules")[0]["resources"], json!(["pods"]));
        assert!(
            missing(&Rule::list(current.array_at("/rules")), &Rule::list(wanted.array_at("/rules")))
                .unwrap()
                .is_empty()
        );
        kept.set("/metadata/annotations", json!({ AUTOUPDATE: "false" }));
        assert_eq!(complete(&mut kept, &wanted), Change::Keep);
    }
}
