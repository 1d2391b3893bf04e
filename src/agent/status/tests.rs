use super::*;
use crate::agent::record::{Attempt, Exit, Failure, Stamp, Termination};
use crate::plan::pod::RestartPolicy;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn exit(code: u32, seconds: u64) -> Option<Exit> {
    Some(Exit::seen(code, at(seconds), false))
}

fn attempt(number: u32, exit: Option<Exit>) -> Attempt {
    Attempt {
        number,
        id: format!("c{number}"),
        image: "docker.io/library/web:1".into(),
        image_id: "sha256:1".into(),
        stop_signal: 15,
        started: Some(Stamp(at(50))),
        exit,
    }
}

/// One container called `web`.
struct Case {
    policy: &'static str,
    record: Record,
    running: bool,
    waiting: Option<&'static str>,
}

impl Case {
    fn new(policy: &'static str, attempts: &[Attempt], back_off: u64) -> Case {
        let mut record = Record::default();
        record.start_time = Some(Stamp(at(40)));
        record.ips = vec!["10.42.0.5".parse().unwrap()];
        let container = record.containers.entry("web".into()).or_default();
        for attempt in attempts {
            container.started(attempt.clone(), Duration::from_secs(back_off));
        }
        Case { policy, record, running: false, waiting: None }
    }

    fn running(mut self) -> Case {
        self.running = true;
        self
    }

    fn waiting(mut self, reason: &'static str) -> Case {
        self.waiting = Some(reason);
        self
    }

    fn terminating(mut self) -> Case {
        self.record.terminate(30, at(90));
        self
    }

    fn status(&self) -> Status {
        let pod = Object::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u-1", "generation": 2},
            "spec": {"restartPolicy": self.policy, "containers": [{"name": "web", "image": "web:1"}]},
        }));
        let seen = Seen { started: true, ready: true };
        let running = self.running.then(|| ("web".to_owned(), seen)).into_iter().collect();
        let policy = RestartPolicy::parse(self.policy);
        let wanted =
            Wanted { name: "web".into(), role: Role::Main, policy, rules: Vec::new(), has_post_start: false };
        let waiting = self.waiting.map(|reason| Waiting { reason: reason.into(), message: "why".into() });
        status(&Inputs {
            pod: &pod.unwrap(),
            containers: &[wanted],
            record: &self.record,
            running: &running,
            waiting: &waiting.map(|waiting| ("web".to_owned(), waiting)).into_iter().collect(),
            is_initialized: true,
            sandbox_ready: true,
            host_ips: &["192.0.2.1".parse().unwrap()],
            now: at(100),
        })
    }
}

#[test]
fn phases_and_states() {
    let start_error = Some(Exit::not_started("exec: no such file".into(), at(98)));
    let oom = Some(Exit::seen(137, at(60), true));
    // what, case, phase, state's kind and reason, lastState's reason, ready
    let cases = [
        ("new", Case::new("Always", &[], 0), "Pending", "waiting ContainerCreating", "", false),
        (
            "no image",
            Case::new("Always", &[], 0).waiting("ErrImagePull"),
            "Pending",
            "waiting ErrImagePull",
            "",
            false,
        ),
        ("runs", Case::new("Always", &[attempt(0, None)], 0).running(), "Running", "running ", "", true),
        (
            "restarted",
            Case::new("Always", &[attempt(0, oom), attempt(1, None)], 10).running(),
            "Running",
            "running ",
            "OOMKilled",
            true,
        ),
        (
            "restarts now",
            Case::new("Always", &[attempt(0, exit(1, 99))], 0),
            "Running",
            "terminated Error",
            "",
            false,
        ),
        (
            "back-off",
            Case::new("Always", &[attempt(3, exit(1, 95))], 80),
            "Running",
            "waiting CrashLoopBackOff",
            "Error",
            false,
        ),
        (
            "can't start",
            Case::new("Always", &[attempt(3, start_error)], 80),
            "Running",
            "waiting RunContainerError",
            "StartError",
            false,
        ),
        (
            "done",
            Case::new("OnFailure", &[attempt(0, exit(0, 95))], 0),
            "Succeeded",
            "terminated Completed",
            "",
            false,
        ),
        (
            "failed",
            Case::new("Never", &[attempt(0, exit(2, 95))], 0),
            "Failed",
            "terminated Error",
            "",
            false,
        ),
        (
            "failed, again",
            Case::new("OnFailure", &[attempt(0, exit(2, 95))], 10),
            "Running",
            "waiting CrashLoopBackOff",
            "Error",
            false,
        ),
        (
            "deleted",
            Case::new("Always", &[attempt(0, exit(143, 95))], 10).terminating(),
            "Failed",
            "terminated Error",
            "",
            false,
        ),
    ];
    for (what, case, phase, state, last, ready) in cases {
        let value = case.status().value;
        let container = &value["containerStatuses"][0];
        let (kind, inner) = container["state"].as_object().unwrap().iter().next().unwrap();
        let found = format!("{kind} {}", inner["reason"].as_str().unwrap_or(""));
        let last_found = container["lastState"]["terminated"]["reason"].as_str().unwrap_or("");
        assert_eq!((value["phase"].as_str().unwrap(), &*found, last_found), (phase, state, last), "{what}");
        assert_eq!(container["ready"], ready, "{what}");
    }
}

