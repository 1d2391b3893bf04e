use super::*;

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    T0 + Duration::from_secs(seconds)
}

fn wanted(name: &str, role: Role, policy: &str) -> Wanted {
    Wanted {
        name: name.into(),
        role,
        policy: RestartPolicy::parse(policy),
        rules: Vec::new(),
        has_post_start: false,
    }
}

fn pod(policy: &str) -> Desired {
    let containers = vec![wanted("web", Role::Main, policy)];
    Desired { containers, grace: Duration::from_secs(30), end: None }
}

fn deleted(kill_at: u64) -> Desired {
    Desired { end: Some(End { kill_at: at(kill_at), is_deleted: true }), ..pod("Always") }
}

fn failed(kill_at: u64) -> Desired {
    Desired { end: Some(End { kill_at: at(kill_at), is_deleted: false }), ..pod("Always") }
}

/// A container in the sandbox that is there; it has started if it runs.
fn container(name: &str, state: State) -> Container {
    let health = Health { is_started: true, ..Health::default() };
    Container {
        name: name.into(),
        state,
        back_off: Duration::ZERO,
        not_before: None,
        in_sandbox: true,
        health,
    }
}

fn observed(containers: Vec<Container>) -> Observed {
    Observed { sandbox: Sandbox::Ready, containers, strays: vec![], hold: None }
}

fn web(state: State) -> Observed {
    observed(vec![container("web", state)])
}

fn waiting(state: State, back_off: u64) -> Observed {
    let mut observed = web(state);
    observed.containers[0].back_off = Duration::from_secs(back_off);
    observed
}

fn no_sandbox(mut observed: Observed) -> Observed {
    observed.sandbox = Sandbox::Absent { not_before: None };
    observed.containers.iter_mut().for_each(|container| container.in_sandbox = false);
    observed
}

fn running() -> State {
    State::Running { id: "c0".into(), attempt: 0, signalled: None }
}

fn signalled(kill: bool, seconds: u64) -> State {
    let signalled = Some(Signalled { kill, at: at(seconds), sent: Some(at(seconds)) });
    State::Running { id: "c0".into(), attempt: 0, signalled }
}

fn exited(code: u32, started: u64, finished: u64) -> State {
    let exit = Exit { code, started: Some(at(started)), finished: at(finished), lost: false };
    State::Exited { id: None, attempt: 0, exit }
}

fn start(attempt: u32, back_off: u64) -> Action {
    Action::Start { name: "web".into(), attempt, back_off: Duration::from_secs(back_off) }
}

fn terminate(grace: u64) -> Action {
    Action::Terminate { id: "c0".into(), grace: Duration::from_secs(grace) }
}

fn kill() -> Action {
    Action::Kill { id: "c0".into() }
}

fn clear() -> Action {
    Action::Clear { id: "c0".into() }
}

