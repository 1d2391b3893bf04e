//! Who gets in, and who may do what.

use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::json;

use crate::server::Server;

/// A certificate for a client (or, for `usage`, something else) from the server's CA, or from a lookalike.
/// Names a kubeconfig that has it and no token.
fn kubeconfig(
    server: &Server,
    name: &str,
    group: &str,
    genuine: bool,
    usage: ExtendedKeyUsagePurpose,
) -> String {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "midge-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = match genuine {
        true => {
            let path = server.folder().join("data/server/tls/ca.key");
            KeyPair::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
        }
        false => KeyPair::generate().unwrap(),
    };
    let issuer = Issuer::new(authority, key);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let pair = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&pair, &issuer).unwrap();
    server.write("client.crt", &certificate.pem());
    server.write("client.key", &pair.serialize_pem());
    let admin = std::fs::read_to_string(server.folder().join("kubeconfig")).unwrap();
    let token = admin.find("    token:").unwrap();
    let shown = "    client-certificate: client.crt\n    client-key: client.key\n";
    server.write("other", &format!("{}{shown}", &admin[..token]));
    String::from("--kubeconfig=other")
}

fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "not within 15 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_one_is() {
    let server = Server::start();
    server.until_ready();
    for path in ["/healthz", "/livez", "/readyz", "/version", "/cacerts"] {
        server.ask_as("GET", path, &[], "").is(200);
    }
    for path in ["/", "/api", "/apis", "/openapi/v2", "/metrics", "/api/v1/pods", "/v1-midge/tokens", "/x"] {
        server.ask_as("GET", path, &[], "").is(401);
        server.ask_as("GET", path, &[("impersonate-user", "system:admin")], "").is(401);
    }
    let whoami = server.kubectl("auth whoami").ok();
    assert!(
        whoami.contains("system:admin") && whoami.contains("[system:masters system:authenticated]"),
        "{whoami}"
    );
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let jane = kubeconfig(&server, "jane", "team", true, client.clone());
    let whoami = server.kubectl(&format!("{jane} auth whoami")).ok();
    assert!(whoami.contains("jane") && whoami.contains("[team system:authenticated]"), "{whoami}");
    assert!(whoami.contains("X509SHA256="), "{whoami}");
    let refused = server.kubectl(&format!("{jane} get pods")).fails();
    assert!(
        refused.contains(
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        ),
        "{refused}"
    );
    // The masters' group is nothing but a group.
    let root = kubeconfig(&server, "root", "system:masters", true, client.clone());
    server.kubectl(&format!("{root} get secrets -A")).ok();
    for (genuine, usage) in [(false, client), (true, ExtendedKeyUsagePurpose::ServerAuth)] {
        let nobody = kubeconfig(&server, "root", "system:masters", genuine, usage);
        let refused = server.kubectl(&format!("{nobody} get secrets")).fails();
        assert!(
            refused.contains("Unauthorized") || refused.contains("the server has asked for"),
            "{refused}"
        );
    }
    let review = |token: &str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let json = [("content-type", "application/json")];
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        server.ask("POST", path, &json, review.to_string()).is(201).json()["status"].clone()
    };
    assert_eq!(review(&server.secret())["user"]["username"], "system:admin");
    assert_ne!(review("wrong")["authenticated"], true);
}

#[test]
fn what_roles_allow() {
    let server = Server::start();
    let can = |who: &str, what: &str| server.kubectl(&format!("{who} auth can-i {what}"));
    let jane = "--as=jane";
    assert!(can(jane, "list pods").fails().starts_with("no"));
    server.kubectl("create role reader --verb=get,list,watch --resource=pods,pods/log").ok();
    server.kubectl("create rolebinding jane --role=reader --user=jane").ok();
    assert!(can(jane, "list pods").ok().starts_with("yes"));
    assert!(can(jane, "get pods --subresource=log").ok().starts_with("yes"));
    for what in [
        "delete pods",
        "list secrets",
        "list pods -n kube-system",
        "list pods -A",
        "get /metrics",
        "impersonate users",
    ] {
        assert!(can(jane, what).fails().starts_with("no"), "{what}");
    }
    server.kubectl("--as=jane get pods").ok();
    let list = can(jane, "--list").ok();
    assert!(
        list.contains("pods/log") && list.contains("[get list watch]") && list.contains("selfsubjectreviews"),
        "{list}"
    );
    let refused = server.kubectl("--as=jane delete pod web").fails();
    let text = "pods \"web\" is forbidden: User \"jane\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert!(refused.contains(text), "{refused}");
    let refused = server.kubectl("--as=jane get --raw /metrics").fails();
    assert!(refused.contains("forbidden: User \"jane\" cannot get path \"/metrics\""), "{refused}");
    let refused = server.kubectl("--as=jane get nodes").fails();
    assert!(refused.contains("in API group \"\" at the cluster scope"), "{refused}");
    // What is midge's own is for nobody else either.
    for path in
        ["/v1-midge/tokens", "/api/v1/nodes/n1/proxy/stats/summary", "/apis/metrics.k8s.io/v1beta1/nodes"]
    {
        server.ask("GET", path, &[("impersonate-user", "jane")], "").is(403);
    }
    // At once, as the binding came.
    server.kubectl("delete rolebinding jane").ok();
    assert!(can(jane, "list pods").fails().starts_with("no"));
    server.kubectl("create clusterrolebinding jane --clusterrole=gone --user=jane").ok();
    let refused = server.kubectl("--as=jane get pods").fails();
    assert!(refused.contains("RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"), "{refused}");
    // By name, by group, by account.
    server.kubectl("create role one --verb=get --resource=configmaps --resource-name=a").ok();
    server.kubectl("create rolebinding one --role=one --group=team --serviceaccount=web:bot").ok();
    for who in ["--as=x --as-group=team", "--as=system:serviceaccount:web:bot"] {
        assert!(can(who, "get configmaps/a").ok().starts_with("yes"), "{who}");
        assert!(can(who, "get configmaps/b").fails().starts_with("no"), "{who}");
    }
    assert!(can("--as=system:serviceaccount:default:bot", "get configmaps/a").fails().starts_with("no"));
    let answer = server.ask("GET", "/api/v1/pods", &[("impersonate-group", "team")], "");
    assert_eq!(answer.code, 400, "{}", answer.text);
}