#[test]
fn words_are_upstreams() {
    let value = Case::new("Always", &[attempt(3, exit(1, 95))], 80).status().value;
    let container = &value["containerStatuses"][0];
    assert_eq!(
        container["state"]["waiting"]["message"],
        "back-off 1m20s restarting failed container=web pod=web_default(u-1)"
    );
    assert_eq!(container["restartCount"], 3);
    assert_eq!(container["containerID"], "containerd://c3");
    assert_eq!(value["podIPs"], json!([{"ip": "10.42.0.5"}]));
    assert_eq!(value["hostIP"], "192.0.2.1");
    assert_eq!(value["qosClass"], "BestEffort");
    assert_eq!(value["conditions"][2]["message"], "containers with unready status: [web]");
}

#[test]
fn conditions_keep_their_transition_times() {
    let mut case = Case::new("Always", &[attempt(0, None)], 0).running();
    let Status { mut conditions, .. } = case.status();
    assert_eq!(conditions["Initialized"].since, Stamp(at(40)));
    conditions.insert("Ready".into(), Condition { status: true, since: Stamp(at(77)) });
    case.record.conditions = conditions;
    assert_eq!(case.status().value["conditions"][2]["lastTransitionTime"], time::format(at(77)));
    case.running = false;
    assert_eq!(case.status().conditions["Ready"], Condition { status: false, since: Stamp(at(100)) });
}

/// A pod with an init container, a sidecar, two containers and a debugger; by container: `-` waits, `r` runs and is
/// ready, `u` runs and is not, a digit an exit.
fn several(
    states: &str,
    policy: &str,
    initialized: bool,
    change: impl FnOnce(&mut Object, &mut Record),
) -> Value {
    let mut record = Record::default();
    record.start_time = Some(Stamp(at(40)));
    let (mut wanted, mut running) = (Vec::new(), BTreeMap::new());
    let roles = [Role::Init, Role::Sidecar, Role::Main, Role::Main, Role::Ephemeral];
    for ((name, role), state) in
        ["init", "side", "x", "y", "debug"].into_iter().zip(roles).zip(states.chars())
    {
        let policy = if role == Role::Sidecar { RestartPolicy::Always } else { RestartPolicy::parse(policy) };
        wanted.push(Wanted { name: name.into(), role, policy, rules: Vec::new(), has_post_start: false });
        let code = state.to_digit(10);
        if state != '-' {
            let ended = code.and_then(|code| exit(code, 95));
            record.started(name, attempt(0, ended), Duration::ZERO, "web:1");
        }
        if code.is_none() && state != '-' {
            running.insert(name.to_owned(), Seen { started: state == 'r', ready: state == 'r' });
        }
    }
    let mut pod = Object::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u-1", "generation": 2},
        "spec": {
            "initContainers": [{"name": "init"}, {"name": "side"}],
            "containers": [{"name": "x", "resources": {"requests": {"cpu": "1"}}}, {"name": "y"}],
            "ephemeralContainers": [{"name": "debug"}],
        },
    }))
    .unwrap();
    change(&mut pod, &mut record);
    let inputs = Inputs {
        pod: &pod,
        containers: &wanted,
        record: &record,
        running: &running,
        waiting: &BTreeMap::new(),
        is_initialized: initialized,
        sandbox_ready: true,
        host_ips: &[],
        now: at(100),
    };
    status(&inputs).value
}

