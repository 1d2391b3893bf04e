//! Which containers of a pod to start, stop and remove now.
//!
//! The agent's pod loop observes, calls [`plan`], applies the actions in their order, and comes back when
//! something has changed or `retry_at` has passed. Nothing is remembered here: what was done before
//! is seen in what is observed.

use std::time::{Duration, SystemTime};

/// The wait before the second restart in a row; each further one doubles it.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait before a restart.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long has its back-off forgotten.
pub const BACK_OFF_RESET: Duration = Duration::from_secs(600);
/// How long a SIGKILL may take before it is sent again.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// Anything unknown is `Always`, the default of the API.
    pub fn parse(text: &str) -> RestartPolicy {
        match text {
            "OnFailure" => RestartPolicy::OnFailure,
            "Never" => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        }
    }

    /// Whether a container that ended with `code` is started again.
    pub fn restarts(self, code: u32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// What a pod is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    pub restart_policy: RestartPolicy,
    /// Names, in the order in which they start.
    pub containers: Vec<String>,
    /// Set once the pod is being deleted: when what still runs is killed.
    pub kill_at: Option<SystemTime>,
}

/// What a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    pub sandbox: Sandbox,
    /// At most one for each name of [`Desired::containers`].
    pub containers: Vec<Container>,
    /// What else of this pod is in the runtime: earlier attempts, names that it does not have.
    pub strays: Vec<Stray>,
    /// A removal failed: nothing is tried before this.
    pub hold: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// May be created, but not before the time that an earlier failure set.
    Absent { not_before: Option<SystemTime> },
    /// Containers may start in it.
    Ready,
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::Absent { not_before: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub state: State,
    /// The wait that a restart keeps after the exit; zero for the first one.
    pub back_off: Duration,
    /// An image or a configuration was missing: no start before this.
    pub not_before: Option<SystemTime>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Never started, nothing in the runtime. May be started as `attempt`.
    Absent { attempt: u32 },
    /// Created and never started: the agent died in between. Is cleared, then started as `attempt`.
    Created { id: String, attempt: u32 },
    /// May be signalled.
    Running { id: String, attempt: u32, signalled: Option<Signalled> },
    /// Ended, and its exit is on disk. What is left of it in the runtime (`id`) is cleared; then the
    /// next attempt may start.
    Exited { id: Option<String>, attempt: u32, exit: Exit },
}

/// The last signal that this agent process sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    pub kill: bool,
    pub at: SystemTime,
}

/// How a container ended, as far as a decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: u32,
    pub started: Option<SystemTime>,
    pub finished: SystemTime,
    /// The exit was not seen (a reboot): it says nothing about the container, so no back-off.
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub id: String,
    pub running: bool,
    pub signalled: Option<Signalled>,
}

/// One step. Those of a plan are applied in order; a failed removal does not stop the ones after it,
/// a failed addition does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the container its stop signal.
    Terminate { id: String },
    /// Send SIGKILL to all of its processes.
    Kill { id: String },
    /// Delete the ended task, the container and its snapshot.
    Clear { id: String },
    /// Give the pod's addresses back; its containers have ended for good.
    RemoveSandbox,
    /// Remove the sandbox, the cgroup, the logs and the folder: the pod is gone.
    TearDown,
    /// Make the namespaces and the network.
    CreateSandbox,
    /// Create and start a container. `back_off` is the wait that its next restart keeps.
    Start { name: String, attempt: u32, back_off: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// When to look again although nothing has changed.
    pub retry_at: Option<SystemTime>,
}

