//! The pod as the plan wants it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::Pod;
use crate::agent::container::Live;
use crate::plan::pod::{self as plan, Action, State, Stray};
use crate::plan::shutdown::Turn;

impl Pod {
    /// The next steps. While the machine goes down nothing is started, and what has ended stays for the next start,
    /// but for pods that end for good.
    pub fn plan(&self, now: SystemTime) -> plan::Plan {
        let turn = self.turn.filter(|_| self.is_wanted() && !self.record.is_ending());
        if turn == Some(Turn::Later) {
            return plan::Plan::default();
        }
        let mut plan = plan::plan(self.desired_plan().as_ref(), &self.observed(), now);
        if turn.is_some() {
            plan.actions.retain(|action| matches!(action, Action::Terminate { .. } | Action::Kill { .. }));
        }
        plan
    }

    /// As the plan wants it.
    pub fn desired_plan(&self) -> Option<plan::Desired> {
        let desired = self.desired.as_ref()?;
        let is_deleted = desired.grace_seconds.is_some();
        let turn = match self.turn {
            Some(Turn::Now { kill_at }) => Some(kill_at),
            _ => None,
        };
        let kill_at = self.record.kill_at().into_iter().chain(turn).min();
        Some(plan::Desired {
            containers: desired.containers.clone(),
            grace: Duration::from_secs(desired.grace_of_containers),
            end: kill_at.map(|kill_at| plan::End { kill_at, is_deleted }),
        })
    }

    /// As the plan wants it; [`Pod::settle`] comes before.
    pub fn observed(&self) -> plan::Observed {
        let wanted = self.desired.as_ref().map_or(&[][..], |desired| &desired.containers);
        let mut claimed = BTreeSet::new();
        let mut containers = Vec::new();
        for name in wanted.iter().map(|wanted| &wanted.name) {
            let record = self.record.containers.get(name);
            let current = record.and_then(|record| record.current.as_ref());
            let newest = Live::newest(&self.live, name);
            let live = match current {
                Some(current) => self.live.iter().find(|live| live.id == current.id),
                None => None,
            };
            let unstarted = newest.filter(|live| current.is_none_or(|current| current.number < live.attempt));
            let state = match (current, live, unstarted) {
                // Created and never started, after whatever is recorded.
                (_, _, Some(live)) => {
                    claimed.insert(&live.id);
                    State::Created { id: live.id.clone(), attempt: live.attempt }
                }
                (None, _, None) => State::Absent { attempt: 0 },
                (Some(current), live, None) => {
                    claimed.extend(live.map(|live| &live.id));
                    match current.planned_exit() {
                        Some(exit) => State::Exited {
                            id: live.map(|live| live.id.clone()),
                            attempt: current.number,
                            exit,
                        },
                        None => State::Running {
                            id: current.id.clone(),
                            attempt: current.number,
                            signalled: self.signalled.get(&current.id).copied(),
                        },
                    }
                }
            };
            containers.push(plan::Container {
                name: name.clone(),
                state,
                back_off: Duration::from_secs(record.map_or(0, |record| record.back_off)),
                not_before: self.waits.get(name).map(|wait| wait.until),
                in_sandbox: self.sandbox.is_some()
                    && record.is_some_and(|record| record.sandbox == self.record.sandbox),
                health: match current.filter(|current| current.exit.is_none()) {
                    Some(current) => self.health(name, &current.id),
                    None => plan::Health::default(),
                },
            });
        }
        let others = self.live.iter().filter(|live| !claimed.contains(&live.id));
        let strays = others.map(|live| Stray {
            id: live.id.clone(),
            running: live.runs(),
            signalled: self.signalled.get(&live.id).copied(),
        });
        plan::Observed {
            sandbox: match &self.sandbox {
                Some(_) => plan::Sandbox::Ready,
                None => {
                    plan::Sandbox::Absent { not_before: self.sandbox_wait.as_ref().map(|wait| wait.until) }
                }
            },
            containers,
            strays: strays.collect(),
            hold: self.removal_wait.as_ref().map(|wait| wait.until),
        }
    }
}
