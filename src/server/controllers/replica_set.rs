//! ReplicaSets, and their pods.

use std::time::SystemTime;

use super::{Controller, World};
use crate::api::kinds::{POD, REPLICA_SET};
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::replica_set;

pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn kind(&self) -> &'static Kind {
        REPLICA_SET
    }

    fn source(&self) -> &'static str {
        "replicaset-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[POD] }
    }

    fn plan(
        &self,
        world: &World,
        set: &Object,
        failure: Option<&Status>,
        now: SystemTime,
    ) -> Result<Plan, Status> {
        Ok(replica_set::plan(set, world.of(POD, set, true), failure, now))
    }
}
