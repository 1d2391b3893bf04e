use super::*;
use crate::api::kinds::{POD, SECRET, SERVICE_ACCOUNT};
use crate::api::{Object, Status};
use crate::link::TokenAsk;
use crate::server::registry::testing::{Cluster, pod};
use crate::server::registry::{Change, DeleteOptions, Subresource, WriteOptions};
use smol::future::block_on;
use std::time::{Duration, SystemTime};

struct Harness {
    cluster: Cluster,
    accounts: Accounts,
    folder: std::path::PathBuf,
}

impl Harness {
    fn new(name: &str) -> Self {
        let cluster = Cluster::new(&format!("accounts-{name}"));
        let folder = std::env::temp_dir().join(format!("midge-accounts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let accounts = Accounts::open(&folder, cluster.registry.clone(), "cluster.local").unwrap();
        Self { cluster, accounts, folder }
    }

    fn create(&self, object: Value) -> Result<Object, Status> {
        block_on(self.cluster.create(object))
    }

    fn account(&self, name: &str, rest: Value) -> Object {
        let mut account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}
        });
        account.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.create(account).unwrap()
    }

    fn issue(&self, account: &Object, bound: serde_json::Map<String, Value>, audiences: &[&str]) -> String {
        let audiences = audiences.iter().map(|&audience| audience.to_owned()).collect();
        self.accounts.issue(Ask { account, bound, audiences, seconds: 600 }, SystemTime::now()).unwrap().token
    }

    fn user(&self, token: &str, audience: &str) -> Option<String> {
        let audiences: Vec<String> =
            Some(audience.to_owned()).filter(|audience| !audience.is_empty()).into_iter().collect();
        self.accounts.verify(token, &audiences, SystemTime::now()).map(|proof| proof.user.name)
    }

    fn delete(&self, kind: &crate::api::Kind, name: &str) {
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        block_on(self.cluster.registry.delete(kind, "default", name, options)).unwrap();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

const ROBOT: &str = "system:serviceaccount:default:robot";

#[test]
fn a_token_is_good_for_its_audience_its_time_and_this_cluster() {
    let here = Harness::new("claims");
    let robot = here.account("robot", json!({}));
    let token = here.issue(&robot, Default::default(), &[]);
    let proof = here.accounts.verify(&token, &[], SystemTime::now()).unwrap();
    assert_eq!((proof.user.name.as_str(), proof.user.uid.as_str()), (ROBOT, robot.uid()));
    assert_eq!(proof.user.groups, ["system:serviceaccounts", "system:serviceaccounts:default"]);
    assert_eq!(proof.audiences, ["https://kubernetes.default.svc.cluster.local"]);
    assert!(proof.user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
    assert_eq!(here.user(&token, "vault"), None);
    let other = here.issue(&robot, Default::default(), &["vault"]);
    assert_eq!((here.user(&other, ""), here.user(&other, "vault").as_deref()), (None, Some(ROBOT)));

    let at = |seconds| here.accounts.verify(&token, &[], SystemTime::now() + Duration::from_secs(seconds));
    assert!(at(590).is_some() && at(601).is_none());

    // The key outlives the process; another cluster's signs nothing here.
    let again = Accounts::open(&here.folder, here.cluster.registry.clone(), "cluster.local").unwrap();
    assert!(again.verify(&token, &[], SystemTime::now()).is_some());
    let elsewhere = Accounts::open(&here.folder, here.cluster.registry.clone(), "other.local").unwrap();
    assert!(elsewhere.verify(&token, &[], SystemTime::now()).is_none());
    let foreign = Harness::new("foreign");
    assert!(foreign.accounts.verify(&token, &[], SystemTime::now()).is_none());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(here.folder.join("service-account.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Whatever was changed in it, and what never was one.
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let none = encode(r#"{"alg":"none"}"#);
    for bad in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode("{}"), parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], encode(&"x".repeat(64))),
        format!("{}.{}", parts[0], parts[1]),
        String::new(),
        "..".to_owned(),
        "x".repeat(100_000),
    ] {
        assert_eq!(here.user(&bad, ""), None, "{bad:.80}");
    }
    // An account of the same name is another one.
    here.delete(SERVICE_ACCOUNT, "robot");
    assert_eq!(here.user(&token, ""), None);
    here.account("robot", json!({}));
    assert_eq!(here.user(&token, ""), None);
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let here = Harness::new("bound");
    let robot = here.account("robot", json!({}));
    let mut web = pod("web");
    web["spec"]["serviceAccountName"] = "robot".into();
    let web = here.create(web).unwrap();
    let token = here.issue(&robot, here.accounts.bound_to("pod", &web), &[]);
    let extra = here.accounts.verify(&token, &[], SystemTime::now()).unwrap().user.extra;
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["web"]);
    here.delete(POD, "web");
    assert_eq!(here.user(&token, ""), None);

    // Of a Secret of the type, filled by the loop.
    let secret = |account: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
            "metadata": {"name": account, "namespace": "default", "annotations": {NAME_ANNOTATION: account}}})
    };
    here.create(secret("robot")).unwrap();
    // Its account comes later.
    here.create(secret("late")).unwrap();
    block_on(here.accounts.pass("PEM")).unwrap();
    assert_eq!(here.cluster.registry.get(SECRET, "default", "late").unwrap().str_at("/data/token"), "");
    here.account("late", json!({}));
    block_on(here.accounts.pass("PEM")).unwrap();
    assert_ne!(here.cluster.registry.get(SECRET, "default", "late").unwrap().str_at("/data/token"), "");
    here.delete(SERVICE_ACCOUNT, "late");
    block_on(here.accounts.pass("PEM")).unwrap();
    assert!(here.cluster.registry.item(SECRET, "default", "late").is_err());
    let filled = here.cluster.registry.get(SECRET, "default", "robot").unwrap();
    let data = |key: &str| {
        let text = filled.str_at(&format!("/data/{key}"));
        String::from_utf8(data_encoding::BASE64.decode(text.as_bytes()).unwrap()).unwrap()
    };
    assert_eq!((data("ca.crt").as_str(), data("namespace").as_str()), ("PEM", "default"));
    assert_eq!(filled.annotation(UID_ANNOTATION), Some(robot.uid()));
    assert_eq!(here.user(&data("token"), "").as_deref(), Some(ROBOT));
    let root =
        here.cluster.registry.get(crate::api::kinds::CONFIG_MAP, "kube-system", upkeep::ROOT_CA).unwrap();
    assert_eq!(root.str_at("/data/ca.crt"), "PEM");
    // A second pass has nothing to do.
    let revision = here.cluster.registry.store().revision();
    block_on(here.accounts.pass("PEM")).unwrap();
    assert_eq!(here.cluster.registry.store().revision(), revision);
    here.delete(SECRET, "robot");
    assert_eq!(here.user(&data("token"), ""), None);
}

