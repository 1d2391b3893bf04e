//! The machine goes down: pods end in turns. Those that start again by themselves do so at the node's next start, with
//! what they have; only a pod with a container that would not has failed.

use std::time::{Duration, SystemTime};

use super::Pods;
use crate::agent::container::Live;
use crate::agent::pod::Pod;
use crate::agent::record::TERMINATED_CODE;
use crate::plan::pod::Role;
use crate::plan::shutdown::{Next, Shutdown, Turn};

/// In the kubelet's words.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";

/// What is to be said of the turns, once all that has ended is on disk.
pub(super) struct Told {
    /// Pods of which something runs.
    pub running: Vec<String>,
    /// When to look again; None: all is over.
    pub again: Option<SystemTime>,
}

impl Pods {
    /// Gives each pod its turn, once somebody has asked for it.
    pub(super) fn take_turns(&mut self, now: SystemTime) -> Option<Told> {
        let grace = self.shutdown.asked()?;
        let turns = self.turns.get_or_insert_with(|| {
            self.context.runtime.images.stop();
            Shutdown::new(grace)
        });
        let (mut priorities, mut running) = (Vec::new(), Vec::new());
        for pod in self.pods.values().filter(|pod| pod.work.is_some() || pod.live.iter().any(Live::runs)) {
            let Some(desired) = &pod.desired else { continue };
            priorities.push(desired.priority);
            running.push(format!("{}/{}", desired.reference.namespace, desired.reference.name));
        }
        let next = turns.advance(&priorities, now);
        for pod in self.pods.values_mut() {
            let Some(desired) = &pod.desired else { continue };
            let own = Duration::from_secs(desired.grace_of_containers);
            let turn = turns.turn(desired.priority, own);
            if let Turn::Now { kill_at } = turn
                && is_cut_off(pod)
            {
                let left = kill_at.duration_since(now).unwrap_or_default();
                pod.fail(REASON, MESSAGE.into(), left.as_secs(), now);
            }
            pod.turn = Some(turn);
        }
        let again = match next {
            Next::Look(at) => Some(at),
            Next::Over => None,
        };
        Some(Told { running, again })
    }
}

/// Whether something of it runs that would not start again after it was told to end.
fn is_cut_off(pod: &Pod) -> bool {
    let wanted = pod.desired.iter().flat_map(|desired| &desired.containers);
    let mut once =
        wanted.filter(|wanted| wanted.role != Role::Ephemeral && !wanted.restarts(TERMINATED_CODE));
    once.any(|wanted| pod.live.iter().any(|live| live.name == wanted.name && live.runs()))
}
