//! A definition that is deleted takes its objects with it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::api::kinds::{CUSTOM_RESOURCE_DEFINITION, Kind};
use crate::api::strategy::{CLEANUP, set_condition};
use crate::api::{Object, Reason, Status, time};
use crate::server::failures::Failures;
use crate::server::registry::{Change, DeleteOptions, Page, Registry, Selectors, Subresource, WriteOptions};

/// Objects that are parsed at once.
const TOGETHER: usize = 64;

/// Deletes all objects of a definition (None: it never had any), waits for those that finalizers hold, and lets the
/// definition go.
pub async fn run(registry: Arc<Registry>, name: String, kind: Option<&'static Kind>) {
    let mut failures = Failures::default();
    while let Err(status) = empty(&registry, &name, kind).await {
        failures.rest(&format!("delete the objects of {name}"), &status).await;
    }
}

async fn empty(registry: &Registry, name: &str, kind: Option<&'static Kind>) -> Result<(), Status> {
    let mut waits = false;
    while let Some(kind) = kind {
        let from = registry.store().revision();
        if delete_all(registry, kind).await? {
            break;
        }
        if !std::mem::replace(&mut waits, true) {
            let message = "CustomResource deletion is in progress";
            tell(registry, name, "InstanceDeletionInProgress", message, false).await?;
        }
        let Ok(mut watch) = registry.store().watch(&kind.prefix(None), from) else { continue };
        // What this pass wrote itself, or that it has fallen behind, is no harm: it looks again.
        while matches!(watch.next().await, Ok(event) if event.new.is_some()) {}
    }
    tell(registry, name, "InstanceDeletionCompleted", "removed all instances", true).await
}

/// True if nothing is left.
async fn delete_all(registry: &Registry, kind: &'static Kind) -> Result<bool, Status> {
    let mut left = false;
    let mut page = Page { limit: TOGETHER, ..Page::default() };
    loop {
        let list = registry.list(kind, None, &Selectors::default(), &page)?;
        for item in &list.items {
            let object = item.object()?;
            match registry.delete(kind, object.namespace(), object.name(), DeleteOptions::default()).await {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => left |= registry.item(kind, object.namespace(), object.name()).is_ok(),
            }
        }
        match list.token {
            Some(token) => page.token = Some(token),
            None => return Ok(!left),
        }
    }
}

/// Says how far it is, and at the end takes the finalizer off.
async fn tell(
    registry: &Registry,
    name: &str,
    reason: &str,
    message: &str,
    done: bool,
) -> Result<(), Status> {
    let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
    let now = time::format(SystemTime::now());
    let change = |definition: &mut Object| {
        set_condition(definition, "Terminating", !done, reason, message, &now);
        if done {
            let mut finalizers = definition.array_at("/metadata/finalizers").to_vec();
            finalizers.retain(|finalizer| finalizer != CLEANUP);
            definition.set("/metadata/finalizers", finalizers);
        }
        Ok(Change::Write)
    };
    match registry.modify(CUSTOM_RESOURCE_DEFINITION, "", name, options, change).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}