impl Plan {
    fn wait_until(&mut self, at: SystemTime) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Decides the next steps for one pod. `None` as `desired`: nobody wants it (any more), so it is killed
/// without grace and removed.
pub fn plan(desired: Option<&Desired>, observed: &Observed, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    if let Some(hold) = observed.hold.filter(|hold| *hold > now) {
        plan.wait_until(hold);
        return plan;
    }
    clear_strays(observed, now, &mut plan);
    match desired {
        None => remove(None, observed, now, &mut plan),
        Some(Desired { kill_at: Some(kill_at), .. }) => remove(Some(*kill_at), observed, now, &mut plan),
        Some(desired) => run(desired, observed, now, &mut plan),
    }
    plan
}

/// Whether all containers have ended for good: the pod's phase is Succeeded or Failed.
pub fn is_terminal(desired: &Desired, observed: &Observed) -> bool {
    !desired.containers.is_empty()
        && observed.containers.len() == desired.containers.len()
        && observed.containers.iter().all(|container| match &container.state {
            State::Exited { exit, .. } => !desired.restart_policy.restarts(exit.code),
            _ => false,
        })
}

/// When a container that ended so may start again; `now` or earlier means at once.
pub fn restart_at(exit: &Exit, back_off: Duration, now: SystemTime) -> SystemTime {
    let ran = exit.started.and_then(|started| exit.finished.duration_since(started).ok());
    // An exit in the future: the clock was set back, and waiting for it could take for ever.
    if exit.lost || exit.finished > now || ran.is_some_and(|ran| ran > BACK_OFF_RESET) {
        return now;
    }
    exit.finished + back_off
}

/// The wait after the restart that follows `exit`, when the one before it was `back_off`.
pub fn next_back_off(exit: &Exit, back_off: Duration) -> Duration {
    let ran = exit.started.and_then(|started| exit.finished.duration_since(started).ok());
    if exit.lost {
        Duration::ZERO
    } else if back_off.is_zero() || ran.is_some_and(|ran| ran > BACK_OFF_RESET) {
        BACK_OFF_FIRST
    } else {
        (back_off * 2).min(BACK_OFF_MAX)
    }
}

fn clear_strays(observed: &Observed, now: SystemTime, plan: &mut Plan) {
    for stray in &observed.strays {
        if stray.running {
            kill(&stray.id, stray.signalled, now, plan);
        } else {
            plan.actions.push(Action::Clear { id: stray.id.clone() });
        }
    }
}

fn kill(id: &str, signalled: Option<Signalled>, now: SystemTime, plan: &mut Plan) {
    match signalled.filter(|sent| sent.kill && sent.at <= now).map(|sent| sent.at + KILL_AGAIN) {
        Some(again) if again > now => plan.wait_until(again),
        _ => plan.actions.push(Action::Kill { id: id.into() }),
    }
}

/// Ends everything, with grace until `kill_at`, and removes what has ended.
fn remove(kill_at: Option<SystemTime>, observed: &Observed, now: SystemTime, plan: &mut Plan) {
    let mut running = observed.strays.iter().any(|stray| stray.running);
    for container in &observed.containers {
        match &container.state {
            State::Absent { .. } | State::Exited { id: None, .. } => {}
            State::Created { id, .. } | State::Exited { id: Some(id), .. } => {
                plan.actions.push(Action::Clear { id: id.clone() });
            }
            State::Running { id, signalled, .. } => {
                running = true;
                match kill_at.filter(|kill_at| *kill_at > now) {
                    None => kill(id, *signalled, now, plan),
                    Some(kill_at) => {
                        if signalled.is_none() {
                            plan.actions.push(Action::Terminate { id: id.clone() });
                        }
                        plan.wait_until(kill_at);
                    }
                }
            }
        }
    }
    // Clearing comes before in the same plan; tearing down waits for the last process to end.
    if !running {
        plan.actions.push(Action::TearDown);
    }
}

fn run(desired: &Desired, observed: &Observed, now: SystemTime, plan: &mut Plan) {
    let sandbox_gone = observed.sandbox != Sandbox::Ready;
    let mut starts = Vec::new();
    for container in &observed.containers {
        let (attempt, at, back_off) = match &container.state {
            State::Absent { attempt } => (*attempt, now, container.back_off),
            State::Created { id, attempt } => {
                plan.actions.push(Action::Clear { id: id.clone() });
                (*attempt, now, container.back_off)
            }
            State::Running { id, signalled, .. } => {
                if sandbox_gone {
                    // Its network is not the pod's any more; it starts again in the new sandbox.
                    kill(id, *signalled, now, plan);
                }
                continue;
            }
            State::Exited { id, attempt, exit } => {
                if let Some(id) = id {
                    plan.actions.push(Action::Clear { id: id.clone() });
                }
                if !desired.restart_policy.restarts(exit.code) {
                    continue;
                }
                let at = restart_at(exit, container.back_off, now);
                (attempt.saturating_add(1), at, next_back_off(exit, container.back_off))
            }
        };
        let at = container.not_before.map_or(at, |not_before| at.max(not_before));
        if at > now {
            plan.wait_until(at);
        } else {
            starts.push(Action::Start { name: container.name.clone(), attempt, back_off });
        }
    }
    if is_terminal(desired, observed) {
        if !sandbox_gone {
            plan.actions.push(Action::RemoveSandbox);
        }
        return;
    }
    if starts.is_empty() {
        return;
    }
    if let Sandbox::Absent { not_before } = observed.sandbox {
        let running = observed.containers.iter().any(|c| matches!(c.state, State::Running { .. }));
        if running {
            return;
        }
        if let Some(not_before) = not_before.filter(|not_before| *not_before > now) {
            plan.wait_until(not_before);
            return;
        }
        plan.actions.push(Action::CreateSandbox);
    }
    plan.actions.append(&mut starts);
}

#[cfg(test)]
mod tests;
