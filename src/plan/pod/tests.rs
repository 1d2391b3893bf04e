use super::*;

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    T0 + Duration::from_secs(seconds)
}

fn pod(policy: &str) -> Desired {
    Desired { restart_policy: RestartPolicy::parse(policy), containers: vec!["web".into()], kill_at: None }
}

fn deleted(kill_at: u64) -> Desired {
    Desired { kill_at: Some(at(kill_at)), ..pod("Always") }
}

fn web(state: State) -> Observed {
    let container = Container { name: "web".into(), state, back_off: Duration::ZERO, not_before: None };
    Observed { sandbox: Sandbox::Ready, containers: vec![container], strays: vec![], hold: None }
}

fn waiting(state: State, back_off: u64) -> Observed {
    let mut observed = web(state);
    observed.containers[0].back_off = Duration::from_secs(back_off);
    observed
}

fn no_sandbox(mut observed: Observed) -> Observed {
    observed.sandbox = Sandbox::Absent { not_before: None };
    observed
}

fn running() -> State {
    State::Running { id: "c0".into(), attempt: 0, signalled: None }
}

fn signalled(kill: bool, seconds: u64) -> State {
    let signalled = Some(Signalled { kill, at: at(seconds) });
    State::Running { id: "c0".into(), attempt: 0, signalled }
}

fn exited(code: u32, started: u64, finished: u64) -> State {
    let exit = Exit { code, started: Some(at(started)), finished: at(finished), lost: false };
    State::Exited { id: None, attempt: 0, exit }
}

fn start(attempt: u32, back_off: u64) -> Action {
    Action::Start { name: "web".into(), attempt, back_off: Duration::from_secs(back_off) }
}

fn kill() -> Action {
    Action::Kill { id: "c0".into() }
}

fn clear() -> Action {
    Action::Clear { id: "c0".into() }
}

