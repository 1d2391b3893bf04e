//! Services, and their EndpointSlices and Endpoints.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{Controller, Seen, World};
use crate::api::kinds::{ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE};
use crate::api::object::Wanted;
use crate::api::selector::LabelSelector;
use crate::api::{Kind, Object, Status};
use crate::plan::control::Plan;
use crate::plan::endpoints;
use crate::server::registry::{Item, Page, Selectors};

/// Which pods a Service selects.
const SELECTION: Wanted = |section, field| {
    matches!((section, field), ("metadata", "name" | "namespace") | ("spec", "selector" | "type"))
};

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
        let services = world.registry().all(SERVICE, Some(object.namespace())).unwrap_or_default().items;
        let either = [change.old, change.new];
        // Every pod's change asks this of all Services beside it.
        let services = services.iter().filter_map(|item| item.part(SELECTION).ok());
        services
            .filter(|service| either.into_iter().flatten().any(|pod| endpoints::selects(service, pod)))
            .map(|service| SERVICE.key(service.namespace(), service.name()))
            .collect()
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
            let labels = LabelSelector::from_json(&json!({"matchLabels": service.at("/spec/selector")}))?;
            let selectors = Selectors { labels, ..Selectors::default() };
            let page = Page::default();
            let found = world.registry().list(POD, Some(service.namespace()), &selectors, &page)?;
            pods = found.items.iter().map(Item::object).collect::<Result<_, _>>()?;
        }
        let slices = world.of(ENDPOINT_SLICE, service, false);
        Ok(endpoints::plan(service, &pods, slices, world.get(ENDPOINTS, service.namespace(), service.name())))
    }
}
