//! Which containers of a pod that goes on are started.

use std::time::{Duration, SystemTime};

use super::end::{clear, kill, stop};
use super::{Action, Container, Desired, Observed, Plan, Role, Sandbox, State, Steps, Wanted};
use super::{next_back_off, restart_at};

/// Whether the pod has ended for good: an init container has failed and is not tried again, or no container
/// of its own is started again. Its phase is Succeeded or Failed once nothing runs.
pub fn is_terminal(desired: &Desired, observed: &Observed) -> bool {
    let steps = Steps { desired, observed, now: SystemTime::UNIX_EPOCH };
    let ended = |(wanted, container): (&Wanted, &Container)| match &container.state {
        State::Exited { exit, .. } => (!wanted.restarts(exit.code)).then_some(exit.code),
        _ => None,
    };
    let init_failed =
        steps.containers().any(|pair| pair.0.role == Role::Init && ended(pair).is_some_and(|code| code != 0));
    let mut mains = steps.containers().filter(|(wanted, _)| wanted.role == Role::Main).peekable();
    init_failed || mains.peek().is_some() && mains.all(|pair| ended(pair).is_some())
}

/// Whether the init containers have done their part in the sandbox that is there: they are not looked at again.
pub fn is_initialized(desired: &Desired, observed: &Observed) -> bool {
    let steps = Steps { desired, observed, now: SystemTime::UNIX_EPOCH };
    let has_main_begun = steps.containers().any(|(wanted, container)| {
        wanted.role == Role::Main && container.in_sandbox && !matches!(container.state, State::Absent { .. })
    });
    observed.sandbox == Sandbox::Ready
        && (has_main_begun || steps.containers().all(|(wanted, container)| has_done(wanted, container)))
}

/// Whether an init container lets the next one start. True for all others.
fn has_done(wanted: &Wanted, container: &Container) -> bool {
    match (wanted.role, &container.state) {
        (Role::Init, State::Exited { exit, .. }) => exit.code == 0 && container.in_sandbox,
        (Role::Sidecar, State::Running { .. }) => container.health.is_started && container.in_sandbox,
        (Role::Init | Role::Sidecar, _) => false,
        (Role::Main | Role::Ephemeral, _) => true,
    }
}

impl Steps<'_> {
    pub(super) fn run(&self, plan: &mut Plan) {
        let is_gone = self.observed.sandbox != Sandbox::Ready;
        if is_terminal(self.desired, self.observed) {
            if !self.end(None, plan) && !is_gone {
                plan.actions.push(Action::RemoveSandbox);
            }
            return;
        }
        let mut running = false;
        for (_, container) in self.containers() {
            clear(&container.state, plan);
            let State::Running { id, signalled, .. } = &container.state else { continue };
            running = true;
            if is_gone {
                // Its network is not the pod's any more; it starts again in the new sandbox.
                kill(id, *signalled, self.now, plan);
            } else if let Some(grace) = container.health.ends {
                let since = signalled.map_or(self.now, |signalled| signalled.at);
                stop(id, *signalled, since + grace, self.now, plan);
            }
        }
        let mut starts = self.starts(plan);
        if starts.is_empty() {
            return;
        }
        if let Sandbox::Absent { not_before } = self.observed.sandbox {
            if running {
                return;
            }
            if let Some(not_before) = not_before.filter(|not_before| *not_before > self.now) {
                plan.wait_until(not_before);
                return;
            }
            plan.actions.push(Action::CreateSandbox);
        }
        plan.actions.append(&mut starts);
    }

    /// What may start now, in its order. What starts later says so in the plan.
    fn starts(&self, plan: &mut Plan) -> Vec<Action> {
        let mut starts = Vec::new();
        let is_initialized = is_initialized(self.desired, self.observed);
        // One container's hook or one init container at a time.
        let mut is_held = self.containers().any(|(_, container)| container.health.is_in_hook);
        for (wanted, container) in self.containers() {
            let due = match wanted.role {
                Role::Init if is_initialized => continue,
                // Never held up: it may be there to find out why nothing else starts.
                Role::Ephemeral => true,
                _ => !is_held,
            };
            if due {
                let before = starts.len();
                self.start(wanted, container, plan, &mut starts);
                is_held |= wanted.has_post_start && starts.len() > before;
            }
            is_held |= !is_initialized && !has_done(wanted, container);
        }
        starts
    }

    fn start(&self, wanted: &Wanted, container: &Container, plan: &mut Plan, starts: &mut Vec<Action>) {
        let now = self.now;
        let (attempt, at, back_off) = match &container.state {
            State::Absent { attempt } | State::Created { attempt, .. } => (*attempt, now, container.back_off),
            State::Running { .. } => return,
            State::Exited { attempt, exit, .. } => {
                let next = attempt.saturating_add(1);
                let is_gone = self.observed.sandbox != Sandbox::Ready || !container.in_sandbox;
                if wanted.role == Role::Init && exit.code == 0 {
                    if !is_gone {
                        return;
                    }
                    // What it prepared may have gone with the sandbox.
                    (next, now, Duration::ZERO)
                } else if wanted.restarts(exit.code) {
                    let at = restart_at(exit, container.back_off, now);
                    (next, at, next_back_off(exit, container.back_off))
                } else {
                    return;
                }
            }
        };
        let at = container.not_before.map_or(at, |not_before| at.max(not_before));
        if at > now {
            plan.wait_until(at);
        } else {
            starts.push(Action::Start { name: container.name.clone(), attempt, back_off });
        }
    }
}
