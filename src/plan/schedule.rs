//! Which node a pod goes to.

use crate::api::Object;

/// What a pod asks of a node, in the units that the decision compares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    _private: (),
}

impl Pod {
    pub fn of(pod: &Object) -> Self {
        let _ = pod;
        todo!()
    }
}

/// What a node offers, less what its pods have taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    _private: (),
}

impl Node {
    pub fn of(node: &Object) -> Self {
        let _ = node;
        todo!()
    }

    /// Takes the room that a pod on this node needs.
    pub fn take(&mut self, pod: &Pod) {
        let _ = pod;
        todo!()
    }
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To the node of this name.
    Bind(String),
    /// Nowhere; upstream's words: `0/3 nodes are available: 1 Insufficient memory, …`.
    Unschedulable(String),
}

/// Picks the node with the most room left among those that the pod fits on.
pub fn schedule(pod: &Pod, nodes: &[Node]) -> Decision {
    let _ = (pod, nodes);
    todo!()
}
