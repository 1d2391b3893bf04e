//! One container's probes: first the startup probe until it succeeds, then the others side by side.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use smol::Timer;

use super::events::Events;
use super::probe::{Declared, Kind, Probe, Row};
use super::{Failed, State};
use crate::agent::handler::{Handlers, Outcome, Target};
use crate::agent::wake::Wake;

/// How often a probe that could not be made is made in all.
const TRIES: u32 = 3;

pub struct Worker {
    pub handlers: Handlers,
    pub wake: Wake,
    pub events: Events,
    pub state: Arc<State>,
    /// The container's.
    pub id: String,
    pub declared: Declared,
    /// An agent that starts finds all its containers at once: their probes are spread.
    pub is_adopted: bool,
}

impl Worker {
    pub async fn run(self) {
        let began = Instant::now();
        let mut due = began;
        if let Some(startup) = &self.declared.startup {
            if !self.state.known().verdict.started {
                self.repeat(startup, began + startup.delay).await;
                if !self.state.known().verdict.started {
                    return;
                }
                due = Instant::now();
            }
        }
        let each = |probe| self.repeat_if(probe, began, due);
        future::zip(each(&self.declared.liveness), each(&self.declared.readiness)).await;
    }
}

impl Worker {
    async fn repeat_if(&self, probe: &Option<Probe>, began: Instant, not_before: Instant) {
        if let Some(probe) = probe {
            self.repeat(probe, not_before.max(began + probe.delay)).await;
        }
    }

    /// Makes the probe each period from `due` on, until it has nothing more to say.
    async fn repeat(&self, probe: &Probe, mut due: Instant) {
        if self.is_adopted {
            due += self.share_of(probe.period);
        }
        let mut row = Row::default();
        loop {
            Timer::at(due).await;
            if probe.kind != Kind::Readiness && self.state.known().is_ending {
                return;
            }
            let counted = self.attempt(probe).await.and_then(|result| row.take(result, probe.thresholds));
            if counted.is_some_and(|succeeded| self.settle(probe, succeeded)) {
                return;
            }
            // One that took longer than the period is due again at once, and what it missed is not made up for.
            due = (due + probe.period).max(Instant::now());
        }
    }

    /// Makes the probe once. None: it says nothing about the container.
    async fn attempt(&self, probe: &Probe) -> Option<bool> {
        let title = probe.kind.title();
        let mut tries = 1;
        loop {
            let pod_ip = self.state.known().pod_ip;
            let target = Target { container_id: &self.id, container: &self.declared.container, pod_ip };
            // Boxed: between probes there is nothing of it.
            let made = Box::pin(self.handlers.probe(&probe.action, &target, probe.timeout)).await;
            let (reason, message, result) = match made {
                Outcome::Success => return Some(true),
                Outcome::Errored { .. } if tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Outcome::Warning(text) => {
                    ("ProbeWarning", format!("{title} probe warning: {text}"), Some(true))
                }
                Outcome::Failed(text) => ("Unhealthy", format!("{title} probe failed: {text}"), Some(false)),
                Outcome::Errored { result, message } => {
                    let text = format!("{title} probe errored and resulted in {result} state: {message}");
                    ("Unhealthy", text, None)
                }
            };
            if self.events.warn(reason, message) {
                self.wake.wake();
            }
            return result;
        }
    }

    /// Takes a result that counts. Returns whether the probe is over with it.
    fn settle(&self, probe: &Probe, succeeded: bool) -> bool {
        let mut known = self.state.known();
        let before = known.verdict.clone();
        match (probe.kind, succeeded) {
            (Kind::Readiness, ready) => known.verdict.ready = ready,
            (Kind::Liveness, true) => {}
            (Kind::Startup, true) => {
                known.verdict.started = true;
                known.verdict.ready = self.declared.readiness.is_none();
            }
            (Kind::Startup | Kind::Liveness, false) if known.is_ending => {}
            (Kind::Startup | Kind::Liveness, false) => {
                let failed = Failed { probe: probe.kind.name(), grace_seconds: probe.grace_seconds };
                known.verdict.failed.get_or_insert(failed);
            }
        }
        let has_changed = known.verdict != before;
        drop(known);
        if has_changed {
            self.wake.wake();
        }
        match probe.kind {
            Kind::Readiness => false,
            Kind::Liveness => !succeeded,
            Kind::Startup => true,
        }
    }

    /// A part of `period` that is this container's own.
    fn share_of(&self, period: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.id.hash(&mut hasher);
        period.mul_f64((hasher.finish() % 1024) as f64 / 1024.0)
    }
}
