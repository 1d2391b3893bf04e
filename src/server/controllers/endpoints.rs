//! Services, and their EndpointSlices and Endpoints.

use std::time::{Duration, SystemTime};

use super::{Controller, Seen, World};
use crate::api::kinds::{ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE};
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::endpoints;

pub struct Services;

impl Controller for Services {
    fn kind(&self) -> &'static Kind {
        SERVICE
    }

    fn source(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[ENDPOINT_SLICE] }
    }

    fn watches(&self) -> &'static [&'static Kind] {
        const { &[POD, ENDPOINTS] }
    }

    fn concerned(&self, world: &World, change: &Seen<'_>) -> Vec<String> {
        let Some(object) = change.object() else { return Vec::new() };
        if change.kind == ENDPOINTS {
            return vec![SERVICE.key(object.namespace(), object.name())];
        }
        if let (Some(old), Some(new)) = (change.old, change.new)
            && endpoints::facts(old) == endpoints::facts(new)
        {
            return Vec::new();
        }
        let services = world.registry().objects(SERVICE, Some(object.namespace())).unwrap_or_default();
        let either = [change.old, change.new];
        let services = services
            .iter()
            .filter(|service| either.into_iter().flatten().any(|pod| endpoints::selects(service, pod)));
        services.map(|service| SERVICE.key(service.namespace(), service.name())).collect()
    }

    /// Clients go on asking a pod that ends for as long as it is listed.
    fn cost(&self, spent: Duration) -> Duration {
        spent.min(Duration::from_millis(20).max(spent / 4))
    }

    fn plan(
        &self,
        world: &World,
        service: &Object,
        _: Option<&Status>,
        _: SystemTime,
    ) -> Result<Plan, Status> {
        let mut pods = Vec::new();
        if endpoints::is_selecting(service) {
            pods = world.registry().objects(POD, Some(service.namespace()))?;
            pods.retain(|pod| endpoints::selects(service, pod));
        }
        let slices = world.of(ENDPOINT_SLICE, service, false);
        Ok(endpoints::plan(service, &pods, slices, world.get(ENDPOINTS, service.namespace(), service.name())))
    }
}
