//! Startup, liveness and readiness probes: a task for each running container that has some.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::Task;
use smol::channel::Sender;

use super::container;
use super::event::Event;
use super::handler::Handlers;
use super::wake::Wake;
use crate::Executor;
use crate::api::Object;

mod events;
mod probe;
mod worker;

use events::Events;
use probe::Declared;
use worker::Worker;

/// What a container's probes say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its startup probe has succeeded, or it has none.
    pub started: bool,
    /// Its readiness probe succeeds, or it has none; never before it has started.
    pub ready: bool,
    /// Its startup or liveness probe has failed for good: it is to be ended. The text is for the event.
    pub failed: Option<Failed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `startup` or `liveness`.
    pub probe: &'static str,
    /// The probe's own `terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u64>,
}

/// A container that runs.
#[derive(Debug, Clone)]
pub struct Running<'a> {
    pub name: &'a str,
    pub id: &'a str,
    /// The agent found it running when it started: what was `ready` and `started` before stays so until its probes say otherwise.
    pub was: Option<Verdict>,
}

/// All probes of this node.
pub struct Probes {
    executor: Executor,
    handlers: Handlers,
    /// The pod loop's, woken when a verdict changes or there is an event.
    wake: Wake,
    /// Events (Unhealthy, ProbeWarning) by pod uid.
    events: Sender<(String, Event)>,
    /// By container id; only of containers with probes.
    probed: Mutex<BTreeMap<String, Probed>>,
}

struct Probed {
    pod: String,
    state: Arc<State>,
    /// Dropping it ends what a probe is doing.
    _task: Task<()>,
}

/// What a container's task and the pod loop share.
struct State(Mutex<Known>);

struct Known {
    verdict: Verdict,
    pod_ip: Option<IpAddr>,
    /// The pod is being deleted: only its readiness is still looked at.
    is_ending: bool,
}

impl Probes {
    pub fn new(
        executor: Executor,
        handlers: Handlers,
        wake: Wake,
        events: Sender<(String, Event)>,
    ) -> Probes {
        Probes { executor, handlers, wake, events, probed: Mutex::default() }
    }

    /// Starts the probes of containers that run and ends those of containers that do not. Level-triggered: called
    /// with all of a pod's running containers (init containers with restartPolicy Always included) whenever
    /// the loop looks at the pod, before it asks for verdicts; with none when the pod is gone. While the pod is being
    /// deleted, only readiness probes go on.
    pub fn sync(&self, pod: &Object, running: &[Running<'_>], pod_ip: Option<IpAddr>) {
        let mut probed = self.probed();
        probed.retain(|id, probed| probed.pod != pod.uid() || running.iter().any(|running| running.id == id));
        let is_ending = pod.deletion_timestamp().is_some();
        for running in running {
            if let Some(probed) = probed.get(running.id) {
                let mut known = probed.state.known();
                (known.pod_ip, known.is_ending) = (pod_ip, is_ending);
                continue;
            }
            let declared = container::declared(pod, running.name).map(Declared::of);
            let Some(declared) = declared.filter(|declared| !declared.is_empty()) else { continue };
            let verdict = match &running.was {
                Some(was) => Verdict { failed: None, ..was.clone() },
                None => declared.initial(),
            };
            let state = Arc::new(State(Mutex::new(Known { verdict, pod_ip, is_ending })));
            let worker = Worker {
                handlers: self.handlers.clone(),
                wake: self.wake.clone(),
                events: Events::new(self.events.clone(), pod.uid(), running.name),
                state: Arc::clone(&state),
                id: running.id.to_owned(),
                declared,
                is_adopted: running.was.is_some(),
            };
            let task = self.executor.spawn(worker.run());
            let new = Probed { pod: pod.uid().to_owned(), state, _task: task };
            probed.insert(running.id.to_owned(), new);
        }
    }

    /// What is known of a container by now. Without probes: started and ready.
    pub fn verdict(&self, container_id: &str) -> Verdict {
        match self.probed().get(container_id) {
            Some(probed) => probed.state.known().verdict.clone(),
            None => Verdict { started: true, ready: true, failed: None },
        }
    }

    fn probed(&self) -> MutexGuard<'_, BTreeMap<String, Probed>> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