#[test]
fn a_new_pod_gets_its_accounts_part() {
    let here = Harness::new("admission");
    let plain = here.create(pod("plain")).unwrap();
    assert_eq!(plain.str_at("/spec/serviceAccountName"), "default");
    let volume = &plain.array_at("/spec/volumes")[0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with(admission::VOLUME) && name.len() == admission::VOLUME.len() + 5, "{name}");
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    let mount = &plain.array_at("/spec/containers")[0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!((&mount["readOnly"], &mount["name"]), (&json!(true), &volume["name"]));
    let old = Object::from_slice(&without_token(&plain.to_vec()).unwrap()).unwrap();
    assert_eq!((old.array_at("/spec/volumes").len(), old.str_at("/spec/containers/0/name")), (0, "c"));
    assert!(old.at("/spec/containers/0/volumeMounts").unwrap().as_array().unwrap().is_empty());

    let mut lost = pod("lost");
    lost["spec"]["serviceAccountName"] = "robot".into();
    let refused = here.create(lost.clone()).unwrap_err();
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        "pods \"lost\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found"
    );

    here.account(
        "robot",
        json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "pull"}]}),
    );
    let quiet = here.create(lost.clone()).unwrap();
    assert_eq!((quiet.array_at("/spec/volumes").len(), quiet.str_at("/spec/serviceAccount")), (0, "robot"));
    assert_eq!(quiet.array_at("/spec/imagePullSecrets"), [json!({"name": "pull"})]);
    // The pod has the last word, and what is mounted there stays.
    lost["metadata"]["name"] = "own".into();
    lost["spec"]["automountServiceAccountToken"] = true.into();
    lost["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
    lost["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    assert_eq!(here.create(lost.clone()).unwrap().array_at("/spec/volumes").len(), 1);
    lost["metadata"]["name"] = "mounted".into();
    lost["spec"]["containers"][0]["volumeMounts"] = json!([]);
    assert_eq!(here.create(lost).unwrap().array_at("/spec/volumes").len(), 2);
}

#[test]
fn a_node_gets_tokens_of_its_own_pods_only() {
    let here = Harness::new("node");
    let web = here.create(pod("web")).unwrap();
    let ask = TokenAsk {
        uid: web.uid().to_owned(),
        namespace: "default".into(),
        name: "web".into(),
        audience: String::new(),
        seconds: 3607,
    };
    let token = |node: &str, ask: &TokenAsk| here.accounts.for_node(node, ask).token;
    assert_eq!(token("pi-1", &ask), None, "it is nowhere yet");
    let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
    let place = |pod: &mut Object| {
        pod.set("/spec/nodeName", "pi-1");
        Ok(Change::Write)
    };
    block_on(here.cluster.registry.modify(POD, "default", "web", options, place)).unwrap();
    let given = token("pi-1", &ask).unwrap();
    assert_eq!(here.user(&given, "").as_deref(), Some("system:serviceaccount:default:default"));
    for (node, wrong) in [
        ("pi-2", ask.clone()),
        ("", ask.clone()),
        ("pi-1", TokenAsk { uid: "other".into(), ..ask.clone() }),
        ("pi-1", TokenAsk { audience: "vault".into(), ..ask.clone() }),
        ("pi-1", TokenAsk { seconds: 1 << 32, ..ask.clone() }),
        ("pi-1", TokenAsk { name: "nobody".into(), ..ask.clone() }),
    ] {
        let given = here.accounts.for_node(node, &wrong);
        assert!(given.token.is_none() && given.refused.is_some(), "{node} {wrong:?}");
    }
}
