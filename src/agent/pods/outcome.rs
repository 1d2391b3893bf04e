//! What actions came to, taken into what the loop knows of their pod.

use std::time::SystemTime;

use super::Pods;
use crate::agent::container::Live;
use crate::agent::record::Exit;
use crate::agent::work::Outcome;
use crate::plan::pod::Signalled;

impl Pods {
    /// Returns whether the pod is gone.
    pub(super) fn settle_outcome(&mut self, uid: &str, outcome: Outcome) -> bool {
        let now = SystemTime::now();
        let Some(pod) = self.pods.get_mut(uid) else { return false };
        match outcome {
            Outcome::Event(_) => {}
            Outcome::Killed { id } => {
                pod.stops.remove(&id);
                pod.signalled.insert(id, Signalled { kill: true, at: now, sent: Some(now) });
            }
            Outcome::Stopped { id, error } => {
                pod.stops.remove(&id);
                match error {
                    None => {
                        let sent = pod.signalled.get_mut(&id).filter(|signalled| !signalled.kill);
                        sent.into_iter().for_each(|signalled| signalled.sent = Some(now));
                    }
                    Some(message) => {
                        log::warn!("pod {uid}: {message}");
                        pod.signalled.remove(&id);
                        pod.wait_for_removal(message, now);
                    }
                }
            }
            Outcome::PostStart { id, failed } => {
                pod.post_starts.remove(&id);
                if failed {
                    pod.hook_failed.insert(id);
                }
            }
            Outcome::SandboxReady(sandbox) => {
                pod.sandbox_wait = None;
                (pod.sandbox, pod.sandbox_removed) = (Some(sandbox), false);
            }
            Outcome::SandboxFailed { message } => {
                pod.wait_for_sandbox(message, now);
                // The whole node may lack a network.
                self.health.1.wake();
            }
            Outcome::SandboxRemoved => (pod.sandbox, pod.sandbox_removed) = (None, true),
            Outcome::Started { name, attempt, asked, back_off } => {
                pod.waits.remove(&name);
                pod.live.push(Live::started(&name, &attempt));
                let id = attempt.id.clone();
                pod.record.started(&name, attempt, back_off, &asked);
                self.post_start(uid, &name, &id);
            }
            Outcome::NotStarted { name, mut attempt, asked, message, back_off } => {
                attempt.exit = Some(Exit::not_started(message, now));
                pod.waits.remove(&name);
                pod.record.started(&name, attempt, back_off, &asked);
            }
            Outcome::Waits { name, reason, message } => pod.wait_for_container(&name, reason, message, now),
            Outcome::Pulling { name, message } => pod.wait_for_pull(&name, message, now),
            Outcome::Failed { message } => pod.wait_for_removal(message, now),
            Outcome::TornDown if pod.is_wanted() => pod.begin_anew(),
            Outcome::TornDown => return true,
            Outcome::Done { failed } => {
                pod.work = None;
                if !failed {
                    pod.removal_wait = None;
                }
            }
        }
        false
    }

    /// Has the postStart hook of a container run that has just been started.
    fn post_start(&mut self, uid: &str, name: &str, id: &str) {
        let host_ips = self.host_ips();
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let desired = pod.desired.as_ref();
        if desired.and_then(|desired| desired.container(name)).is_none_or(|wanted| !wanted.has_post_start) {
            return;
        }
        let Some(object) = desired.and_then(|desired| desired.object().ok()) else { return };
        let hooked = super::reconcile::hooked(&self.context, pod, &object, &host_ips, (name, id));
        pod.post_starts.insert(id.to_owned(), self.executor.spawn(hooked.start()));
    }
}
