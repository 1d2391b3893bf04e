//! Jobs and their pods, and pods that have lost their Job.

use std::time::SystemTime;

use super::{Controller, Seen, World};
use crate::api::kinds::{JOB, POD};
use crate::api::{Kind, Object, Status};
use crate::plan::control::{self, Action, Plan, Told};
use crate::plan::job;

pub struct Jobs;

impl Controller for Jobs {
    fn kind(&self) -> &'static Kind {
        JOB
    }

    fn source(&self) -> &'static str {
        "job-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[POD] }
    }

    fn plan(&self, world: &World, job: &Object, _: Option<&Status>, now: SystemTime) -> Result<Plan, Status> {
        Ok(job::plan(job, world.of(POD, job, true), now))
    }
}

/// Lets go of pods that nobody counts any more.
pub struct JobPods;

impl Controller for JobPods {
    fn kind(&self) -> &'static Kind {
        POD
    }

    fn source(&self) -> &'static str {
        "job-controller"
    }

    fn tends(&self, pod: &Object) -> bool {
        job::is_tracked(pod)
    }

    fn watches(&self) -> &'static [&'static Kind] {
        const { &[JOB] }
    }

    fn concerned(&self, world: &World, change: &Seen<'_>) -> Vec<String> {
        let (Some(job), None) = (change.old, change.new) else { return Vec::new() };
        world.of(POD, job, false).iter().map(|pod| POD.key(pod.namespace(), pod.name())).collect()
    }

    fn plan(&self, world: &World, pod: &Object, _: Option<&Status>, _: SystemTime) -> Result<Plan, Status> {
        let owner = control::controller(pod).filter(|owner| owner["kind"] == JOB.kind);
        let job = owner.and_then(|owner| world.get(JOB, pod.namespace(), owner["name"].as_str()?));
        let counts =
            job.is_some_and(|job| control::is_controlled_by(pod, &job) && job::finished(&job).is_none());
        let freed = if counts { None } else { job::release(pod) };
        Ok(Plan {
            actions: freed.map(|pod| Action::Update(pod, Told::Nothing)).into_iter().collect(),
            ..Plan::default()
        })
    }
}
