//! One pod as the loop holds it: what is wanted, what was seen, and what keeps it waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::container::{self, Live, files};
use super::desired;
use super::event::Event;
use super::probes::{Probes, Running, Verdict};
use super::record::{Attempt, Exit, Failure, Record, Seen, Stamp, Termination};
use super::sandbox::Sandbox;
use super::status::{self, SHOW_FAILURE, Waiting};
use crate::api::Object;
use crate::plan::pod::{self as plan, BACK_OFF_FIRST, BACK_OFF_MAX, Role, Signalled, State, Stray};

/// The longest wait for what the pod names: a ConfigMap, a volume.
const CONFIG_MAX: Duration = Duration::from_secs(60);
/// How often a pull is asked for, beside the news of it.
const PULL_POLL: Duration = Duration::from_secs(2);
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
    pub until: SystemTime,
    /// The wait of the last failure; the next one's is longer.
    pub delay: Duration,
    pub reason: &'static str,
    pub message: String,
    /// It ends as well when something comes that containers wait for.
    pub is_for_news: bool,
}

impl Wait {
    /// The next wait after this one: longer.
    fn after(
        before: Option<&Wait>,
        (first, most): (Duration, Duration),
        reason: &'static str,
        message: String,
        now: SystemTime,
    ) -> Wait {
        let delay = container::next_delay(before.map_or(Duration::ZERO, |wait| wait.delay), first, most);
        Wait { since: now, until: now + delay, delay, reason, message, is_for_news: false }
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

    pub fn wait_for_container(&mut self, name: &str, reason: &'static str, message: String, now: SystemTime) {
        let is_for_news = matches!(reason, "ContainerCreating" | "CreateContainerConfigError");
        let times = (BACK_OFF_FIRST, if is_for_news { CONFIG_MAX } else { BACK_OFF_MAX });
        let wait = Wait::after(self.waits.get(name), times, reason, message, now);
        self.waits.insert(name.to_owned(), Wait { is_for_news, ..wait });
    }

    /// The container's image is on its way: no failure, so the wait after the next one is as it would have been.
    pub fn wait_for_pull(&mut self, name: &str, message: String, now: SystemTime) {
        let delay = self.waits.get(name).map_or(Duration::ZERO, |before| before.delay);
        let reason = "ContainerCreating";
        let wait = Wait { since: now, until: now + PULL_POLL, delay, reason, message, is_for_news: true };
        self.waits.insert(name.to_owned(), wait);
    }

    /// An image, a ConfigMap or a Secret has come: whoever waits for one looks again.
    pub fn take_news(&mut self, now: SystemTime) {
        for wait in self.waits.values_mut().filter(|wait| wait.is_for_news) {
            wait.until = now;
        }
        self.refresh = true;
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
        let sandbox = self.record.sandbox;
        for wanted in &desired.containers {
            let name = &wanted.name;
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
            current.exit = Some(exit);
            let back_off = Duration::from_secs(record.back_off);
            let planned = record.current.as_ref().and_then(Attempt::planned_exit);
            if let Some(exit) = planned.filter(|exit| wanted.policy.restarts(exit.code)) {
                let ends = desired.grace_seconds.is_some() || self.record.failure.is_some();
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
            if runs && is_probed && !self.post_starts.contains_key(&current.id) {
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

    fn health(&self, name: &str, id: &str) -> plan::Health {
        let seen = self.record.containers.get(name).and_then(|record| record.seen);
        let is_in_hook = self.post_starts.contains_key(id);
        plan::Health {
            is_in_hook,
            is_started: !is_in_hook && seen.is_none_or(|seen| seen.started),
            ends: self.why_ends(name, id).map(|(_, grace)| grace),
        }
    }

    /// As the plan wants it.
    pub fn desired_plan(&self) -> Option<plan::Desired> {
        let desired = self.desired.as_ref()?;
        let is_deleted = desired.grace_seconds.is_some();
        Some(plan::Desired {
            containers: desired.containers.clone(),
            grace: Duration::from_secs(desired.grace_of_containers),
            end: self.record.kill_at().map(|kill_at| plan::End { kill_at, is_deleted }),
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

    /// The status to report, and when it will read differently by itself. Keeps the conditions' times in
    /// the record.
    pub fn status(
        &mut self,
        pod: &Object,
        host_ips: &[IpAddr],
        now: SystemTime,
    ) -> (Vec<u8>, Option<SystemTime>) {
        let mut running = BTreeMap::new();
        for live in self.live.iter().filter(|live| live.runs() && !self.post_starts.contains_key(&live.id)) {
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
        started: live.created_at.map(Stamp),
        exit: None,
    }
}

pub fn image_of<'a>(pod: &'a Object, name: &str) -> &'a str {
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
