//! Startup, liveness and readiness probes: a task for each probe of each running container.

use std::net::IpAddr;

use smol::channel::Sender;

use super::event::Event;
use super::handler::Handlers;
use super::wake::Wake;
use crate::Executor;
use crate::api::Object;

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
    _executor: Executor,
    _handlers: Handlers,
    /// The pod loop's, woken when a verdict changes.
    _wake: Wake,
    /// Events (Unhealthy, ProbeWarning) by pod uid.
    _events: Sender<(String, Event)>,
}

impl Probes {
    pub fn new(
        executor: Executor,
        handlers: Handlers,
        wake: Wake,
        events: Sender<(String, Event)>,
    ) -> Probes {
        Probes { _executor: executor, _handlers: handlers, _wake: wake, _events: events }
    }

    /// Starts the probes of containers that run and ends those of containers that do not. Level-triggered: called
    /// with all of a pod's running containers (init containers with restartPolicy Always included) whenever
    /// the loop looks at the pod; with none when it is being deleted or gone.
    pub fn sync(&self, _pod: &Object, _running: &[Running<'_>], _pod_ip: Option<IpAddr>) {}

    /// What is known of a container by now. Without probes: started and ready.
    pub fn verdict(&self, _container_id: &str) -> Verdict {
        Verdict { started: true, ready: true, failed: None }
    }
}
