//! The disruption loop: keeps the status of PodDisruptionBudgets. Woken by changes only, and by nothing else than
//! budgets while there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use smol::future::or;

use crate::Executor;
use crate::api::kinds::{
    DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, REPLICATION_CONTROLLER, STATEFUL_SET,
};
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::disruption;
use crate::server::failures::Failures;
use crate::server::registry::{Change, Registry, WriteOptions};
use crate::store;

/// Whose `spec.replicas` says how many pods there should be.
const SCALED: [&Kind; 4] = [DEPLOYMENT, REPLICA_SET, STATEFUL_SET, REPLICATION_CONTROLLER];

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let mut disruptions =
                Disruptions { registry: registry.clone(), budgets: BTreeMap::new(), dirty: BTreeSet::new() };
            if let Err(status) = disruptions.follow(&mut failures).await {
                failures.rest("look after the disruption budgets", &status).await;
            }
        }
    })
}

struct Disruptions {
    registry: Arc<Registry>,
    /// Namespaces with budgets, and when these must be looked at again.
    budgets: BTreeMap<String, Option<SystemTime>>,
    /// Namespaces to be looked at.
    dirty: BTreeSet<String>,
}

impl Disruptions {
    async fn follow(&mut self, failures: &mut Failures) -> Result<(), Status> {
        let store = self.registry.store().clone();
        let behind = |_| Status::expired("the disruption loop has fallen behind");
        let mut watch = store.watch("", store.revision()).map_err(behind)?;
        let all = self.registry.all(POD_DISRUPTION_BUDGET, None)?;
        for item in all.items {
            self.dirty.insert(item.object()?.namespace().to_owned());
        }
        loop {
            while let Some(event) = watch.try_next().map_err(behind)? {
                self.note(&event);
            }
            if let Some(namespace) = self.dirty.pop_first() {
                self.look_after(&namespace).await?;
                failures.end();
                continue;
            }
            let due = self.budgets.values().flatten().min().copied();
            let due = async {
                match due.map(|due| due.duration_since(SystemTime::now()).unwrap_or_default()) {
                    Some(wait) => _ = smol::Timer::after(wait).await,
                    None => smol::future::pending().await,
                }
                Ok(None)
            };
            // Both are cancel-safe.
            match or(async { watch.next().await.map(Some) }, due).await.map_err(behind)? {
                Some(event) => self.note(&event),
                None => {
                    let now = SystemTime::now();
                    let due =
                        self.budgets.iter().filter(|(_, again)| again.is_some_and(|again| again <= now));
                    self.dirty.extend(due.map(|(namespace, _)| namespace.clone()));
                }
            }
        }
    }

    fn note(&mut self, event: &store::Event) {
        let mut parts = event.key.split('/');
        let (Some(resource), Some(namespace)) = (parts.next(), parts.next()) else { return };
        let concerns = resource == POD_DISRUPTION_BUDGET.resource()
            || self.budgets.contains_key(namespace)
                && (resource == POD.plural || SCALED.iter().any(|kind| resource == kind.resource()));
        if concerns {
            self.dirty.insert(namespace.to_owned());
        }
    }

    async fn look_after(&mut self, namespace: &str) -> Result<(), Status> {
        let list = |kind: &Kind| {
            let found = self.registry.all(kind, Some(namespace))?;
            found.items.iter().map(super::registry::Item::object).collect::<Result<Vec<Object>, Status>>()
        };
        let budgets = list(POD_DISRUPTION_BUDGET)?;
        if budgets.is_empty() {
            self.budgets.remove(namespace);
            return Ok(());
        }
        let pods = list(POD)?;
        let mut again: Option<SystemTime> = None;
        for budget in budgets {
            let selected: Vec<Object> =
                pods.iter().filter(|pod| disruption::selects(&budget, pod)).cloned().collect();
            let now = SystemTime::now();
            let (_, due) = disruption::status(&budget, &selected, || self.scale(&selected), now);
            again = [again, due].into_iter().flatten().min();
            let update = |current: &mut Object| {
                let (status, _) = disruption::status(current, &selected, || self.scale(&selected), now);
                if current.at("/status") == Some(&status) {
                    return Ok(Change::Keep);
                }
                current.set("/status", status);
                Ok(Change::Write)
            };
            match self
                .registry
                .modify(POD_DISRUPTION_BUDGET, namespace, budget.name(), WriteOptions::STATUS, update)
                .await
            {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => {}
            }
        }
        self.budgets.insert(namespace.to_owned(), again);
        Ok(())
    }

    /// How many pods the controllers of these pods want in all. Pods without one count for nothing.
    fn scale(&self, pods: &[Object]) -> Result<i64, String> {
        let mut seen: Vec<&str> = Vec::new();
        let mut sum = 0;
        for pod in pods {
            let Some(owner) = controller(pod) else { continue };
            let uid = owner["uid"].as_str().unwrap_or("");
            if seen.contains(&uid) {
                continue;
            }
            seen.push(uid);
            let found = self.owner(pod.namespace(), owner);
            let found = match found.as_ref().and_then(controller) {
                // A ReplicaSet's number may be on its way to its Deployment's.
                Some(above) if owner["kind"] == "ReplicaSet" => self.owner(pod.namespace(), above).or(found),
                _ => found,
            };
            let found = found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.name()))?;
            let above = found.uid().to_owned();
            if above == uid || !seen.contains(&above.as_str()) {
                sum += found.i64_at("/spec/replicas").unwrap_or(1);
            }
        }
        Ok(sum)
    }

    fn owner(&self, namespace: &str, owner: &Value) -> Option<Object> {
        let kind = SCALED.into_iter().find(|kind| {
            owner["kind"] == kind.kind && owner["apiVersion"].as_str() == Some(&*kind.api_version())
        })?;
        let found = self.registry.get(kind, namespace, owner["name"].as_str()?).ok()?;
        (owner["uid"].as_str() == Some(found.uid())).then_some(found)
    }
}

fn controller(object: &Object) -> Option<&Value> {
    object.array_at("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}
