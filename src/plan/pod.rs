//! Which containers of a pod to start, stop and remove now.
//!
//! The agent's pod loop observes, calls [`plan`], applies the actions in their order, and comes back when
//! something has changed or `retry_at` has passed. Nothing is remembered here: what was done before
//! is seen in what is observed.

mod back_off;
mod end;
mod run;

use std::time::{Duration, SystemTime};

pub use self::back_off::{BACK_OFF_FIRST, BACK_OFF_MAX, BACK_OFF_RESET, next_back_off, restart_at};
pub use self::run::{is_initialized, is_terminal};

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

/// One of `restartPolicyRules`: a container that ends with one of these codes, or with none of them, starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRule {
    pub is_not: bool,
    pub codes: Vec<i64>,
}

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: the next one starts once it has started, and it runs
    /// as long as the pod.
    Sidecar,
    Main,
    /// Started once, whatever the others do.
    Ephemeral,
}

/// One container of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub role: Role,
    /// Its own, or what follows from the pod's.
    pub policy: RestartPolicy,
    /// They come before the policy.
    pub rules: Vec<RestartRule>,
    /// It has a postStart hook: those after it start when that is done.
    pub has_post_start: bool,
}

impl Wanted {
    /// Whether it is started again after it ended with `code`.
    pub fn restarts(&self, code: u32) -> bool {
        let matches = |rule: &RestartRule| rule.codes.contains(&i64::from(code)) != rule.is_not;
        self.rules.iter().any(matches) || self.policy.restarts(code)
    }
}

/// What a pod is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// Init containers, containers, ephemeral ones: each in the order in which they start.
    pub containers: Vec<Wanted>,
    /// What a container gets that ends while its pod goes on.
    pub grace: Duration,
    /// Set once the pod has to end.
    pub end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When what still runs is killed.
    pub kill_at: SystemTime,
    /// It is deleted, and leaves nothing; otherwise it has failed, and is kept to be looked at.
    pub is_deleted: bool,
}

/// What a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    pub sandbox: Sandbox,
    /// One for each of [`Desired::containers`], in their order.
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
    /// Its latest attempt was started in the sandbox that is there.
    pub in_sandbox: bool,
    /// Of one that runs.
    pub health: Health,
}

/// What is known of a container that runs, beyond that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Its postStart hook is under way.
    pub is_in_hook: bool,
    /// Its postStart hook and its startup probe have succeeded.
    pub is_started: bool,
    /// A probe or its hook has failed, or it is another by now: it ends with this grace, and starts again by its policy.
    pub ends: Option<Duration>,
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

/// How this agent process ends a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    /// SIGKILL, otherwise the stop signal.
    pub kill: bool,
    /// When it began.
    pub at: SystemTime,
    /// When the signal was sent; None while the preStop hook runs.
    pub sent: Option<SystemTime>,
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
    /// Run the container's preStop hook for `grace` at most, then send its stop signal.
    Terminate { id: String, grace: Duration },
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
    end::clear_strays(observed, now, &mut plan);
    let Some(desired) = desired else {
        end::remove(observed, now, &mut plan);
        return plan;
    };
    let steps = Steps { desired, observed, now };
    match desired.end {
        Some(end) => {
            // Clearing comes before in the same plan; what follows waits for the last process to end.
            if steps.end(Some(end.kill_at), &mut plan) {
                // Something still runs.
            } else if end.is_deleted {
                plan.actions.push(Action::TearDown);
            } else if observed.sandbox == Sandbox::Ready {
                plan.actions.push(Action::RemoveSandbox);
            }
        }
        None => steps.run(&mut plan),
    }
    plan
}

/// What the steps for a wanted pod come from.
struct Steps<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: SystemTime,
}

impl<'a> Steps<'a> {
    fn containers(&self) -> impl DoubleEndedIterator<Item = (&'a Wanted, &'a Container)> + use<'a> {
        self.desired.containers.iter().zip(&self.observed.containers)
    }
}

#[cfg(test)]
mod tests;
