use super::super::configs::Configs;
use super::*;
use std::net::IpAddr;

fn machine() -> Machine {
    Machine {
        cgroup_v2: true,
        memory_advice: None,
        has_cpu_quota: true,
        huge_pages: vec!["2MB".into()],
        memory: 1 << 30,
        allocatable: Resources { cpu_millis: 4000, memory: 1 << 30, disk: 1 << 33, huge_pages: 0 },
        oom_floor: -1000,
        capabilities: u64::MAX,
        apparmor_profiles: None,
        seccomp_folder: "/nonexistent".into(),
    }
}

fn made(container: Value, image: &ImageConfig, machine: &Machine) -> Result<(Value, Vec<String>), String> {
    let spec = json!({"containers": [container]});
    made_in(spec, image, machine, &[])
}

fn made_in(
    spec_of_pod: Value,
    image: &ImageConfig,
    machine: &Machine,
    volumes: &[Mount],
) -> Result<(Value, Vec<String>), String> {
    let metadata = json!({"name": "web", "namespace": "default", "uid": "u-1", "labels": {"app": "shop"}});
    let pod = Object::from_value(json!({"metadata": metadata, "spec": spec_of_pod})).unwrap();
    let sandbox = Sandbox {
        ips: vec![],
        netns: Some("/run/midge/netns/u-1".into()),
        ipc: Some("/run/midge/ipc/u-1".into()),
        uts: Some("/run/midge/uts/u-1".into()),
        pid: None,
        shm: Some("/run/midge/shm/u-1".into()),
        hostname: "web".into(),
        cgroup: "/midge/podu-1".into(),
    };
    let ips: [IpAddr; 1] = ["10.42.0.5".parse().unwrap()];
    let configs = Configs::new("/nonexistent".into());
    let facts = env::Facts {
        pod_ips: &ips,
        host_ips: &[],
        server: "",
        configs: &configs,
        allocatable: machine.allocatable,
    };
    let container = &pod.array_at("/spec/containers")[0];
    let env = env::env(&pod, container, &facts).unwrap();
    let spec = spec(&Inputs {
        pod: &pod,
        container,
        image,
        sandbox: &sandbox,
        machine,
        user: &User { uid: 0, gid: 0, groups: vec![0, 10] },
        folder: Path::new("/data/pods/u-1"),
        termination_log: Path::new("/data/pods/u-1/termination/web"),
        id: "c0",
        env: &env,
        volumes,
    });
    let spec = spec.map_err(|error| error.to_string())?;
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
    assert!(empty.unwrap_err().starts_with("no command specified"));
    // The image's variables are not expanded.
    let (spec, _) = made(json!({"args": ["$(PATH)"]}), &image(), &machine()).unwrap();
    assert_eq!(spec["process"]["args"][1], "$(PATH)");
}

