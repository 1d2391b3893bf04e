//! What each pod needs, and what is said of it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Pods, RESYNC, say};
use crate::agent::container;
use crate::agent::event::Event;
use crate::agent::pod::Pod;
use crate::agent::work::hooks::Hooked;
use crate::agent::work::{Context, Work};
use crate::api::Object;
use crate::plan::pod::{Action, Signalled};
use crate::{Executor, chain};

impl Pods {
    pub(super) fn host_ips(&self) -> Vec<IpAddr> {
        self.node_ip.or_else(crate::sys::host::default_address).into_iter().collect()
    }

    /// Decides for each pod, has it done, and reports. Returns when to look again.
    pub(super) async fn reconcile(&mut self) -> SystemTime {
        let now = SystemTime::now();
        let turns = self.take_turns(now);
        let again = turns.as_ref().and_then(|turns| turns.again);
        let mut retry_at = again.unwrap_or(now + RESYNC);
        let host_ips = self.host_ips();
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        for uid in uids {
            let folder = self.context.runtime.pod_folder(&uid);
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            let object = pod.desired.as_ref().and_then(|desired| desired.object().ok());
            let mut events = Vec::new();
            if pod.work.is_none() {
                events = pod.settle(&folder, now);
            }
            if let Some(object) = &object {
                pod.look(object, &self.probes, &host_ips);
            }
            if pod.work.is_none() {
                let plan = pod.plan(now);
                let deadline = pod.deadline().filter(|deadline| *deadline > now);
                retry_at = plan.retry_at.into_iter().chain(deadline).fold(retry_at, SystemTime::min);
                let actions =
                    stop(&self.context, &self.executor, pod, object.as_ref(), &host_ips, plan.actions);
                let (stops, actions) = actions;
                events.extend(stops);
                let has_files = object.as_ref().is_some_and(|pod| !pod.array_at("/spec/volumes").is_empty());
                let is_up = pod.sandbox.is_some() && !pod.record.is_ending();
                let refresh = pod.refresh && has_files && is_up;
                if !actions.is_empty() || refresh {
                    log::debug!("pod {uid}: {actions:?}");
                    pod.refresh = false;
                    pod.is_torn_down = actions.contains(&Action::TearDown);
                    // On disk before it is acted upon: what is cleared can't be asked how it ended, nor a new
                    // sandbox whether it is one.
                    let renewed = actions.contains(&Action::CreateSandbox) && pod.record.renew_sandbox();
                    if renewed || actions.iter().any(|action| matches!(action, Action::Clear { .. })) {
                        save(pod, &folder).await;
                    }
                    let unsaid = pod.live.iter().filter(|live| !pod.signalled.contains_key(&live.id));
                    let work = Work {
                        context: Arc::clone(&self.context),
                        uid: uid.clone(),
                        actions,
                        pod: object.clone(),
                        sandbox: pod.sandbox.clone(),
                        containers: unsaid.map(|live| (live.id.clone(), live.name.clone())).collect(),
                        refresh,
                        host_ips: host_ips.clone(),
                        cluster: self.cluster.clone(),
                        has_failed: false,
                        lacks_volumes: false,
                    };
                    pod.work = Some(self.executor.spawn(work.run()));
                }
            }
            // Before the status: whoever sees that finds its reason.
            for (event, desired) in events.iter().zip(pod.desired.iter().cycle()) {
                say(&self.outbox, &self.node_name, desired, event);
            }
            let reference = pod.desired.as_ref().map(|desired| desired.reference.clone());
            if let (Some(object), Some(reference)) = (object, reference) {
                let (status, changes_at) = pod.status(&object, &host_ips, now);
                retry_at = changes_at.into_iter().fold(retry_at, SystemTime::min);
                save(pod, &folder).await;
                self.outbox.set_status(&reference, status);
            }
        }
        // How the last one ended is on disk by now.
        if let Some(turns) = turns {
            self.shutdown.tell(&turns.running, turns.again.is_none());
        }
        retry_at
    }
}

/// Begins to stop the containers that `actions` end politely. Returns the events about them and the other actions.
fn stop(
    context: &Arc<Context>,
    executor: &Executor,
    pod: &mut Pod,
    object: Option<&Object>,
    host_ips: &[IpAddr],
    actions: Vec<Action>,
) -> (Vec<Event>, Vec<Action>) {
    let (stops, others): (Vec<_>, Vec<_>) =
        actions.into_iter().partition(|action| matches!(action, Action::Terminate { .. }));
    let mut events = Vec::new();
    for action in &others {
        if let Action::Kill { id } = action {
            // Whatever it still does before it ends.
            pod.stops.remove(id);
            pod.post_starts.remove(id);
        }
    }
    for action in stops {
        let (Action::Terminate { id, grace }, Some(object)) = (action, object) else { continue };
        let Some(live) = pod.live.iter().find(|live| live.id == id) else { continue };
        let (name, signal) = (live.name.clone(), live.stop_signal);
        let why = pod.why_ends(&name, &id).filter(|_| !pod.record.is_ending());
        let text = why.map_or_else(|| format!("Stopping container {name}"), |(text, _)| text);
        events.push(Event::normal("Killing", text).of(&name));
        let hooked = hooked(context, pod, object, host_ips, (&name, &id));
        pod.post_starts.remove(&id);
        let begun = Signalled { kill: false, at: SystemTime::now(), sent: None };
        pod.signalled.insert(id.clone(), begun);
        pod.stops.insert(id, executor.spawn(hooked.stop(signal, grace)));
    }
    (events, others)
}

/// The container with this name and id, for its hooks.
pub(super) fn hooked(
    context: &Arc<Context>,
    pod: &Pod,
    object: &Object,
    host_ips: &[IpAddr],
    (name, id): (&str, &str),
) -> Hooked {
    let container = container::declared(object, name);
    Hooked {
        context: Arc::clone(context),
        uid: object.uid().to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        container: container.filter(|container| container.get("lifecycle").is_some()).cloned(),
        pod_ip: pod.pod_ip(object, host_ips),
    }
}

/// Writes the pod's record if it has changed.
async fn save(pod: &mut Pod, folder: &Path) {
    // Its folder is just being removed, and would be there again.
    let is_torn_down = pod.work.is_some() && pod.is_torn_down;
    if pod.record == pod.saved || pod.desired.is_none() || is_torn_down {
        return;
    }
    let (record, path) = (pod.record.clone(), folder.to_path_buf());
    match smol::unblock(move || record.save(&path).map(|()| record)).await {
        Ok(record) => pod.saved = record,
        Err(error) => log::error!("{}", chain(&error)),
    }
}
