use super::super::configs::Configs;
use super::*;
use std::net::IpAddr;

fn machine() -> Machine {
    Machine { cgroup_v2: true, memory_advice: None, memory: 1 << 30, oom_floor: -1000 }
}

fn made(container: Value, image: &ImageConfig, machine: &Machine) -> Result<(Value, Vec<String>), Error> {
    let pod = Object::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u-1", "labels": {"app": "shop"}},
        "spec": {"containers": [container]},
    }));
    let pod = pod.unwrap();
    let sandbox = Sandbox {
        ips: vec![],
        netns: Some("/run/midge/netns/u-1".into()),
        ipc: None,
        uts: Some("/run/midge/uts/u-1".into()),
        cgroup: "/midge/podu-1".into(),
    };
    let ips: [IpAddr; 1] = ["10.42.0.5".parse().unwrap()];
    let configs = Configs::new("/nonexistent".into());
    let facts = env::Facts { hostname: "web", pod_ips: &ips, host_ips: &[], configs: &configs };
    let container = &pod.array_at("/spec/containers")[0];
    let env = env::env(&pod, container, &image.env, &facts).unwrap();
    let spec = spec(&Inputs {
        pod: &pod,
        container,
        image,
        sandbox: &sandbox,
        machine,
        folder: Path::new("/data/pods/u-1"),
        termination_log: Path::new("/data/pods/u-1/termination/web"),
        id: "c0",
        env: &env,
        volumes: &[],
    })?;
    Ok((serde_json::from_slice(&spec.json).unwrap(), spec.warnings))
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["image".into()],
        env: vec!["PATH=/bin".into(), "A=image".into()],
        ..ImageConfig::default()
    }
}

#[test]
fn command_and_args_against_entrypoint_and_cmd() {
    for (container, expected) in [
        (json!({}), &["/entry", "image"][..]),
        (json!({"args": ["x"]}), &["/entry", "x"]),
        (json!({"command": ["/own"]}), &["/own"]),
        (json!({"command": ["/own"], "args": ["x"]}), &["/own", "x"]),
        (
            json!({"args": ["$(A)-$(NONE)-$$(A)"], "env": [{"name": "A", "value": "own"}]}),
            &["/entry", "own-$(NONE)-$(A)"],
        ),
    ] {
        let (spec, _) = made(container, &image(), &machine()).unwrap();
        assert_eq!(spec["process"]["args"], json!(expected));
    }
    let empty = made(json!({}), &ImageConfig::default(), &machine());
    assert_eq!(empty.unwrap_err(), Error::NoCommand);
}

#[test]
fn environment() {
    let container = json!({"env": [
        {"name": "B", "value": "b"},
        {"name": "A", "value": "$(B)$(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    ]});
    let (spec, _) = made(container, &image(), &machine()).unwrap();
    let expected = ["PATH=/bin", "A=b$(LATER)", "HOSTNAME=web", "B=b", "LATER=x", "IP=10.42.0.5", "APP=shop"];
    assert_eq!(spec["process"]["env"], json!(expected));
}

#[test]
fn limits_become_shares_quota_and_scores() {
    let container = json!({"name": "web", "resources": {
        "requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1500m", "memory": "512Mi"},
    }});
    let (spec, warnings) = made(container.clone(), &image(), &machine()).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["cpu"], json!({"shares": 256, "quota": 150_000, "period": 100_000}));
    assert_eq!(resources["memory"]["limit"], 512 << 20);
    assert_eq!(spec["process"]["oomScoreAdj"], 750);
    assert!(warnings.is_empty());
    // A Pi without the memory controller runs it all the same, and says so.
    let pi = Machine { memory_advice: Some("add cgroup_enable=memory".into()), ..machine() };
    let (spec, warnings) = made(container, &image(), &pi).unwrap();
    assert_eq!(spec["linux"]["resources"].get("memory"), None);
    assert!(warnings[0].contains("cgroup_enable=memory"));
    // Guaranteed wants a negative score, which needs a capability.
    let container = json!({"resources": {"limits": {"cpu": "1", "memory": "64Mi"}}});
    let bound = Machine { oom_floor: 0, ..machine() };
    for (machine, score) in [(machine(), -997), (bound, 0)] {
        assert_eq!(made(container.clone(), &image(), &machine).unwrap().0["process"]["oomScoreAdj"], score);
    }
}

#[test]
fn users_and_capabilities() {
    let with_user = |user: &str| ImageConfig { user: user.into(), ..image() };
    let user = |container: Value, user: &str| {
        made(container, &with_user(user), &machine()).map(|(spec, _)| spec["process"]["user"].clone())
    };
    assert_eq!(user(json!({}), "").unwrap(), json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
    assert_eq!(
        user(json!({}), "65532:70").unwrap(),
        json!({"uid": 65532, "gid": 70, "additionalGids": [70]})
    );
    assert_eq!(user(json!({}), "nobody").unwrap_err(), Error::UserName { user: "nobody".into() });
    let own = json!({"securityContext": {"runAsUser": 7}});
    assert_eq!(user(own, "nobody").unwrap()["uid"], 7);
    let non_root = json!({"securityContext": {"runAsNonRoot": true}});
    assert_eq!(user(non_root, "root").unwrap_err(), Error::RunAsRoot);
    let container = json!({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}});
    let (spec, _) = made(container, &image(), &machine()).unwrap();
    assert_eq!(spec["process"]["capabilities"]["effective"], json!(["CAP_NET_ADMIN"]));
}

#[test]
fn the_sandbox_is_joined() {
    let (spec, _) = made(json!({}), &image(), &machine()).unwrap();
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().filter_map(|n| n["type"].as_str()).collect();
    assert_eq!(kinds, ["mount", "pid", "cgroup", "network", "uts"]);
    assert_eq!(spec["linux"]["cgroupsPath"], "/midge/podu-1/c0");
    assert_eq!(spec["annotations"]["io.containerd.runc.v2.group"], "u-1");
}