#[test]
fn decisions() {
    use Action::{CreateSandbox, RemoveSandbox, TearDown, Terminate};
    let absent = || State::Absent { attempt: 0 };
    let left = |code| match exited(code, 90, 100) {
        State::Exited { attempt, exit, .. } => State::Exited { id: Some("c0".into()), attempt, exit },
        other => other,
    };
    let lost = || {
        let exit = Exit { code: 255, started: Some(at(90)), finished: at(100), lost: true };
        State::Exited { id: None, attempt: 3, exit }
    };
    let stray = |is_running: bool| {
        let mut observed = web(running());
        observed.strays = vec![Stray { id: "c9".into(), running: is_running, signalled: None }];
        observed
    };
    let mut image_missing = web(absent());
    image_missing.containers[0].not_before = Some(at(120));
    let mut held = web(running());
    held.hold = Some(at(130));
    let mut network_failed = web(absent());
    network_failed.sandbox = Sandbox::Absent { not_before: Some(at(140)) };

    // what, desired, observed, actions, retry_at; now is 100 s.
    type Case = (&'static str, Option<Desired>, Observed, Vec<Action>, Option<u64>);
    let cases: Vec<Case> = vec![
        ("a new pod", Some(pod("Always")), no_sandbox(web(absent())), vec![CreateSandbox, start(0, 0)], None),
        ("it runs", Some(pod("Always")), web(running()), vec![], None),
        ("the network failed", Some(pod("Always")), network_failed, vec![], Some(140)),
        ("the image is missing", Some(pod("Always")), image_missing, vec![], Some(120)),
        (
            "the agent died before the start",
            Some(pod("Always")),
            web(State::Created { id: "c0".into(), attempt: 2 }),
            vec![clear(), start(2, 0)],
            None,
        ),
        ("first crash", Some(pod("Always")), web(left(1)), vec![clear(), start(1, 10)], None),
        ("second crash waits", Some(pod("Always")), waiting(exited(1, 90, 95), 10), vec![], Some(105)),
        ("and then doubles", Some(pod("Always")), waiting(exited(1, 80, 90), 10), vec![start(1, 20)], None),
        ("up to five minutes", Some(pod("Always")), waiting(exited(1, 0, 0), 200), vec![], Some(200)),
        (
            "the clock was set back",
            Some(pod("Always")),
            waiting(exited(1, 9000, 9001), 300),
            vec![start(1, 300)],
            None,
        ),
        (
            "after a reboot",
            Some(pod("Always")),
            no_sandbox(waiting(lost(), 300)),
            vec![CreateSandbox, start(4, 0)],
            None,
        ),
        ("after a reboot, Never", Some(pod("Never")), no_sandbox(web(lost())), vec![], None),
        ("OnFailure, failed", Some(pod("OnFailure")), web(exited(3, 90, 95)), vec![start(1, 10)], None),
        ("OnFailure, done", Some(pod("OnFailure")), web(exited(0, 90, 95)), vec![RemoveSandbox], None),
        ("Never, done", Some(pod("Never")), web(left(1)), vec![clear(), RemoveSandbox], None),
        ("done and cleared", Some(pod("Never")), no_sandbox(web(exited(1, 90, 95))), vec![], None),
        ("the sandbox is gone", Some(pod("Always")), no_sandbox(web(running())), vec![kill()], None),
        ("a stray runs", Some(pod("Always")), stray(true), vec![Action::Kill { id: "c9".into() }], None),
        ("a stray ended", Some(pod("Always")), stray(false), vec![Action::Clear { id: "c9".into() }], None),
        ("a removal failed", None, held, vec![], Some(130)),
        ("deleted", Some(deleted(130)), web(running()), vec![Terminate { id: "c0".into() }], Some(130)),
        ("terminating", Some(deleted(130)), web(signalled(false, 99)), vec![], Some(130)),
        ("grace is over", Some(deleted(100)), web(signalled(false, 70)), vec![kill()], None),
        ("killed", Some(deleted(100)), web(signalled(true, 98)), vec![], Some(103)),
        ("kill again", Some(deleted(100)), web(signalled(true, 95)), vec![kill()], None),
        ("deleted and ended", Some(deleted(130)), web(left(0)), vec![clear(), TearDown], None),
        ("deleted before it started", Some(deleted(130)), no_sandbox(web(absent())), vec![TearDown], None),
        ("nobody wants it", None, web(signalled(false, 99)), vec![kill()], None),
        (
            "nobody wants it, a stray runs",
            None,
            {
                let mut o = stray(true);
                o.containers.clear();
                o
            },
            vec![Action::Kill { id: "c9".into() }],
            None,
        ),
        ("nothing is left", None, Observed::default(), vec![TearDown], None),
    ];
    for (what, desired, observed, actions, retry_at) in cases {
        let expected = Plan { actions, retry_at: retry_at.map(at) };
        assert_eq!(plan(desired.as_ref(), &observed, at(100)), expected, "{what}");
    }
}

#[test]
fn back_off_doubles_to_its_limit_and_is_forgotten() {
    let crash = |ran: u64| Exit { code: 1, started: Some(at(0)), finished: at(ran), lost: false };
    let mut back_off = Duration::ZERO;
    let mut seen = Vec::new();
    for _ in 0..7 {
        back_off = next_back_off(&crash(1), back_off);
        seen.push(back_off.as_secs());
    }
    assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(restart_at(&crash(1), back_off, at(2)), at(301));
    assert_eq!(restart_at(&crash(601), back_off, at(602)), at(602));
    assert_eq!(next_back_off(&crash(601), back_off), BACK_OFF_FIRST);
}

#[test]
fn a_pod_is_terminal_when_every_container_is() {
    let desired = Desired { containers: vec!["web".into(), "log".into()], ..pod("OnFailure") };
    let mut observed = web(exited(0, 1, 2));
    assert!(!is_terminal(&desired, &observed));
    observed.containers.push(Container { name: "log".into(), ..observed.containers[0].clone() });
    assert!(is_terminal(&desired, &observed));
    observed.containers[1].state = exited(1, 1, 2);
    assert!(!is_terminal(&desired, &observed));
}
