use hyper::Request;
use serde_json::{Value, json};

use super::*;
use crate::api::kinds::{CLUSTER_ROLE_BINDING, Catalogue, ROLE, ROLE_BINDING};
use crate::server::path::Route;
use crate::server::registry::testing::Cluster;
use crate::server::registry::{Change, DeleteOptions, WriteOptions};

const API: &str = "rbac.authorization.k8s.io/v1";

fn role(namespace: &str, name: &str, verbs: &str, resource: &str) -> Value {
    let verbs: Vec<&str> = verbs.split(',').collect();
    let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": verbs}]);
    match namespace {
        "" => json!({"apiVersion": API, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
        _ => {
            let metadata = json!({"name": name, "namespace": namespace});
            json!({"apiVersion": API, "kind": "Role", "metadata": metadata, "rules": rules})
        }
    }
}

fn binding(namespace: &str, name: &str, role: &str, subject: Value) -> Value {
    let (kind, name) = (role.split('/').next().unwrap(), name);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role.split('/').nth(1)});
    let (bound, mut metadata) = match namespace {
        "" => ("ClusterRoleBinding", json!({"name": name})),
        namespace => ("RoleBinding", json!({"name": name, "namespace": namespace})),
    };
    metadata["labels"] = json!({});
    json!({"apiVersion": API, "kind": bound, "metadata": metadata, "roleRef": role, "subjects": [subject]})
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn pods<'a>(verb: &'a str, namespace: &'a str) -> Attributes<'a> {
    Attributes { verb, resource: "pods", namespace, ..Attributes::default() }
}

#[test]
fn decisions() {
    let cluster = Cluster::new("authorize");
    let access = Access::new(cluster.registry.clone());
    let jane = User::new("jane", &["team"]);
    smol::block_on(async {
        assert!(!access.decide(&jane, &pods("get", "default")).unwrap().allowed);
        assert!(access.decide(&User::new("x", &[MASTERS]), &pods("get", "default")).unwrap().allowed);
        for object in [
            role("", "reader", "get", "pods"),
            role("default", "writer", "update", "pods"),
            binding("default", "reads", "ClusterRole/reader", user("jane")),
            binding("default", "writes", "Role/writer", user("jane")),
            binding("kube-system", "writes", "Role/writer", user("jane")),
            binding("default", "bot", "Role/writer", json!({"kind": "ServiceAccount", "name": "bot"})),
        ] {
            cluster.create(object).await.unwrap();
        }
        let bot = |namespace: &str| User::new(&format!("system:serviceaccount:{namespace}:bot"), &[]);
        for (who, verb, namespace, expected) in [
            (&jane, "get", "default", true),
            (&jane, "update", "default", true),
            (&jane, "delete", "default", false),
            (&jane, "get", "kube-system", false),
            // A role of another namespace is not there.
            (&jane, "update", "kube-system", false),
            (&jane, "get", "", false),
            (&bot("default"), "update", "default", true),
            (&bot("other"), "update", "default", false),
            (&User::new("jane:x", &[]), "get", "default", false),
        ] {
            let decision = access.decide(who, &pods(verb, namespace)).unwrap();
            assert_eq!(decision.allowed, expected, "{who:?} {verb} {namespace}");
        }
        let why = access.decide(&jane, &pods("get", "default")).unwrap().reason;
        let text =
            "RBAC: allowed by RoleBinding \"reads/default\" of ClusterRole \"reader\" to User \"jane\"";
        assert_eq!(why, text);
        let status = access.authorize(&jane, &pods("update", "kube-system")).unwrap_err();
        let text = "pods is forbidden: User \"jane\" cannot update resource \"pods\" in API group \"\" in the \
                    namespace \"kube-system\": RBAC: role.rbac.authorization.k8s.io \"writer\" not found";
        assert_eq!((status.code, status.message.as_str()), (403, text));
        // What changes counts at once: a role's rules, a binding that comes, a role that goes.
        let narrow = |role: &mut crate::api::Object| {
            role.set("/rules/0/verbs/0", "list");
            Ok(Change::Write)
        };
        cluster.registry.modify(ROLE, "default", "writer", WriteOptions::default(), narrow).await.unwrap();
        assert!(!access.decide(&jane, &pods("update", "default")).unwrap().allowed);
        assert!(access.decide(&jane, &pods("list", "default")).unwrap().allowed);
        cluster.create(binding("", "all", "ClusterRole/reader", user("jane"))).await.unwrap();
        assert!(access.decide(&jane, &pods("get", "")).unwrap().allowed);
        let gone = DeleteOptions::default();
        cluster.registry.delete(CLUSTER_ROLE_BINDING, "", "all", gone).await.unwrap();
        assert!(!access.decide(&jane, &pods("get", "")).unwrap().allowed);
    });
}

#[test]
fn rules_are_held_as_long_as_somebody_is_bound_to_them() {
    let cluster = Cluster::new("held-rules");
    let access = Access::new(cluster.registry.clone());
    let jane = User::new("jane", &[]);
    let held = || {
        let _ = access.decide(&jane, &pods("delete", "default")).unwrap();
        access.held_at_all()
    };
    smol::block_on(async {
        for object in [
            role("", "reader", "get", "pods"),
            binding("", "all", "ClusterRole/reader", user("jane")),
            binding("default", "reads", "ClusterRole/reader", user("jane")),
            binding("default", "lost", "Role/gone", user("jane")),
        ] {
            cluster.create(object).await.unwrap();
        }
        assert_eq!(held(), (3, 2));
        for (name, expected) in [("lost", (2, 1)), ("reads", (1, 1))] {
            let gone = DeleteOptions::default();
            cluster.registry.delete(ROLE_BINDING, "default", name, gone).await.unwrap();
            assert_eq!(held(), expected, "without {name}");
        }
        let gone = DeleteOptions::default();
        cluster.registry.delete(CLUSTER_ROLE_BINDING, "", "all", gone).await.unwrap();
        assert_eq!(held(), (0, 0));
    });
}

#[test]
fn what_requests_want() {
    for (method, uri, expected) in [
        ("GET", "/api/v1/namespaces/a/pods/b", "get /pods b in a"),
        ("GET", "/api/v1/namespaces/a/pods/b?watch=1", "get /pods b in a"),
        ("GET", "/api/v1/pods?watch=true", "watch /pods"),
        ("GET", "/api/v1/pods?watch=false", "list /pods"),
        ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Db", "list /pods b in a"),
        ("POST", "/api/v1/namespaces/a/pods", "create /pods in a"),
        ("PUT", "/api/v1/namespaces/a/pods/b/status", "update /pods/status b in a"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "patch apps/deployments b in a"),
        ("DELETE", "/api/v1/namespaces/a/pods/b", "delete /pods b in a"),
        ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection /pods in a"),
        ("GET", "/api/v1/namespaces/a", "get /namespaces a in a"),
        ("GET", "/api/v1/namespaces", "list /namespaces"),
        ("POST", "/api/v1/namespaces/a/pods/b/exec", "create /pods/exec b in a"),
        ("GET", "/api/v1/namespaces/a/pods/b/exec", "get /pods/exec b in a; create /pods/exec b in a"),
        ("GET", "/api/v1/namespaces/a/pods/b/log", "get /pods/log b in a"),
        ("GET", "/api/v1/nodes/b/proxy/metrics", "get /nodes/proxy b"),
        ("GET", "/apis/apps/v1", "get path /apis/apps/v1"),
        ("GET", "/metrics", "get path /metrics"),
        ("GET", "//metrics", "get path //metrics"),
        ("DELETE", "/v1-midge/tokens/x", "delete path /v1-midge/tokens/x"),
        ("GET", "/api/v1/gadgets", "get path /api/v1/gadgets"),
    ] {
        let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let kinds = Catalogue::default();
        let route = Route::parse(parts.uri.path(), &kinds);
        let mut wanted = Vec::new();
        let judged: Result<(), Status> = of_request(&parts, &route, |one| {
            wanted.push(told(one));
            Ok(())
        });
        judged.unwrap();
        assert_eq!(wanted.join("; "), expected, "{method} {uri}");
    }
}

fn told(wanted: &Attributes<'_>) -> String {
    let Attributes { verb, group, resource, subresource, namespace, name, path } = *wanted;
    if !path.is_empty() {
        return format!("{verb} path {path}");
    }
    let mut text = format!("{verb} {group}/{resource}");
    for (before, part) in [("/", subresource), (" ", name), (" in ", namespace)] {
        if !part.is_empty() {
            text.push_str(before);
            text.push_str(part);
        }
    }
    text
}
