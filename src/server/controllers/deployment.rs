//! Deployments, and their ReplicaSets.

use std::time::SystemTime;

use super::{Controller, World};
use crate::api::kinds::{DEPLOYMENT, REPLICA_SET};
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::deployment;

pub struct Deployments;

impl Controller for Deployments {
    fn kind(&self) -> &'static Kind {
        DEPLOYMENT
    }

    fn source(&self) -> &'static str {
        "deployment-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[REPLICA_SET] }
    }

    fn plan(
        &self,
        world: &World,
        deployment: &Object,
        failure: Option<&Status>,
        now: SystemTime,
    ) -> Result<Plan, Status> {
        let taken = |name: &str| world.get(REPLICA_SET, deployment.namespace(), name).is_some();
        Ok(deployment::plan(deployment, world.of(REPLICA_SET, deployment, true), &taken, failure, now))
    }
}