#[test]
fn phases_of_pods_with_several_containers() {
    for (policy, states, initialized, phase) in [
        ("Always", "-----", false, "Pending"),
        ("Always", "r----", false, "Pending"),
        ("Always", "1----", false, "Pending"),
        ("Never", "1----", false, "Failed"),
        ("Never", "1r---", false, "Pending"),
        ("Always", "0u---", false, "Pending"),
        ("Always", "0r---", false, "Pending"),
        ("Always", "0rr--", true, "Pending"),
        ("Always", "0rrr-", true, "Running"),
        ("Always", "0uuu-", true, "Running"),
        ("Always", "0111-", true, "Running"),
        ("Never", "0r00-", true, "Running"),
        ("Never", "0000-", true, "Succeeded"),
        ("Never", "0001-", true, "Failed"),
        ("Never", "0101-", true, "Failed"),
        ("Never", "0100r", true, "Running"),
        ("Never", "01001", true, "Succeeded"),
        ("OnFailure", "0001-", true, "Running"),
    ] {
        assert_eq!(several(states, policy, initialized, |_, _| ())["phase"], phase, "{policy} {states}");
    }
}

#[test]
fn every_container_has_its_list_and_its_words() {
    let value = several("r----", "Always", false, |_, _| ());
    assert_eq!(value["initContainerStatuses"][0]["started"], false);
    assert_eq!(value["initContainerStatuses"][1]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(value["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(value["containerStatuses"][0]["allocatedResources"]["cpu"], "1");
    let condition = |value: &Value, kind: &str| {
        let conditions = value["conditions"].as_array().unwrap();
        let found =
            conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
        assert!(found.is_null() || found["observedGeneration"] == 2);
        let word = |key: &str| found[key].as_str().unwrap_or("").to_owned();
        format!("{} {} {}", word("status"), word("reason"), word("message"))
    };
    let init = "False ContainersNotInitialized containers with incomplete status: [init side]";
    assert_eq!(condition(&value, "Initialized"), init);
    let value = several("0rru0", "Always", true, |_, _| ());
    assert_eq!(value["initContainerStatuses"][0]["ready"], true);
    assert_eq!(value["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(condition(&value, "Initialized"), "True  ");
    let unready = "False ContainersNotReady containers with unready status: [y]";
    assert_eq!(condition(&value, "Ready"), unready);

    // Readiness gates.
    let gate = |status: Option<&str>| {
        several("0rrr-", "Always", true, |pod, _| {
            pod.set("/spec/readinessGates", json!([{"conditionType": "lb"}]));
            if let Some(status) = status {
                pod.set("/status/conditions", json!([{"type": "lb", "status": status}]));
            }
        })
    };
    let missing = "corresponding condition of pod readiness gate \"lb\" does not exist.";
    assert_eq!(condition(&gate(None), "Ready"), format!("False ReadinessGatesNotReady {missing}"));
    assert_eq!(condition(&gate(None), "ContainersReady"), "True  ");
    let closed = "the status of pod readiness gate \"lb\" is not \"True\", but False";
    assert_eq!(condition(&gate(Some("False")), "Ready"), format!("False ReadinessGatesNotReady {closed}"));
    assert_eq!(condition(&gate(Some("True")), "Ready"), "True  ");

    // Evicted: failed once nothing runs any more.
    let evicted = |states: &str| {
        several(states, "Always", true, |_, record| {
            let termination = Termination { since: Stamp(at(99)), grace_seconds: 1 };
            let message = "no memory".to_owned();
            record.failure = Some(Failure { reason: "Evicted".into(), message, termination });
        })
    };
    assert_eq!((&evicted("0rrr-")["phase"], &evicted("0rrr-")["reason"]), (&json!("Running"), &Value::Null));
    let value = evicted("0111-");
    assert_eq!((&value["phase"], &value["reason"]), (&json!("Failed"), &json!("Evicted")));
    assert_eq!(condition(&value, "DisruptionTarget"), "True TerminationByKubelet no memory");
    assert_eq!(condition(&value, "Ready"), "False PodFailed ");
}

#[test]
fn messages_share_what_a_status_may_hold() {
    let long = |_: &mut Object, record: &mut Record| {
        for container in record.containers.values_mut() {
            let exit = container.current.as_mut().and_then(|attempt| attempt.exit.as_mut()).unwrap();
            exit.message = "ä".repeat(3000);
        }
    };
    let value = several("00000", "Never", true, long);
    let message = value["containerStatuses"][0]["state"]["terminated"]["message"].as_str().unwrap();
    assert_eq!(message.len(), 2456);
}
