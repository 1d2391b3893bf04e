//! ResourceQuotas: whether a new object still fits, and the loop that keeps their status. What is used is counted
//! anew each time, in namespaces with a quota only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::forbidden;
use crate::Executor;
use crate::api::kinds::{POD, RESOURCE_QUOTA};
use crate::api::quantity::Quantity;
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::quota::{self, Amounts};
use crate::server::failures::Failures;
use crate::server::registry::{Change, Registry, Subresource, WriteOptions};
use crate::store::Durability;

/// Changes that come together are counted together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Holds an object against the quotas of its namespace. What an update gives back is always admitted.
pub fn check(registry: &Registry, kind: &Kind, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    if !kind.namespaced || old.is_some() && kind == POD {
        return Ok(());
    }
    let quotas = registry.objects(RESOURCE_QUOTA, Some(new.namespace()))?;
    if quotas.is_empty() {
        return Ok(());
    }
    let now = SystemTime::now();
    let mut more = quota::usage(kind, new, now);
    for (name, before) in old.map(|old| quota::usage(kind, old, now)).into_iter().flatten() {
        let after = more.get(&name).copied().unwrap_or(Quantity::of(0));
        more.insert(name, after.minus(before));
    }
    more.retain(|_, amount| amount.nanos() > 0);
    for quota in quotas {
        let mut hard = quota::hard(&quota);
        hard.retain(|name, _| quota::tracks(kind, name));
        if hard.is_empty() || !quota::covers(&quota, kind, new) {
            continue;
        }
        let refuse = |why: &str| Err(forbidden(kind, new.name(), why));
        if kind == POD {
            if let Some(unsaid) = quota::unsaid(&hard, new) {
                return refuse(&format!("failed quota: {}: {unsaid}", quota.name()));
            }
        }
        let requested: Amounts =
            more.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(n, a)| (n.clone(), *a)).collect();
        if requested.is_empty() {
            continue;
        }
        let used = used(registry, &quota, &requested, now)?;
        if let Some(why) = quota::exceeded(quota.name(), &hard, &requested, &used) {
            return refuse(&why);
        }
    }
    Ok(())
}

/// What the quota's namespace uses of the resources that `of` names.
fn used(registry: &Registry, quota: &Object, of: &Amounts, now: SystemTime) -> Result<Amounts, Status> {
    let mut sum: Amounts = of.keys().map(|name| (name.clone(), Quantity::of(0))).collect();
    let mut add = |name: &str, amount: Quantity| {
        if let Some(before) = sum.get_mut(name) {
            *before = before.plus(amount);
        }
    };
    for kind in registry.kinds().stored().into_iter().filter(|kind| kind.namespaced) {
        let names: Vec<&String> = of.keys().filter(|name| quota::tracks(kind, name)).collect();
        if names.is_empty() {
            continue;
        }
        let entries = registry.store().list(&kind.prefix(Some(quota.namespace())), None, 0).entries;
        let everything =
            quota.array_at("/spec/scopes").is_empty() && quota.at("/spec/scopeSelector").is_none();
        if everything && names.iter().all(|name| quota::only_counts(kind, name)) {
            let count = Quantity::of(i64::try_from(entries.len()).unwrap_or(i64::MAX));
            names.into_iter().for_each(|name| add(name, count));
            continue;
        }
        for entry in entries {
            let object = Object::from_slice(&entry.value).map_err(Status::internal)?;
            if quota::covers(quota, kind, &object) {
                for (name, amount) in quota::usage(kind, &object, now) {
                    add(&name, amount);
                }
            }
        }
    }
    Ok(sum)
}

/// Keeps the quotas' status until the task is dropped. Woken by changes in namespaces that have one.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let revision = registry.store().revision();
            match pass(&registry).await {
                Ok(namespaces) => {
                    failures.end();
                    changed(&registry, revision, &namespaces).await;
                    smol::Timer::after(TOGETHER).await;
                }
                Err(status) => {
                    failures.rest("count what quotas are about", &status).await;
                }
            }
        }
    })
}

/// Counts everything anew; returns the namespaces with a quota.
pub(super) async fn pass(registry: &Registry) -> Result<BTreeSet<String>, Status> {
    let mut namespaces = BTreeSet::new();
    let options = WriteOptions {
        subresource: Subresource::Internal,
        durability: Durability::Lazy,
        ..WriteOptions::default()
    };
    for quota in registry.objects(RESOURCE_QUOTA, None)? {
        let hard = quota::hard(&quota);
        let used = used(registry, &quota, &hard, SystemTime::now())?;
        let texts = |amounts: &Amounts| -> Value {
            amounts
                .iter()
                .map(|(name, amount)| (name.clone(), amount.to_string().into()))
                .collect::<Map<_, _>>()
                .into()
        };
        let status = json!({"hard": texts(&hard), "used": texts(&used)});
        if quota.at("/status") != Some(&status) {
            let keep = |quota: &mut Object| {
                quota.set("/status", status.clone());
                Ok(Change::Write)
            };
            match registry.modify(RESOURCE_QUOTA, quota.namespace(), quota.name(), options, keep).await {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => {}
            }
        }
        namespaces.insert(quota.namespace().to_owned());
    }
    Ok(namespaces)
}

/// Waits for a change that may count.
async fn changed(registry: &Registry, revision: u64, namespaces: &BTreeSet<String>) {
    let quotas = RESOURCE_QUOTA.prefix(None);
    let prefix = if namespaces.is_empty() { quotas.as_str() } else { "" };
    let Ok(mut watch) = registry.store().watch(prefix, revision) else { return };
    loop {
        // An error: fallen behind, count everything.
        let Ok(event) = watch.next().await else { return };
        let mut parts = event.key.split('/');
        let namespaced = parts.nth(1).is_some_and(|namespace| namespaces.contains(namespace));
        if event.key.starts_with(&quotas) || namespaced && parts.next().is_some() {
            return;
        }
    }
}
