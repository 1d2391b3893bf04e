//! `POST pods/NAME/eviction` (`kubectl drain`): a delete that disruption budgets may refuse.

use std::time::SystemTime;

use hyper::body::Incoming;
use serde_json::json;

use super::admit::dry_run;
use super::{Call, delete, pods};
use crate::api::kinds::{POD, POD_DISRUPTION_BUDGET};
use crate::api::{Object, Status};
use crate::plan::disruption;
use crate::server::registry::{Change, Page, Selectors, WriteOptions};
use crate::server::reply::Reply;

pub async fn evict(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let eviction = pods::said(call, body, "Eviction").await?;
    let options = eviction.at("/deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let options = Object::from_value(options).map_err(|error| Status::bad_request(error.to_string()))?;
    let mut options = delete::parse(&options)?;
    options.dry_run |= dry_run(call.query.all("dryRun"))?;
    let registry = &call.state.registry;
    let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::STATUS };
    let pod = registry.get(POD, call.namespace(), call.name())?;
    options.check(POD, &pod)?;
    if !disruption::is_free(&pod) {
        ask(call, &pod, write).await?;
    }
    if pod.deletion_timestamp().is_none() {
        let tell = |current: &mut Object| {
            if current.uid() != pod.uid() {
                return Ok(Change::Keep);
            }
            pods::condition(current, "DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting");
            Ok(Change::Write)
        };
        registry.modify(POD, call.namespace(), call.name(), write, tell).await?;
        // The one that was checked; it has just changed.
        options.resource_version = None;
    }
    options.uid = Some(pod.uid().to_owned());
    registry.delete(POD, call.namespace(), call.name(), options).await?;
    Ok(pods::done())
}

/// Pays for the eviction with the budget that is about the pod.
async fn ask(call: &Call<'_>, pod: &Object, write: WriteOptions<'_>) -> Result<(), Status> {
    let registry = &call.state.registry;
    let all = registry.list(
        POD_DISRUPTION_BUDGET,
        Some(call.namespace()),
        &Selectors::default(),
        &Page::default(),
    )?;
    let mut budgets = Vec::new();
    for item in &all.items {
        let budget = item.object()?;
        if disruption::selects(&budget, pod) {
            budgets.push(budget);
        }
    }
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [only] => only,
        _ => {
            let mut status = Status::internal("");
            status.details = None;
            status.message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                              does not support."
                    .to_owned();
            return Err(status);
        }
    };
    let pay = |current: &mut Object| {
        Ok(match disruption::evict(current, pod, SystemTime::now())? {
            Some(paid) => {
                *current = paid;
                Change::Write
            }
            None => Change::Keep,
        })
    };
    registry.modify(POD_DISRUPTION_BUDGET, call.namespace(), budget.name(), write, pay).await.map(drop)
}
