//! Service accounts as users have them: tokens by kubectl, and a program in a pod that asks the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use serde_json::json;
use std::time::Duration;

/// The host's curl in the image's place: nothing else in it speaks TLS 1.3.
fn pod(name: &str, account: &str, script: &str) -> String {
    let folders = ["/usr", "/lib", "/lib64"].map(|path| std::fs::canonicalize(path).unwrap_or_default());
    let names = ["usr", "lib", "lib64"];
    let volumes =
        names.iter().zip(&folders).map(|(name, path)| json!({"name": name, "hostPath": {"path": path}}));
    let mounts =
        names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true}));
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "serviceAccountName": account,
            "volumes": volumes.collect::<Vec<_>>(),
            "containers": [{"name": "main", "image": IMAGE, "command": ["/bin/sh", "-c", script],
                "volumeMounts": mounts.collect::<Vec<_>>()}],
        },
    })
    .to_string()
}

const ASK: &str = r#"
cd /var/run/secrets/kubernetes.io/serviceaccount
ask() { /usr/bin/curl -sS --cacert ca.crt -H "Authorization: Bearer $(cat token)" "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT$1"; echo; }
ls; cat namespace; echo
ask /api
ask /api/v1/namespaces/default/pods/asking
ask /api/v1/namespaces/kube-system/secrets
"#;

#[test]
fn a_pod_asks_the_api_with_its_token() {
    let cluster = Cluster::new("accounts").agent("pi-1").up();
    let kubectl = |line: &str| cluster.kubectl(line);
    kubectl("create serviceaccount robot").success();
    kubectl("create role reader --verb=get --resource=pods").success();
    kubectl("create rolebinding robot --role=reader --serviceaccount=default:robot").success();

    cluster.apply(&pod("asking", "robot", ASK)).success();
    cluster.phase("asking", "Succeeded");
    let said = kubectl("logs asking").success().stdout;
    for words in [
        "ca.crt\nnamespace\ntoken\ndefault\n",
        "\"APIVersions\"",
        "\"serviceAccountName\":\"robot\"",
        "secrets is forbidden: User \\\"system:serviceaccount:default:robot\\\" cannot list resource",
    ] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }

    // By kubectl, and what it is good for.
    let as_robot = |token: &str, line: &str| {
        let mut command = cluster.server.host.command("kubectl");
        command.env("HOME", &cluster.server.folder).env_remove("KUBECONFIG");
        command.args(["--insecure-skip-tls-verify", "--server", &cluster.url(), "--token", token]);
        command.args(line.split_whitespace());
        Answer::of(&mut command)
    };
    let token = kubectl("create token robot --duration 20m").success().stdout;
    let who = as_robot(token.trim(), "auth whoami -o json").success().stdout;
    assert!(who.contains("system:serviceaccounts:default") && who.contains("JTI="), "{who}");
    as_robot(token.trim(), "get pod asking").success();
    assert!(as_robot(token.trim(), "get nodes").stderr.contains("nodes is forbidden"));
    let other = kubectl("create token robot --audience vault").success().stdout;
    assert!(as_robot(other.trim(), "get pod asking").code != Some(0));
    let bound = "create token robot --bound-object-kind Pod --bound-object-name asking";
    let bound = kubectl(bound).success().stdout;
    as_robot(bound.trim(), "get pod asking").success();
    kubectl("delete pod asking --wait").success();
    assert!(as_robot(bound.trim(), "get pods/asking").stderr.contains("logged in"), "it has ended");
    for (line, words) in [
        ("create token nobody", "serviceaccounts \"nobody\" not found"),
        ("create token robot --duration 5m", "may not specify a duration less than 10 minutes"),
        ("create token robot --bound-object-kind Pod --bound-object-name none", "pods \"none\" not found"),
    ] {
        let answer = kubectl(line);
        assert!(answer.code != Some(0) && answer.stderr.contains(words), "{line}: {}", answer.stderr);
    }

    let discovery = kubectl("get --raw /.well-known/openid-configuration").success().stdout;
    assert!(discovery.contains("\"issuer\":\"https://kubernetes.default.svc.cluster.local\""), "{discovery}");
    let keys = kubectl("get --raw /openid/v1/jwks").success().stdout;
    assert!(keys.contains("\"alg\":\"ES256\""), "{keys}");

    // A new namespace has what pods need.
    kubectl("create namespace shop").success();
    eventually("the root certificate is there", Duration::from_secs(5), || {
        let found = kubectl("get configmap kube-root-ca.crt -n shop -o name");
        (found.code == Some(0)).then_some(())
    });
    let refused = cluster.apply(&pod("lost", "nobody", "true"));
    let words = "pods \"lost\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
}
