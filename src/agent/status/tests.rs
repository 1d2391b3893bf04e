use super::*;

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
        let running = self.running.then(|| "web".to_owned()).into_iter().collect();
        let waiting = self.waiting.map(|reason| Waiting { reason: reason.into(), message: "why".into() });
        status(&Inputs {
            pod: &pod.unwrap(),
            record: &self.record,
            running: &running,
            waiting: &waiting.map(|waiting| ("web".to_owned(), waiting)).into_iter().collect(),
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