#[test]
fn environment() {
    let container = json!({"env": [
        {"name": "B", "value": "b"},
        {"name": "A", "value": "$(B)$(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    ], "tty": true});
    let (spec, _) = made(container, &image(), &machine()).unwrap();
    let expected = [
        "PATH=/bin",
        "HOSTNAME=web",
        "TERM=xterm",
        "A=b$(LATER)",
        "B=b",
        "LATER=x",
        "IP=10.42.0.5",
        "APP=shop",
    ];
    assert_eq!(spec["process"]["env"], json!(expected));
    assert_eq!(spec["process"]["terminal"], true);
}

#[test]
fn limits_become_shares_quota_and_scores() {
    let container = json!({"name": "web", "resources": {
        "requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1500m", "memory": "512Mi", "hugepages-2Mi": "4Mi"},
    }});
    let (spec, warnings) = made(container.clone(), &image(), &machine()).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["cpu"], json!({"shares": 256, "quota": 150_000, "period": 100_000}));
    assert_eq!(resources["memory"]["limit"], 512 << 20);
    assert_eq!(resources["hugepageLimits"], json!([{"pageSize": "2MB", "limit": 4 << 20}]));
    assert_eq!(resources["unified"]["memory.oom.group"], "1");
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
fn capabilities_and_privilege() {
    let context = |context: Value| made(json!({"securityContext": context}), &image(), &machine()).unwrap().0;
    let spec = context(json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}));
    assert_eq!(spec["process"]["capabilities"]["effective"], json!(["CAP_NET_ADMIN"]));
    let spec = context(json!({"capabilities": {"add": ["CAP_sys_time"], "drop": ["chown"]}}));
    let names = spec["process"]["capabilities"]["bounding"].as_array().unwrap().clone();
    assert!(
        names.contains(&json!("CAP_SYS_TIME")) && !names.contains(&json!("CAP_CHOWN")) && names.len() == 14
    );
    // No more than this process has itself.
    let few = Machine { capabilities: 0b101, ..machine() };
    for context in [json!({"privileged": true}), json!({"capabilities": {"add": ["ALL"]}})] {
        let (spec, _) = made(json!({"securityContext": context}), &image(), &few).unwrap();
        let expected = json!(["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(spec["process"]["capabilities"]["bounding"], expected);
    }
    let spec = context(json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    let linux = &spec["linux"];
    assert_eq!(linux["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert!(linux["devices"].as_array().unwrap().iter().any(|device| device["path"] == "/dev/null"));
    for absent in ["maskedPaths", "readonlyPaths", "seccomp"] {
        assert_eq!(linux.get(absent), None, "{absent}");
    }
    let sys = spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
    assert!(sys["options"].as_array().unwrap().contains(&json!("rw")));
}

#[test]
fn profiles() {
    let context = |context: Value| made(json!({"securityContext": context}), &image(), &machine());
    let (spec, _) = context(json!({"seccompProfile": {"type": "RuntimeDefault"}})).unwrap();
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    let (spec, _) = context(json!({"seccompProfile": {"type": "Unconfined"}})).unwrap();
    assert_eq!(spec["linux"].get("seccomp"), None);
    let error = context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}));
    assert_eq!(error.unwrap_err(), "failed to read the seccomp profile `/nonexistent/x.json`");
    let own =
        json!({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "own"}}});
    let error = made(own.clone(), &image(), &machine()).unwrap_err();
    assert_eq!(error, "Cannot enforce AppArmor: AppArmor is not enabled on the host");
    let list = std::env::temp_dir().join(format!("midge-apparmor-{}", std::process::id()));
    std::fs::write(&list, "own (enforce)\ndocker-default (enforce)\n").unwrap();
    let of = |context: Value, list: &Path| {
        let armed = Machine { apparmor_profiles: Some(list.into()), ..machine() };
        let container = json!({"securityContext": context});
        made(container, &image(), &armed).map(|(spec, _)| spec["process"]["apparmorProfile"].clone())
    };
    let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
    let localhost = |name: &str| json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": name}});
    assert_eq!(of(localhost("own"), &list).unwrap(), "own");
    assert_eq!(of(localhost("other"), &list).unwrap_err(), "apparmor profile not found other");
    assert_eq!(of(profile("RuntimeDefault"), &list).unwrap(), "docker-default");
    assert_eq!(of(profile("Unconfined"), &list).unwrap(), "unconfined");
    assert_eq!(of(json!({}), &list).unwrap(), Value::Null);
    std::fs::remove_file(&list).unwrap();
    // securityfs may not be mounted: the container runtime says what is there.
    assert_eq!(of(localhost("other"), &list).unwrap(), "other");
    assert_eq!(of(profile("RuntimeDefault"), &list).unwrap(), Value::Null);
}

#[test]
fn volumes_go_over_what_is_there() {
    let volume = |destination: &str| Mount {
        destination: destination.into(),
        source: "/v".into(),
        options: vec!["rbind".into()],
    };
    let volumes = [volume("/a/b"), volume("/dev/shm/"), volume("/a"), volume("/etc/hosts")];
    let pod = json!({"containers": [{}]});
    let (spec, _) = made_in(pod, &image(), &machine(), &volumes).unwrap();
    let mounts = spec["mounts"].as_array().unwrap();
    let places: Vec<&str> = mounts.iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    let at = |place: &str| places.iter().position(|other| *other == place);
    assert!(at("/a") < at("/a/b") && at("/dev") < at("/dev/shm/") && at("/dev/shm").is_none(), "{places:?}");
    assert_eq!(places.iter().filter(|place| **place == "/etc/hosts").count(), 1);
    assert_eq!(mounts[at("/etc/hosts").unwrap()]["source"], "/v");
}

#[test]
fn a_sidecar_is_killed_no_earlier_than_the_others() {
    let requests = |memory: &str| json!({"requests": {"memory": memory}});
    let score = |own: Value| {
        let others = [own, json!({"resources": requests("512Mi")})];
        let spec = made_in(json!({"containers": others}), &image(), &machine(), &[]).unwrap().0;
        spec["process"]["oomScoreAdj"].clone()
    };
    assert_eq!(score(json!({})), 999);
    assert_eq!(score(json!({"resources": requests("2Gi")})), 3);
    assert_eq!(score(json!({"restartPolicy": "Always"})), 500);
}

#[test]
fn the_sandbox_is_joined() {
    let (spec, _) = made(json!({}), &image(), &machine()).unwrap();
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().filter_map(|n| n["type"].as_str()).collect();
    assert_eq!(kinds, ["mount", "pid", "cgroup", "network", "ipc", "uts"]);
    assert_eq!(spec["linux"]["cgroupsPath"], "/midge/podu-1/c0");
    assert_eq!(spec["annotations"]["io.containerd.runc.v2.group"], "u-1");
}
