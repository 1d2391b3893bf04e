//! One pod as the loop holds it: what is wanted, what was seen, and what keeps it waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::container::{self, Live};
use super::desired;
use super::event::Event;
use super::record::{Attempt, Exit, Record, Stamp};
use super::sandbox::Sandbox;
use super::status::{self, SHOW_FAILURE, Waiting};
use crate::api::Object;
use crate::plan::pod::{self as plan, BACK_OFF_FIRST, BACK_OFF_MAX, Signalled, State, Stray};

/// Waits after failed removals.
const REMOVAL_FIRST: Duration = Duration::from_secs(1);
const REMOVAL_MAX: Duration = Duration::from_secs(60);
/// Waits after a sandbox that could not be made.
const SANDBOX_FIRST: Duration = Duration::from_secs(2);
const SANDBOX_MAX: Duration = Duration::from_secs(60);

/// Something failed and is tried again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub since: SystemTime,
    pub delay: Duration,
    pub reason: &'static str,
    pub message: String,
}

impl Wait {
    fn until(&self) -> SystemTime {
        self.since + self.delay
    }

    /// The next wait after this one: longer.
    fn after(
        before: Option<&Wait>,
        (first, most): (Duration, Duration),
        reason: &'static str,
        message: String,
        now: SystemTime,
    ) -> Wait {
        let delay = container::next_delay(before.map_or(Duration::ZERO, |wait| wait.delay), first, most);
        Wait { since: now, delay, reason, message }
    }
}

#[derive(Debug, Default)]
pub struct Pod {
    /// None: nobody wants it; what there is of it is removed.
    pub desired: Option<desired::Pod>,
    pub record: Record,
    /// The record as it is on disk.
    pub saved: Record,
    pub sandbox: Option<Sandbox>,
    /// It was removed since the pod has ended. One without any namespace of its own would be seen for ever.
    pub sandbox_removed: bool,
    pub live: Vec<Live>,
    /// Containers that can't start, by name.
    pub waits: BTreeMap<String, Wait>,
    pub sandbox_wait: Option<Wait>,
    pub removal_wait: Option<Wait>,
    /// By container id; of this agent process only.
    pub signalled: BTreeMap<String, Signalled>,
    /// Ids whose memory limit was hit.
    pub oom: BTreeSet<String>,
    /// Actions that are under way. The pod is not planned for meanwhile.
    pub work: Option<smol::Task<()>>,
    /// The actions remove the pod's folder.
    pub is_torn_down: bool,
}

impl Pod {
    /// Takes a new desired state.
    pub fn put(&mut self, desired: desired::Pod, now: SystemTime) {
        self.record.start_time.get_or_insert(Stamp(now));
        if let Some(grace) = desired.grace_seconds {
            self.record.terminate(grace, now);
        }
        self.desired = Some(desired);
        // Whatever failed may work with what came.
        self.removal_wait = None;
        self.waits.clear();
    }

    /// Nobody wants the pod any more.
    pub fn orphan(&mut self) {
        self.desired = None;
        self.removal_wait = None;
    }

    /// It is to run: somebody wants it, and it is not being deleted.
    pub fn is_wanted(&self) -> bool {
        self.desired.as_ref().is_some_and(|desired| desired.grace_seconds.is_none())
    }

    /// All that there was of it is gone, on disk too.
    pub fn begin_anew(&mut self) {
        (self.sandbox, self.saved) = (None, Record::default());
        self.live.clear();
    }

    pub fn wait_for_container(&mut self, name: &str, reason: &'static str, message: String, now: SystemTime) {
        let times = (BACK_OFF_FIRST, BACK_OFF_MAX);
        let wait = Wait::after(self.waits.get(name), times, reason, message, now);
        self.waits.insert(name.to_owned(), wait);
    }

    pub fn wait_for_sandbox(&mut self, message: String, now: SystemTime) {
        let times = (SANDBOX_FIRST, SANDBOX_MAX);
        let reason = "FailedCreatePodSandBox";
        self.sandbox_wait = Some(Wait::after(self.sandbox_wait.as_ref(), times, reason, message, now));
    }

    pub fn wait_for_removal(&mut self, message: String, now: SystemTime) {
        let times = (REMOVAL_FIRST, REMOVAL_MAX);
        let reason = "FailedKillPod";
        self.removal_wait = Some(Wait::after(self.removal_wait.as_ref(), times, reason, message, now));
    }

