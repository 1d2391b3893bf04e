//! The garbage collector: what its owners have left behind goes, and owners that wait for their dependents are let go.
//! Woken by changes only.

mod act;
mod graph;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Executor;
use crate::api::kinds::CUSTOM_RESOURCE_DEFINITION;
use crate::api::{Kind, Object, Status};
use crate::plan::garbage::{
    self, FOREGROUND, Fate, ORPHAN, Owner, Propagation, Reference, references, waits,
};
use crate::server::failures::Failures;
use crate::server::registry::{Item, Registry};
use crate::store::Event;
use act::{Action, Subject};
use graph::{Graph, mentions_deletion, mentions_owners};

/// How many objects are looked at before anything is done: what is done to them shares one fsync.
const TOGETHER: usize = 64;
/// How many entries are read in one go at the start.
const CHUNK: usize = 256;

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let executor = executor.clone();
    executor.clone().spawn(async move {
        let mut failures = Failures::default();
        loop {
            let mut garbage = Garbage {
                registry: registry.clone(),
                graph: Graph::default(),
                queue: BTreeSet::new(),
                news: BTreeSet::new(),
            };
            // Ends when its watch has fallen behind, or with a failure: everything is looked at anew.
            if let Err(status) = garbage.follow(&executor, &mut failures).await {
                failures.rest("collect garbage", &status).await;
            }
        }
    })
}

struct Garbage {
    registry: Arc<Registry>,
    graph: Graph,
    /// Keys of objects to be looked at.
    queue: BTreeSet<Arc<str>>,
    /// Those of them that say something new of their owners, which was not said before this loop began.
    news: BTreeSet<Arc<str>>,
}

impl Garbage {
    async fn follow(&mut self, executor: &Executor, failures: &mut Failures) -> Result<(), Status> {
        let store = self.registry.store().clone();
        let behind = |_| Status::expired("the garbage collector has fallen behind");
        let mut watch = store.watch("", store.revision()).map_err(behind)?;
        let mut after: Option<Arc<str>> = None;
        loop {
            let found = store.list("", after.as_deref(), CHUNK);
            for entry in &found.entries {
                self.note(&entry.key, None, Some(&entry.value));
            }
            match found.entries.last() {
                Some(last) if found.more > 0 => after = Some(last.key.clone()),
                _ => break,
            }
        }
        self.news.clear();
        loop {
            while let Some(event) = watch.try_next().map_err(behind)? {
                self.see(&event);
            }
            if self.queue.is_empty() {
                let event = watch.next().await.map_err(behind)?;
                self.see(&event);
                continue;
            }
            // A large cluster's first look takes a while.
            smol::future::yield_now().await;
            let mut actions = Vec::new();
            for _ in 0..TOGETHER {
                let Some(key) = self.queue.pop_first() else { break };
                self.look(&key, &mut actions)?;
            }
            let tasks: Vec<_> = actions
                .into_iter()
                .map(|action| executor.spawn(action.carry_out(self.registry.clone())))
                .collect();
            for task in tasks {
                // What was changed by somebody else meanwhile is looked at again.
                self.queue.extend(task.await?);
            }
            failures.end();
        }
    }

    fn see(&mut self, event: &Event) {
        if event.key.starts_with(CUSTOM_RESOURCE_DEFINITION.prefix(None).as_str()) {
            // Owners of kinds that nobody knew may be known now.
            self.look_at_all_dependents();
        }
        self.note(&event.key, event.old.as_deref(), event.new.as_deref());
        if let (Some(old), None) = (&event.old, &event.new)
            && let Ok(gone) = Object::from_slice(old)
        {
            self.queue.extend(self.graph.dependents(gone.uid()).iter().cloned());
        }
    }

    /// Keeps the graph, and the queue, up to one change.
    fn note(&mut self, key: &Arc<str>, old: Option<&[u8]>, new: Option<&[u8]>) {
        let parse = |text: Option<&[u8]>, wanted: fn(&[u8]) -> bool| {
            text.filter(|text| wanted(text)).and_then(|text| Object::from_slice(text).ok())
        };
        let (was, is) = (parse(old, mentions_owners), parse(new, mentions_owners));
        if self.graph.change(key, was.as_ref(), is.as_ref()) {
            self.queue.insert(key.clone());
            self.news.insert(key.clone());
            for object in [&was, &is].into_iter().flatten() {
                let owners = references(object).filter_map(|owner| self.key_of(object, &owner));
                let owners: Vec<Arc<str>> = owners.collect();
                self.queue.extend(owners);
            }
        }
        if let Some(object) = parse(new, mentions_deletion)
            && (waits(&object, FOREGROUND) || waits(&object, ORPHAN))
        {
            self.queue.insert(key.clone());
        }
    }

    fn look_at_all_dependents(&mut self) {
        self.queue.extend(self.graph.keys());
    }

    /// The key of an owner, if its kind is known.
    fn key_of(&self, dependent: &Object, owner: &Reference<'_>) -> Option<Arc<str>> {
        let kind = self.registry.kinds().of(owner.api_version, owner.kind)?;
        Some(kind.key(dependent.namespace(), owner.name).into())
    }