#[test]
fn default_roles_and_no_escalation() {
    let server = Server::start();
    let can = |who: &str, what: &str| server.kubectl(&format!("{who} auth can-i {what}"));
    server.kubectl("create rolebinding v --clusterrole=view --user=viewer").ok();
    server.kubectl("create rolebinding e --clusterrole=edit --user=editor").ok();
    server.kubectl("create rolebinding a --clusterrole=admin --user=boss").ok();
    // Aggregated.
    until(|| server.kubectl("--as=boss auth can-i get pods").ok().starts_with("yes"));
    for (who, what, may) in [
        ("viewer", "list deployments.apps", true),
        ("viewer", "get secrets", false),
        ("viewer", "create pods", false),
        ("viewer", "get pods.metrics.k8s.io", true),
        ("editor", "get secrets", true),
        ("editor", "create pods --subresource=exec", true),
        ("editor", "create roles", false),
        ("boss", "create roles", true),
        ("boss", "create clusterroles", false),
    ] {
        let answer = can(&format!("--as={who}"), what);
        assert!(
            if may { answer.ok().starts_with("yes") } else { answer.fails().starts_with("no") },
            "{who} {what}"
        );
    }
    // A role of a user's own joins in.
    server.write(
        "more.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: more\n  labels:\n    \
         rbac.authorization.k8s.io/aggregate-to-view: \"true\"\nrules:\n- apiGroups: [acme.com]\n  \
         resources: [gadgets]\n  verbs: [get]\n",
    );
    server.kubectl("create -f more.yaml").ok();
    until(|| server.kubectl("get clusterrole admin -o yaml").ok().contains("gadgets"));
    // Nobody hands out what it does not have.
    let refused = server.kubectl("--as=boss create role r --verb=get --resource=nodes").fails();
    assert!(
        refused.contains(
            "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"boss\" (groups=[\"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"
        ),
        "{refused}"
    );
    server.kubectl("--as=boss create role r --verb=get --resource=pods").ok();
    let widened = "patch role r --type=json -p [{\"op\":\"replace\",\"path\":\"/rules/0/resources/0\",\"value\":\"nodes\"}]";
    assert!(server.kubectl(&format!("--as=boss {widened}")).fails().contains("not currently held"));
    server.kubectl("--as=boss label role r a=b").ok();
    let bind = "create rolebinding b --clusterrole=cluster-admin --user=friend";
    assert!(server.kubectl(&format!("--as=boss {bind}")).fails().contains("not currently held"));
    server.kubectl("--as=boss create rolebinding b --clusterrole=view --user=friend").ok();
    server
        .kubectl("create role binder --verb=bind --resource=clusterroles --resource-name=cluster-admin")
        .ok();
    server.kubectl("create rolebinding binder --role=binder --user=boss").ok();
    server.kubectl(&format!("--as=boss {}", bind.replace(" b ", " c "))).ok();
    // Reconciled by kubectl, and by the server when it starts.
    assert!(server.kubectl("auth reconcile -f more.yaml").ok().contains("more"));
    server.kubectl("patch clusterrole system:basic-user --type=merge -p {\"rules\":[]}").ok();
    let before =
        server.kubectl("get clusterrole system:discovery -o jsonpath={.metadata.resourceVersion}").ok();
    let server = server.restart();
    let role = server.kubectl("get clusterrole system:basic-user -o yaml").ok();
    assert!(role.contains("selfsubjectreviews"), "{role}");
    let after =
        server.kubectl("get clusterrole system:discovery -o jsonpath={.metadata.resourceVersion}").ok();
    assert_eq!(before, after);
}
