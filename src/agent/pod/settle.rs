//! What the observed containers say, taken into the record.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Pod;
use crate::agent::container::{self, Live, files};
use crate::agent::desired;
use crate::agent::event::Event;
use crate::agent::record::{Attempt, Exit, Stamp};
use crate::plan::pod::{self as plan, Role};

impl Pod {
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
        let sandbox = self.record.sandbox;
        for wanted in &desired.containers {
            let name = &wanted.name;
            let record = self.record.containers.entry(name.clone()).or_default();
            let newest = Live::newest(&self.live, name);
            // A started container of a later attempt than recorded: the agent died after its start.
            if let Some(live) = newest.filter(|live| live.was_started) {
                if record.current.as_ref().is_none_or(|current| current.number < live.attempt) {
                    let back_off = match record.current.as_ref().and_then(Attempt::planned_exit) {
                        Some(exit) => plan::next_back_off(&exit, Duration::from_secs(record.back_off)),
                        None => Duration::from_secs(record.back_off),
                    };
                    record.started(adopted(live), back_off);
                    record.asked.clone_from(&live.asked);
                    record.sandbox = sandbox;
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
                exit.message = last_words(desired, folder, name, current.number, exit.code);
            }
            let ends = desired.grace_seconds.is_some() || self.record.failure.is_some();
            if self.turn.is_some() && !ends && self.signalled.contains_key(&current.id) {
                exit.interrupted(wanted.policy);
            }
            current.exit = Some(exit);
            let back_off = Duration::from_secs(record.back_off);
            let planned = record.current.as_ref().and_then(Attempt::planned_exit);
            if let Some(exit) = planned.filter(|exit| wanted.restarts(exit.code)) {
                let is_done = wanted.role == Role::Init && exit.code == 0;
                if !ends && !is_done && plan::restart_at(&exit, back_off, now) > now {
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
        self.verdicts.retain(|id, _| live.contains(id));
        self.post_starts.retain(|id, _| live.contains(id));
        self.hook_failed.retain(|id| live.contains(id));
        self.outdated.retain(|id| live.contains(id));
        self.stops.retain(|id, _| live.contains(id));
        events.extend(self.enforce_deadline(now));
        events
    }
}

/// What a container leaves as its termination message.
fn last_words(desired: &desired::Pod, folder: &Path, name: &str, attempt: u32, code: u32) -> String {
    let message = files::termination_message(folder, name);
    if !message.is_empty() || code == 0 {
        return message;
    }
    let object = desired.object().ok();
    let container = object.as_ref().and_then(|pod| container::declared(pod, name));
    let policy = container.and_then(|container| container.get("terminationMessagePolicy"));
    match policy.and_then(|policy| policy.as_str()) {
        Some("FallbackToLogsOnError") => files::last_lines(&files::log_path(folder, name, attempt)),
        _ => message,
    }
}

fn adopted(live: &Live) -> Attempt {
    Attempt {
        number: live.attempt,
        id: live.id.clone(),
        image: live.image.clone(),
        image_id: live.image_id.clone(),
        stop_signal: live.stop_signal,
        started: live.created_at.map(Stamp),
        exit: None,
    }
}
