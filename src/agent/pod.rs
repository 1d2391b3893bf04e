//! One pod as the loop holds it: what is wanted, what was seen, and what keeps it waiting.

mod planned;
mod settle;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::container::{self, Live};
use super::desired;
use super::event::Event;
use super::probes::{Probes, Running, Verdict};
use super::record::{Failure, Record, Seen, Stamp, Termination};
use super::sandbox::Sandbox;
use super::status;
use crate::api::Object;
use crate::plan::pod::{self as plan, Role, Signalled};
use crate::plan::shutdown::Turn;

pub use self::wait::Wait;
use self::wait::shown;

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
    /// What probes say of the containers that run, by id.
    pub verdicts: BTreeMap<String, Verdict>,
    /// postStart hooks under way, by id of their container.
    pub post_starts: BTreeMap<String, smol::Task<()>>,
    /// Ids of containers whose postStart hook has failed.
    pub hook_failed: BTreeSet<String>,
    /// Ids of containers that run another image than the specification names by now.
    pub outdated: BTreeSet<String>,
    /// Containers that are being stopped politely, by id.
    pub stops: BTreeMap<String, smol::Task<()>>,
    /// Set while the machine goes down.
    pub turn: Option<Turn>,
    /// Its files may be out of date.
    pub refresh: bool,
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
        self.refresh = true;
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

    /// Ends the pod for good, unless it ends already. Returns whether it is news.
    pub fn fail(&mut self, reason: &str, message: String, grace_seconds: u64, now: SystemTime) -> bool {
        if self.record.is_ending() || self.has_ended() {
            return false;
        }
        let termination = Termination { since: Stamp(now), grace_seconds };
        self.record.failure = Some(Failure { reason: reason.to_owned(), message, termination });
        true
    }

    /// Whether its containers have ended and are not started again.
    fn has_ended(&self) -> bool {
        self.desired_plan().is_none_or(|desired| plan::is_terminal(&desired, &self.observed()))
    }

    /// When the pod has been active for as long as it may.
    pub fn deadline(&self) -> Option<SystemTime> {
        let seconds = self.desired.as_ref()?.deadline_seconds?;
        if self.record.is_ending() {
            return None;
        }
        self.record.start_time?.0.checked_add(Duration::from_secs(seconds))
    }

    /// Fails the pod once its deadline is over.
    fn enforce_deadline(&mut self, now: SystemTime) -> Option<Event> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let grace = self.desired.as_ref()?.grace_of_containers;
        let message = "Pod was active on the node longer than the specified deadline";
        let is_news = self.fail("DeadlineExceeded", message.into(), grace, now);
        is_news.then(|| Event::normal("DeadlineExceeded", message.into()))
    }

    /// Asks the probes of what runs, and looks for what the specification has otherwise by now.
    pub fn look(&mut self, object: &Object, probes: &Probes, host_ips: &[IpAddr]) {
        let Some(desired) = &self.desired else { return };
        let mut running = Vec::new();
        for wanted in desired.containers.iter().filter(|_| self.record.failure.is_none()) {
            let record = self.record.containers.get(&wanted.name);
            let current = record.and_then(|record| record.current.as_ref());
            let Some(current) = current.filter(|current| current.exit.is_none()) else { continue };
            let runs = self.live.iter().any(|live| live.id == current.id && live.runs());
            let is_probed = matches!(wanted.role, Role::Main | Role::Sidecar);
            if runs && is_probed && !self.is_in_hook(&current.id) {
                let was = record.and_then(|record| record.seen);
                running.push((wanted.name.clone(), current.id.clone(), was));
            }
        }
        let asked: Vec<Running<'_>> = running
            .iter()
            .map(|(name, id, was)| {
                let was = was.map(|was| Verdict { started: was.started, ready: was.ready, failed: None });
                Running { name, id, was }
            })
            .collect();
        probes.sync(object, &asked, self.pod_ip(object, host_ips));
        for (name, id, _) in running {
            let verdict = probes.verdict(&id);
            let record = self.record.containers.entry(name.clone()).or_default();
            record.seen = Some(Seen { started: verdict.started, ready: verdict.ready });
            if !record.asked.is_empty() && record.asked != image_of(object, &name) {
                self.outdated.insert(id.clone());
            }
            self.verdicts.insert(id, verdict);
        }
    }

    /// The pod's first address.
    pub fn pod_ip(&self, object: &Object, host_ips: &[IpAddr]) -> Option<IpAddr> {
        let own = self.sandbox.as_ref().map_or(&[][..], |sandbox| &sandbox.ips);
        let ips = if object.bool_at("/spec/hostNetwork") { host_ips } else { own };
        ips.first().copied()
    }

    /// Why a container that runs is to be ended although its pod goes on: the event's text, and the grace it gets.
    pub fn why_ends(&self, name: &str, id: &str) -> Option<(String, Duration)> {
        let desired = self.desired.as_ref()?;
        let grace = Duration::from_secs(desired.grace_of_containers);
        if self.hook_failed.contains(id) {
            return Some(("FailedPostStartHook".into(), grace));
        }
        let again = match desired.container(name)?.policy {
            plan::RestartPolicy::Never => "",
            _ => ", will be restarted",
        };
        if let Some(failed) = self.verdicts.get(id).and_then(|verdict| verdict.failed.as_ref()) {
            let grace = failed.grace_seconds.map_or(grace, Duration::from_secs);
            return Some((format!("Container {name} failed {} probe{again}", failed.probe), grace));
        }
        self.outdated.contains(id).then(|| (format!("Container {name} definition changed{again}"), grace))
    }

    /// Whether a container of its own has been started since the pod has the sandbox that it has, or had last.
    fn has_run(&self) -> bool {
        let mut wanted = self.desired.iter().flat_map(|desired| &desired.containers);
        wanted.any(|wanted| {
            let record = self.record.containers.get(&wanted.name);
            wanted.role == Role::Main
                && record
                    .is_some_and(|record| record.current.is_some() && record.sandbox == self.record.sandbox)
        })
    }

    /// Its postStart hook runs, or has failed: to others it does not run.
    fn is_in_hook(&self, id: &str) -> bool {
        self.post_starts.contains_key(id) || self.hook_failed.contains(id)
    }

    fn health(&self, name: &str, id: &str) -> plan::Health {
        let seen = self.record.containers.get(name).and_then(|record| record.seen);
        let is_in_hook = self.is_in_hook(id);
        plan::Health {
            is_in_hook,
            is_started: !is_in_hook && seen.is_none_or(|seen| seen.started),
            ends: self.why_ends(name, id).map(|(_, grace)| grace),
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
        let mut running = BTreeMap::new();
        for live in self.live.iter().filter(|live| live.runs() && !self.is_in_hook(&live.id)) {
            let seen = self.record.containers.get(&live.name).and_then(|record| record.seen);
            running.insert(live.name.clone(), seen.unwrap_or(Seen { started: true, ready: true }));
        }
        let planned = self.desired_plan().unwrap_or_default();
        let mut changes_at = None;
        let mut waiting = BTreeMap::new();
        for (name, wait) in &self.waits {
            let (shown, later) = shown(wait, image_of(pod, name), now);
            waiting.insert(name.clone(), shown);
            changes_at = [changes_at, later].into_iter().flatten().min();
        }
        let status = status::status(&status::Inputs {
            pod,
            containers: &planned.containers,
            record: &self.record,
            running: &running,
            waiting: &waiting,
            is_initialized: plan::is_initialized(&planned, &self.observed()) || self.has_run(),
            sandbox_ready: self.sandbox.is_some(),
            host_ips,
            now,
        });
        self.record.conditions = status.conditions;
        (status.value.to_string().into_bytes(), changes_at)
    }
}

pub fn image_of<'a>(pod: &'a Object, name: &str) -> &'a str {
    let image = container::declared(pod, name).and_then(|container| container.get("image"));
    image.and_then(|image| image.as_str()).unwrap_or("")
}

#[cfg(test)]
mod tests;