    /// Records what the observed containers say: adopts attempts that the record does not know, and
    /// writes down how containers ended. Returns events about it.
    pub fn settle(&mut self, folder: &Path, now: SystemTime) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(desired) = &self.desired else { return events };
        if let Some(sandbox) = &self.sandbox {
            if !sandbox.ips.is_empty() {
                self.record.ips = sandbox.ips.clone();
            }
        }
        for name in &desired.containers {
            let record = self.record.containers.entry(name.clone()).or_default();
            let newest = self.live.iter().filter(|live| live.name == *name).max_by_key(|live| live.attempt);
            // A started container of a later attempt than recorded: the agent died after its start.
            if let Some(live) = newest.filter(|live| live.was_started()) {
                if record.current.as_ref().is_none_or(|current| current.number < live.attempt) {
                    let back_off = match record.current.as_ref().and_then(Attempt::planned_exit) {
                        Some(exit) => plan::next_back_off(&exit, Duration::from_secs(record.back_off)),
                        None => Duration::from_secs(record.back_off),
                    };
                    record.started(adopted(live), back_off);
                }
            }
            let Some(current) = record.current.as_mut().filter(|current| current.exit.is_none()) else {
                continue;
            };
            let task =
                self.live.iter().find(|live| live.id == current.id).and_then(|live| live.task.as_ref());
            let running = self.live.iter().any(|live| live.id == current.id && live.runs());
            if running {
                continue;
            }
            let mut exit = match task {
                Some(task) => {
                    let cgroup = self.sandbox.as_ref().map_or("", |sandbox| &sandbox.cgroup);
                    let oom = self.oom.remove(&current.id) || container::was_oom_killed(cgroup, &current.id);
                    Exit::seen(task.code, task.exited_at.unwrap_or(now), oom)
                }
                None => Exit::lost(now),
            };
            if !exit.lost {
                exit.message = container::files::termination_message(folder, name);
            }
            current.exit = Some(exit);
            let back_off = Duration::from_secs(record.back_off);
            let planned = record.current.as_ref().and_then(Attempt::planned_exit);
            if let Some(exit) = planned.filter(|exit| desired.restart_policy.restarts(exit.code)) {
                if desired.grace_seconds.is_none() && plan::restart_at(&exit, back_off, now) > now {
                    let reference = &desired.reference;
                    let message = format!(
                        "Back-off restarting failed container {name} in pod {}_{}({})",
                        reference.name, reference.namespace, reference.uid
                    );
                    events.push(Event::warning("BackOff", message).of(name));
                }
            }
        }
        let live: BTreeSet<&String> = self.live.iter().map(|live| &live.id).collect();
        self.signalled.retain(|id, _| live.contains(id));
        self.oom.retain(|id| live.contains(id));
        events
    }

    /// As the plan wants it.
    pub fn desired_plan(&self) -> Option<plan::Desired> {
        let desired = self.desired.as_ref()?;
        Some(plan::Desired {
            restart_policy: desired.restart_policy,
            containers: desired.containers.clone(),
            kill_at: desired.grace_seconds.and_then(|_| self.record.kill_at()),
        })
    }

    /// As the plan wants it; [`Pod::settle`] comes before.
    pub fn observed(&self) -> plan::Observed {
        let names = self.desired.as_ref().map_or(&[][..], |desired| &desired.containers);
        let mut claimed = BTreeSet::new();
        let mut containers = Vec::new();
        for name in names {
            let record = self.record.containers.get(name);
            let current = record.and_then(|record| record.current.as_ref());
            let mine = self.live.iter().filter(|live| live.name == *name);
            let newest = mine.max_by_key(|live| live.attempt);
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
                not_before: self.waits.get(name).map(Wait::until),
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
                None => plan::Sandbox::Absent { not_before: self.sandbox_wait.as_ref().map(Wait::until) },
            },
            containers,
            strays: strays.collect(),
            hold: self.removal_wait.as_ref().map(Wait::until),
        }
    }

    /// The status to report, and when it will read differently by itself. Keeps the conditions' times in
    /// the record.
    pub fn status(
        &mut self,
        pod: &Object,
        host_ips: &[IpAddr],
        now: SystemTime,
    ) -> (Vec<u8>, Option<SystemTime>) {
        let running = self.live.iter().filter(|live| live.runs()).map(|live| live.name.clone()).collect();
        let mut changes_at = None;
        let mut waiting = BTreeMap::new();
        for (name, wait) in &self.waits {
            let (shown, later) = shown(wait, image_of(pod, name), now);
            waiting.insert(name.clone(), shown);
            changes_at = [changes_at, later].into_iter().flatten().min();
        }
        let status = status::status(&status::Inputs {
            pod,
            record: &self.record,
            running: &running,
            waiting: &waiting,
            sandbox_ready: self.sandbox.is_some(),
            host_ips,
            now,
        });
        self.record.conditions = status.conditions;
        (status.value.to_string().into_bytes(), changes_at)
    }
}

fn adopted(live: &Live) -> Attempt {
    Attempt {
        number: live.attempt,
        id: live.id.clone(),
        image: live.image.clone(),
        image_id: live.image_id.clone(),
        started: live.created_at.map(Stamp),
        exit: None,
    }
}

fn image_of<'a>(pod: &'a Object, name: &str) -> &'a str {
    let image = container::declared(pod, name).and_then(|container| container.get("image"));
    image.and_then(|image| image.as_str()).unwrap_or("")
}

/// A failed pull is shown as such first, then as the wait for the next one.
fn shown(wait: &Wait, image: &str, now: SystemTime) -> (Waiting, Option<SystemTime>) {
    let changes = wait.since + SHOW_FAILURE;
    if wait.reason != "ErrImagePull" || changes > now {
        let later = (wait.reason == "ErrImagePull").then_some(changes);
        return (Waiting { reason: wait.reason.into(), message: wait.message.clone() }, later);
    }
    let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", wait.message);
    (Waiting { reason: "ImagePullBackOff".into(), message }, None)
}

#[cfg(test)]
mod tests;
