//! What a container does at its start and at its end. Each runs as a task of its own: a hook may take long,
//! and holds up nothing else of its pod.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Context, Outcome};
use crate::agent::event::Event;
use crate::agent::handler::{Failure, Target};
use crate::chain;

/// A postStart hook has no limit of its own.
const NO_LIMIT: Duration = Duration::from_secs(365 * 86_400);

/// One container that runs, with what its hooks need.
pub struct Hooked {
    pub context: Arc<Context>,
    pub uid: String,
    pub id: String,
    pub name: String,
    /// Of the pod's specification; None when it has no hook there.
    pub container: Option<Value>,
    pub pod_ip: Option<IpAddr>,
}

impl Hooked {
    async fn hook(&self, kind: &str, limit: Duration) -> Result<(), Failure> {
        let Some(container) = &self.container else { return Ok(()) };
        let action = container.get("lifecycle").and_then(|lifecycle| lifecycle.get(kind));
        let Some(action) = action.filter(|action| !action.is_null()) else { return Ok(()) };
        let target = Target { container_id: &self.id, container, pod_ip: self.pod_ip };
        self.context.handlers.run(action, &target, limit).await
    }

    fn say(&self, outcome: Outcome) {
        let _ = self.context.outcomes.try_send((self.uid.clone(), outcome));
    }

    fn failed(&self, reason: &'static str, what: &str, failure: &Failure) {
        let event = Event::warning(reason, format!("{what} failed: {failure}"));
        self.say(Outcome::Event(event.of(&self.name)));
    }

    /// The postStart hook.
    pub async fn start(self) {
        let result = self.hook("postStart", NO_LIMIT).await;
        if let Err(failure) = &result {
            self.failed("FailedPostStartHook", "PostStartHook", failure);
        }
        self.say(Outcome::PostStart { id: self.id.clone(), failed: result.is_err() });
        self.context.wake.wake();
    }

    /// The preStop hook for `grace` at most, then the stop signal.
    pub async fn stop(self, signal: u32, grace: Duration) {
        if !grace.is_zero() {
            if let Err(failure) = self.hook("preStop", grace).await {
                self.failed("FailedPreStopHook", "PreStopHook", &failure);
            }
        }
        let sent = self.context.runtime.terminate(&self.id, signal).await;
        let error = sent.err().map(|error| chain(&error));
        self.say(Outcome::Stopped { id: self.id.clone(), error });
        self.context.wake.wake();
    }
}
