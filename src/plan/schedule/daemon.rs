//! Which nodes a DaemonSet's pods belong on: the filters that do not depend on what else runs there.

use super::taint::Effect;
use super::{Node, Pod};

/// What becomes of a DaemonSet's pods on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Runs,
    /// One that is there stays; none is made.
    Stays,
    Goes,
}

impl Node {
    /// Whether a daemon's pod (with the tolerations of its kind) belongs here.
    pub fn standing(&self, pod: &Pod, node_name: &str) -> Standing {
        let repels = |effect| self.taints.iter().any(|taint| taint.effect == effect && !pod.tolerates(taint));
        let named = node_name.is_empty() || node_name == self.name;
        if !named || !pod.selects(&self.name, &self.labels) || repels(Effect::NoExecute) {
            Standing::Goes
        } else if repels(Effect::NoSchedule) {
            Standing::Stays
        } else {
            Standing::Runs
        }
    }
}