#[test]
fn decisions() {
    use Action::{CreateSandbox, RemoveSandbox, TearDown};
    let absent = || State::Absent { attempt: 0 };
    let left = |code| match exited(code, 90, 100) {
        State::Exited { attempt, exit, .. } => State::Exited { id: Some("c0".into()), attempt, exit },
        other => other,
    };
    let lost = || {
        let exit = Exit { code: 255, started: Some(at(90)), finished: at(100), lost: true };
        State::Exited { id: None, attempt: 3, exit }
    };
    let in_hook = |seconds| State::Running {
        id: "c0".into(),
        attempt: 0,
        signalled: Some(Signalled { kill: false, at: at(seconds), sent: None }),
    };
    let ends = |state, grace| {
        let mut observed = web(state);
        observed.containers[0].health.ends = Some(Duration::from_secs(grace));
        observed
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
        ("deleted", Some(deleted(130)), web(running()), vec![terminate(30)], None),
        ("terminating", Some(deleted(130)), web(signalled(false, 99)), vec![], Some(130)),
        ("grace is over", Some(deleted(100)), web(signalled(false, 70)), vec![kill()], None),
        ("killed", Some(deleted(100)), web(signalled(true, 98)), vec![], Some(103)),
        ("kill again", Some(deleted(100)), web(signalled(true, 95)), vec![kill()], None),
        ("grace is over before it began", Some(deleted(90)), web(running()), vec![terminate(0)], None),
        ("it has two seconds", Some(deleted(90)), web(signalled(false, 99)), vec![], Some(101)),
        ("its preStop hook runs", Some(deleted(130)), web(in_hook(95)), vec![], Some(132)),
        ("its preStop hook hangs", Some(deleted(98)), web(in_hook(68)), vec![kill()], None),
        ("it failed", Some(failed(130)), web(running()), vec![terminate(30)], None),
        ("failed and ended", Some(failed(130)), web(left(137)), vec![clear(), RemoveSandbox], None),
        ("failed and cleared", Some(failed(130)), no_sandbox(web(exited(1, 90, 95))), vec![], None),
        ("a probe failed", Some(pod("Always")), ends(running(), 5), vec![terminate(5)], None),
        ("ending for a probe", Some(pod("Always")), ends(signalled(false, 98), 5), vec![], Some(103)),
        ("its grace is over", Some(pod("Always")), ends(signalled(false, 95), 5), vec![kill()], None),
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

/// What a pod with an init container, a sidecar, another init container and two containers does, as a line.
struct Case {
    policy: &'static str,
    /// By container: `-` absent, `r` runs, `u` runs and has not started up, `h` runs and is in its hook, a digit
    /// an exit with that code. After `!`: the sandbox is gone.
    states: &'static str,
}

const NAMES: [(&str, Role); 5] =
    [("a", Role::Init), ("s", Role::Sidecar), ("b", Role::Init), ("x", Role::Main), ("y", Role::Main)];

impl Case {
    fn containers(&self) -> (Vec<Wanted>, Vec<Container>) {
        let policy = |role| match (role, self.policy) {
            (Role::Sidecar, _) | (Role::Main, "Always") => "Always",
            (Role::Init, "Always") => "OnFailure",
            (_, policy) => policy,
        };
        let (mut all, mut seen) = (Vec::new(), Vec::new());
        for ((name, role), state) in NAMES.into_iter().zip(self.states.trim_start_matches('!').chars()) {
            all.push(wanted(name, role, policy(role)));
            let runs = || State::Running { id: name.into(), attempt: 0, signalled: None };
            let mut one = container(name, State::Absent { attempt: 0 });
            match state {
                '-' => {}
                'r' => one.state = runs(),
                'u' => (one.state, one.health.is_started) = (runs(), false),
                'h' => {
                    one.state = runs();
                    one.health = Health { is_in_hook: true, ..Health::default() };
                }
                digit => one.state = exited(digit.to_digit(10).unwrap(), 90, 95),
            }
            one.in_sandbox = !self.states.starts_with('!');
            seen.push(one);
        }
        (all, seen)
    }

    fn run(&self, end: Option<End>) -> String {
        let (containers, seen) = self.containers();
        let desired = Desired { containers, grace: Duration::from_secs(30), end };
        let mut observed = observed(seen);
        if self.states.starts_with('!') {
            observed.sandbox = Sandbox::Absent { not_before: None };
        }
        let plan = plan(Some(&desired), &observed, at(100));
        let word = |action: &Action| match action {
            Action::Terminate { id, .. } => format!("end {id}"),
            Action::Kill { id } => format!("kill {id}"),
            Action::Clear { id } => format!("clear {id}"),
            Action::Start { name, .. } => format!("start {name}"),
            Action::CreateSandbox => "create".into(),
            Action::RemoveSandbox => "remove".into(),
            Action::TearDown => "tear down".into(),
        };
        plan.actions.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn init_containers_and_sidecars_come_in_their_order() {
    for (policy, states, actions) in [
        ("Always", "!-----", "create, start a"),
        ("Always", "-----", "start a"),
        ("Always", "r----", ""),
        ("Always", "1----", "start a"),
        ("Always", "0----", "start s"),
        ("Always", "0u---", ""),
        ("Always", "0h---", ""),
        ("Always", "01---", "start s"),
        ("Always", "0r---", "start b"),
        ("Always", "0rr--", ""),
        // The sidecar is started again while the init container after it runs.
        ("Always", "00r--", "start s"),
        ("Always", "0r0--", "start x, start y"),
        ("Always", "0r0h-", ""),
        ("Always", "0r0r-", "start y"),
        ("Always", "0r0rr", ""),
        // The pod is initialized once and for all.
        ("Always", "01012", "start s, start x, start y"),
        ("Always", "0u0r-", "start y"),
        // Never: a failed init container fails the pod, and the sidecar ends last.
        ("Never", "1----", "remove"),
        ("Never", "0r1--", "end s"),
        ("Never", "001--", "remove"),
        ("Never", "0r001", "end s"),
        ("Never", "0r0r1", ""),
        ("Never", "000r1", "start s"),
        ("OnFailure", "0r001", "start y"),
        ("OnFailure", "0r000", "end s"),
        // A new sandbox: everything again, but not what is done for good.
        ("Always", "!00000", "create, start a"),
        ("OnFailure", "!01001", "create, start a"),
        ("OnFailure", "!01000", ""),
        ("Never", "!01011", ""),
        ("Always", "!0r0rr", "kill s, kill x, kill y"),
    ] {
        assert_eq!(Case { policy, states }.run(None), actions, "{policy} {states}");
    }
}

#[test]
fn sidecars_end_after_the_others_and_in_reverse() {
    let end = |kill_at, is_deleted| Some(End { kill_at: at(kill_at), is_deleted });
    for (states, end, actions) in [
        ("0r0rr", end(130, true), "end x, end y"),
        ("0r00r", end(130, false), "end y"),
        ("0rr--", end(130, true), "end b"),
        ("0r000", end(130, true), "end s"),
        ("0r0rr", end(100, true), "end x, end y, end s"),
        ("00000", end(130, true), "tear down"),
        ("00000", end(130, false), "remove"),
    ] {
        assert_eq!(Case { policy: "Always", states }.run(end), actions, "{states}");
    }
    let roles = [Role::Sidecar, Role::Sidecar];
    let containers = roles.map(|role| wanted("s", role, "Always")).to_vec();
    let runs = |id: &str| State::Running { id: id.into(), attempt: 0, signalled: None };
    let seen = observed(vec![container("s", runs("first")), container("s", runs("second"))]);
    let desired = Desired { containers, grace: Duration::ZERO, end: end(130, true) };
    let expected = Action::Terminate { id: "second".into(), grace: Duration::from_secs(30) };
    assert_eq!(plan(Some(&desired), &seen, at(100)).actions, [expected]);
}

#[test]
fn what_starts_after_a_hook_waits_for_it_and_debuggers_for_nothing() {
    let mut desired = pod("Always");
    desired.containers[0].has_post_start = true;
    desired.containers.push(wanted("log", Role::Main, "Always"));
    desired.containers.push(wanted("debug", Role::Ephemeral, "Never"));
    let absent = |name: &str| container(name, State::Absent { attempt: 0 });
    let mut seen = observed(vec![absent("web"), absent("log"), absent("debug")]);
    let names = |seen: &Observed| -> Vec<String> {
        let name = |action| match action {
            Action::Start { name, .. } => name,
            other => format!("{other:?}"),
        };
        plan(Some(&desired), seen, at(100)).actions.into_iter().map(name).collect()
    };
    assert_eq!(names(&seen), ["web", "debug"]);
    seen.containers[0].state = running();
    seen.containers[0].health = Health { is_in_hook: true, ..Health::default() };
    seen.containers[2].state = exited(1, 90, 95);
    assert_eq!(names(&seen), [] as [&str; 0]);
    seen.containers[0].health = Health { is_started: true, ..Health::default() };
    assert_eq!(names(&seen), ["log"]);
}

#[test]
fn rules_come_before_the_policy() {
    let mut web = wanted("web", Role::Main, "Never");
    let rule = |is_not, codes: &[i64]| RestartRule { is_not, codes: codes.to_vec() };
    for (policy, rules, restarts) in [
        ("Never", vec![], [false, false, false]),
        ("Never", vec![rule(false, &[42])], [false, false, true]),
        ("Never", vec![rule(false, &[1]), rule(false, &[42])], [false, true, true]),
        ("Never", vec![rule(true, &[0, 1])], [false, false, true]),
        ("OnFailure", vec![rule(false, &[0])], [true, true, true]),
        ("Never", vec![rule(true, &[])], [true, true, true]),
    ] {
        (web.policy, web.rules) = (RestartPolicy::parse(policy), rules);
        assert_eq!([0, 1, 42].map(|code| web.restarts(code)), restarts, "{web:?}");
    }
}

#[test]
fn a_pod_is_terminal_when_every_container_is() {
    let mut desired = pod("OnFailure");
    desired.containers.push(wanted("log", Role::Main, "OnFailure"));
    let mut observed = web(exited(0, 1, 2));
    observed.containers.push(container("log", running()));
    assert!(!is_terminal(&desired, &observed));
    observed.containers[1].state = exited(0, 1, 2);
    assert!(is_terminal(&desired, &observed));
    observed.containers[1].state = exited(1, 1, 2);
    assert!(!is_terminal(&desired, &observed));
    desired.containers[1].policy = RestartPolicy::Never;
    assert!(is_terminal(&desired, &observed));
}