    fn object(&self, key: &str) -> Result<Option<(&'static Kind, Object)>, Status> {
        let resource = key.split('/').next().unwrap_or(key);
        let kind = self.registry.kinds().stored().into_iter().find(|kind| kind.resource() == resource);
        let (Some(kind), Some(entry)) = (kind, self.registry.store().get(key)) else { return Ok(None) };
        Ok(Some((kind, Item { revision: entry.revision, value: entry.value }.object()?)))
    }

    /// Decides what becomes of one object.
    fn look(&mut self, key: &Arc<str>, actions: &mut Vec<Action>) -> Result<(), Status> {
        let is_new = self.news.remove(key);
        let Some((kind, object)) = self.object(key)? else { return Ok(()) };
        let subject = || Subject::new(key, kind, &object);
        if waits(&object, FOREGROUND) {
            let mut blocked = false;
            let mut waiting = Vec::new();
            for key in self.graph.dependents(object.uid()) {
                let Some((_, dependent)) = self.object(key)? else { continue };
                blocked |= references(&dependent).any(|owner| owner.uid == object.uid() && owner.blocks);
                if !waits(&dependent, FOREGROUND) {
                    waiting.push(key.clone());
                }
            }
            if !blocked {
                actions.push(Action::Release {
                    subject: subject(),
                    finalizer: FOREGROUND,
                    first: Vec::new(),
                });
            }
            self.queue.extend(waiting);
            return Ok(());
        }
        if waits(&object, ORPHAN) {
            let mut first = Vec::new();
            for key in self.graph.dependents(object.uid()) {
                if let Some((kind, dependent)) = self.object(key)? {
                    first.push(Subject::new(key, kind, &dependent));
                }
            }
            actions.push(Action::Release { subject: subject(), finalizer: ORPHAN, first });
            return Ok(());
        }
        if object.deletion_timestamp().is_some() {
            return Ok(());
        }
        let owners: Result<Vec<Owner>, Status> = references(&object)
            .map(|reference| self.owner(kind, &object, &reference, is_new, actions))
            .collect();
        let owners = owners?;
        let dependents = self.graph.dependents(object.uid());
        match garbage::fate(&object, &owners, !dependents.is_empty()) {
            Fate::Stays => {}
            Fate::Forgets => {
                let lost = references(&object).zip(&owners).filter(|(_, state)| **state != Owner::Solid);
                let uids = lost.map(|(owner, _)| owner.uid.to_owned()).collect();
                actions.push(Action::Forget { subject: subject(), owners: uids });
            }
            Fate::Goes(propagation) => {
                let unblocks =
                    propagation == Propagation::Foreground && self.is_in_circle(&object, dependents)?;
                actions.push(Action::Delete { subject: subject(), propagation, unblocks });
            }
        }
        Ok(())
    }

    /// Whether a dependent waits in its turn: then nobody of the circle would ever go.
    fn is_in_circle(&self, object: &Object, dependents: &[Arc<str>]) -> Result<bool, Status> {
        for key in dependents {
            if let Some((_, dependent)) = self.object(key)?
                && dependent.uid() != object.uid()
                && waits(&dependent, FOREGROUND)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn owner(
        &self,
        kind: &'static Kind,
        object: &Object,
        reference: &Reference<'_>,
        is_new: bool,
        actions: &mut Vec<Action>,
    ) -> Result<Owner, Status> {
        let Some(owner_kind) = self.registry.kinds().of(reference.api_version, reference.kind) else {
            return Ok(Owner::Unknown);
        };
        let homeless = owner_kind.namespaced && !kind.namespaced;
        if !homeless {
            let key = owner_kind.key(object.namespace(), reference.name);
            if let Some((_, owner)) = self.object(&key)?.filter(|(_, owner)| owner.uid() == reference.uid) {
                return Ok(if waits(&owner, FOREGROUND) { Owner::Waiting } else { Owner::Solid });
            }
        }
        // What has no namespace stays, and is told of once; the other goes.
        let tells = owner_kind.namespaced && (is_new || !homeless);
        if tells && self.is_elsewhere(owner_kind, reference)? {
            actions.push(Action::TellNamespace {
                object: object.clone(),
                reference: describe(object, reference),
            });
        }
        Ok(if homeless { Owner::Unknown } else { Owner::Missing })
    }

    /// Whether an owner lives in another namespace than its dependent.
    fn is_elsewhere(&self, kind: &Kind, reference: &Reference<'_>) -> Result<bool, Status> {
        let end = format!("/{}", reference.name);
        for entry in self.registry.store().list(&kind.prefix(None), None, 0).entries {
            if entry.key.ends_with(&end)
                && Object::from_slice(&entry.value).is_ok_and(|found| found.uid() == reference.uid)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// As upstream writes it.
fn describe(object: &Object, reference: &Reference<'_>) -> String {
    let Reference { api_version, kind, name, uid, .. } = reference;
    let namespace = object.namespace();
    format!("[{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]")
}

#[cfg(test)]
mod tests;
