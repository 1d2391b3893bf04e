//! The machine goes down: pods end in turns. Those that start again by themselves do so at the node's next start, with
//! what they have; only a pod that never restarts has failed.

use std::time::{Duration, SystemTime};

use super::Pods;
use crate::api::Object;
use crate::plan::eviction;
use crate::plan::pod::RestartPolicy;
use crate::plan::shutdown::{Next, Shutdown, Turn};

/// In the kubelet's words.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";

impl Pods {
    /// Gives each pod its turn, once somebody has asked for it. Returns when to look again.
    pub(super) fn take_turns(&mut self, now: SystemTime) -> Option<SystemTime> {
        let grace = self.shutdown.asked()?;
        let turns = self.turns.get_or_insert_with(|| {
            self.context.runtime.images.stop();
            Shutdown::new(grace)
        });
        let (mut running, mut names) = (Vec::new(), Vec::new());
        for pod in self.pods.values() {
            if pod.work.is_none() && !pod.live.iter().any(|live| live.runs()) {
                continue;
            }
            let Some(desired) = &pod.desired else { continue };
            running.push(desired.object().map_or(0, |object| eviction::priority(&object)));
            names.push(format!("{}/{}", desired.reference.namespace, desired.reference.name));
        }
        let next = turns.advance(&running, now);
        self.shutdown.tell(&names, next == Next::Over);
        for pod in self.pods.values_mut() {
            let Some(desired) = &pod.desired else { continue };
            let Ok(object) = desired.object() else { continue };
            let own = Duration::from_secs(desired.grace_of_containers);
            let turn = turns.turn(eviction::priority(&object), own);
            if let Turn::Now { kill_at } = turn
                && never_restarts(&object)
                && pod.live.iter().any(|live| live.runs())
            {
                let left = kill_at.duration_since(now).unwrap_or_default();
                pod.fail(REASON, MESSAGE.into(), left.as_secs(), now);
            }
            pod.turn = Some(turn);
        }
        match next {
            Next::Look(at) => Some(at),
            Next::Over => None,
        }
    }
}

fn never_restarts(pod: &Object) -> bool {
    RestartPolicy::parse(pod.str_at("/spec/restartPolicy")) == RestartPolicy::Never
}
