//! DaemonSets, their pods and revisions.

use std::time::SystemTime;

use super::{Controller, Seen, World};
use crate::api::kinds::{CONTROLLER_REVISION, DAEMON_SET, NODE, POD};
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::daemon_set;
use crate::plan::schedule::Node;

pub struct DaemonSets;

impl Controller for DaemonSets {
    fn kind(&self) -> &'static Kind {
        DAEMON_SET
    }

    fn source(&self) -> &'static str {
        "daemonset-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[POD, CONTROLLER_REVISION] }
    }

    fn watches(&self) -> &'static [&'static Kind] {
        const { &[NODE] }
    }

    /// All of them, if something about the node changed that says whether they run there.
    fn concerned(&self, world: &World, change: &Seen<'_>) -> Vec<String> {
        let [old, new] = [change.old, change.new].map(|node| node.map(Node::of));
        if old == new {
            return Vec::new();
        }
        let sets = world.registry().objects(DAEMON_SET, None).unwrap_or_default();
        sets.iter().map(|set| DAEMON_SET.key(set.namespace(), set.name())).collect()
    }

    fn plan(&self, world: &World, set: &Object, _: Option<&Status>, now: SystemTime) -> Result<Plan, Status> {
        // One after the other: there may be a thousand.
        let nodes = world.registry().all(NODE, None)?.items;
        let nodes: Vec<Node> =
            nodes.iter().map(|node| Ok(Node::of(&node.object()?))).collect::<Result<_, Status>>()?;
        let (pods, revisions) = (world.of(POD, set, true), world.of(CONTROLLER_REVISION, set, true));
        Ok(daemon_set::plan(set, pods, revisions, &nodes, now))
    }
}
