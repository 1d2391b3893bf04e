//! How what runs is ended.

use std::time::{Duration, SystemTime};

use super::{Action, Observed, Plan, Role, Signalled, State, Steps};

/// How long a SIGKILL may take before it is sent again.
const KILL_AGAIN: Duration = Duration::from_secs(5);
/// What every container gets after its stop signal, whatever its grace, as the kubelet gives it.
const GRACE_MIN: Duration = Duration::from_secs(2);

pub(super) fn clear_strays(observed: &Observed, now: SystemTime, plan: &mut Plan) {
    for stray in &observed.strays {
        if stray.running {
            kill(&stray.id, stray.signalled, now, plan);
        } else {
            plan.actions.push(Action::Clear { id: stray.id.clone() });
        }
    }
}

/// Kills what runs, and removes what has ended.
pub(super) fn remove(observed: &Observed, now: SystemTime, plan: &mut Plan) {
    let mut running = observed.strays.iter().any(|stray| stray.running);
    for container in &observed.containers {
        if let State::Running { id, signalled, .. } = &container.state {
            running = true;
            kill(id, *signalled, now, plan);
        }
        clear(&container.state, plan);
    }
    if !running {
        plan.actions.push(Action::TearDown);
    }
}

pub(super) fn kill(id: &str, signalled: Option<Signalled>, now: SystemTime, plan: &mut Plan) {
    match signalled.filter(|sent| sent.kill && sent.at <= now).map(|sent| sent.at + KILL_AGAIN) {
        Some(again) if again > now => plan.wait_until(again),
        _ => plan.actions.push(Action::Kill { id: id.into() }),
    }
}

/// Ends one container: first politely, at `kill_at` for good.
pub(super) fn stop(
    id: &str,
    signalled: Option<Signalled>,
    kill_at: SystemTime,
    now: SystemTime,
    plan: &mut Plan,
) {
    match signalled {
        None => {
            let grace = kill_at.duration_since(now).unwrap_or_default();
            plan.actions.push(Action::Terminate { id: id.into(), grace });
        }
        Some(Signalled { kill: true, .. }) => kill(id, signalled, now, plan),
        Some(Signalled { sent, .. }) => {
            let due = kill_at.max(sent.unwrap_or(kill_at) + GRACE_MIN);
            if due <= now {
                kill(id, signalled, now, plan);
            } else {
                plan.wait_until(due);
            }
        }
    }
}

/// Clears what is left in the runtime of a container that does not run.
pub(super) fn clear(state: &State, plan: &mut Plan) {
    if let State::Created { id, .. } | State::Exited { id: Some(id), .. } = state {
        plan.actions.push(Action::Clear { id: id.clone() });
    }
}

impl Steps<'_> {
    /// Ends all containers: sidecars after the others, the last one first. What still runs at `kill_at` is
    /// killed; without one each has the pod's grace. Returns whether something runs.
    pub(super) fn end(&self, kill_at: Option<SystemTime>, plan: &mut Plan) -> bool {
        let now = self.now;
        let runs = |role: fn(Role) -> bool| {
            self.containers().any(|(wanted, container)| {
                role(wanted.role) && matches!(container.state, State::Running { .. })
            })
        };
        let mut others_run = runs(|role| role != Role::Sidecar);
        let mut running = others_run || self.observed.strays.iter().any(|stray| stray.running);
        let is_late = kill_at.is_some_and(|kill_at| kill_at <= now);
        let sidecars = self.containers().rev().filter(|(wanted, _)| wanted.role == Role::Sidecar);
        let others = self.containers().filter(|(wanted, _)| wanted.role != Role::Sidecar);
        for (wanted, container) in others.chain(sidecars) {
            clear(&container.state, plan);
            let State::Running { id, signalled, .. } = &container.state else { continue };
            running = true;
            if wanted.role == Role::Sidecar {
                if others_run && !is_late {
                    kill_at.into_iter().for_each(|kill_at| plan.wait_until(kill_at));
                    continue;
                }
                others_run = true;
            }
            let own = signalled.map_or(now, |signalled| signalled.at) + self.desired.grace;
            stop(id, *signalled, kill_at.unwrap_or(own), now, plan);
        }
        running
    }
}
