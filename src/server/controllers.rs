//! The controllers: each looks after the objects of one kind, by a pure plan. One loop feeds all of them from one watch,
//! keeps each object to one piece of work at a time, and lets those that fail wait without holding up others.
//!
//! Before every plan the loop takes in all changes that readers can see, and the next plan for an object is made after
//! the last one was carried out: no plan misses what the one before it made, so none makes anything twice.

mod act;
mod cron_job;
mod daemon_set;
mod deployment;
mod endpoints;
mod job;
mod queue;
mod replica_set;
mod stateful_set;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smol::channel::{Receiver, Sender};
use smol::future::or;

use crate::Executor;
use crate::api::object::NO_ACCOUNT;
use crate::api::{CauseReason, Kind, Object, Reason, Status};
use crate::plan::control::{self, Plan};
use crate::server::health::Working;
use crate::server::registry::Registry;
use crate::store;
use act::Work;
use queue::{Key, Queue};
pub use world::World;

/// Looks after the objects of one kind.
pub trait Controller: Sync {
    fn kind(&self) -> &'static Kind;

    /// What its events name as their source: upstream's name of this controller.
    fn source(&self) -> &'static str;

    /// Whether it looks after this object of its kind.
    fn tends(&self, object: &Object) -> bool {
        let _ = object;
        true
    }

    /// Kinds of which its objects control some.
    fn owns(&self) -> &'static [&'static Kind] {
        &[]
    }

    /// Further kinds whose changes [`Controller::concerned`] is asked about.
    fn watches(&self) -> &'static [&'static Kind] {
        &[]
    }

    /// The keys of the objects that a change concerns.
    fn concerned(&self, world: &World, change: &Seen<'_>) -> Vec<String> {
        let _ = (world, change);
        Vec::new()
    }

    /// What a plan's cost counts for the pause before the next one.
    fn cost(&self, spent: Duration) -> Duration {
        spent
    }

    /// What is to be done for an object. `failure` is how the last attempt failed.
    ///
    /// Errors: what is tried again later.
    fn plan(
        &self,
        world: &World,
        object: &Object,
        failure: Option<&Status>,
        now: SystemTime,
    ) -> Result<Plan, Status>;
}

/// One change of one object.
pub struct Seen<'a> {
    pub kind: &'static Kind,
    pub old: Option<&'a Object>,
    pub new: Option<&'a Object>,
}

impl Seen<'_> {
    /// The object after the change, or as it was before it went.
    pub fn object(&self) -> Option<&Object> {
        self.new.or(self.old)
    }

    /// Whether labels or owners are new, or the object is.
    fn is_other(&self) -> bool {
        let differs =
            |pointer| self.old.and_then(|old| old.at(pointer)) != self.new.and_then(|new| new.at(pointer));
        self.old.is_none() || differs("/metadata/labels") || differs("/metadata/ownerReferences")
    }
}

static CONTROLLERS: &[&dyn Controller] = &[
    &replica_set::ReplicaSets,
    &replica_set::ReplicationControllers,
    &deployment::Deployments,
    &daemon_set::DaemonSets,
    &stateful_set::StatefulSets,
    &job::Jobs,
    &job::JobPods,
    &cron_job::CronJobs,
    &endpoints::Services,
];

/// So many objects are worked on at once.
const AT_ONCE: usize = 32;
/// How many entries are read in one go at the start.
const CHUNK: usize = 256;
/// No plan waits longer for its time: a clock that is set does not hold it up for long.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, working: Working, executor: &Executor) -> smol::Task<()> {
    let shared = executor.clone();
    executor.spawn(async move {
        loop {
            let mut controllers = Controllers::new(CONTROLLERS, registry.clone(), shared.clone());
            // Ends only when its watch has fallen behind: everything is looked at anew.
            let _ = controllers.follow(&working).await;
            controllers.finish().await;
        }
    })
}

/// Work that has ended.
struct Ended {
    key: Key,
    outcome: Result<(), Status>,
    cost: Duration,
}

struct Controllers {
    table: &'static [&'static dyn Controller],
    world: World,
    executor: Executor,
    queue: Queue,
    works: BTreeMap<Key, smol::Task<()>>,
    end: Sender<Ended>,
    ended: Receiver<Ended>,
}

enum Wake {
    Event(store::Event),
    Ended(Ended),
    Due,
}

impl Controllers {
    fn new(table: &'static [&'static dyn Controller], registry: Arc<Registry>, executor: Executor) -> Self {
        // No more than there are works.
        let (end, ended) = smol::channel::unbounded();
        let (world, queue, works) = (World::new(registry), Queue::default(), BTreeMap::new());
        Self { table, world, executor, queue, works, end, ended }
    }

    async fn follow(&mut self, working: &Working) -> Result<(), Status> {
        let behind = |_| Status::expired("the controllers have fallen behind");
        let store = self.world.registry().store().clone();
        let mut watch = store.watch("", store.revision()).map_err(behind)?;
        let mut after: Option<Arc<str>> = None;
        loop {
            let found = store.list("", after.as_deref(), CHUNK);
            for entry in &found.entries {
                self.see(&entry.key, None, Some(&entry.value), true);
            }
            smol::future::yield_now().await;
            match found.entries.last() {
                Some(last) if found.more > 0 => after = Some(last.key.clone()),
                _ => break,
            }
        }
        working.set(true);
        loop {
            while let Some(event) = watch.try_next().map_err(behind)? {
                self.note(&event);
            }
            while let Ok(ended) = self.ended.try_recv() {
                self.done(ended);
            }
            if self.works.len() < AT_ONCE
                && let Some(key) = self.queue.pop(Instant::now())
            {
                self.look(key);
                smol::future::yield_now().await;
                continue;
            }
            let due = self.queue.next().filter(|_| self.works.len() < AT_ONCE);
            let due = async {
                match due {
                    Some(at) => _ = smol::Timer::at(at).await,
                    None => smol::future::pending().await,
                }
                Ok(Wake::Due)
            };
            let ended = async {
                match self.ended.recv().await {
                    Ok(ended) => Ok(Wake::Ended(ended)),
                    Err(_) => smol::future::pending().await,
                }
            };
            // All of them are cancel-safe.
            let next = async { watch.next().await.map(Wake::Event) };
            match or(next, or(ended, due)).await.map_err(behind)? {
                Wake::Event(event) => self.note(&event),
                Wake::Ended(ended) => self.done(ended),
                Wake::Due => {}
            }
        }
    }

    /// Waits for the work that is under way: what it makes must be seen before anything is planned anew.
    async fn finish(&mut self) {
        for (_, work) in std::mem::take(&mut self.works) {
            work.await;
        }
    }

    fn note(&mut self, event: &store::Event) {
        self.see(&event.key, event.old.as_deref(), event.new.as_deref(), false);
    }

    /// Has the objects looked at that a change concerns; at the `start` all are.
    fn see(&mut self, key: &Arc<str>, old: Option<&[u8]>, new: Option<&[u8]>, start: bool) {
        let resource = key.split('/').next().unwrap_or_default();
        let is = |kind: &&Kind| kind.resource() == resource;
        let kind = self.table.iter().find_map(|one| {
            let others = || one.owns().iter().chain(one.watches()).copied();
            std::iter::once(one.kind()).chain(others()).find(is)
        });
        let Some(kind) = kind else { return };
        let parse = |text: Option<&[u8]>| text.and_then(|text| Object::part(text, NO_ACCOUNT).ok());
        let (old, new) = (parse(old), parse(new));
        let seen = Seen { kind, old: old.as_ref(), new: new.as_ref() };
        let owned = self.table.iter().any(|one| one.owns().contains(&kind));
        if owned {
            self.world.note(key, seen.old, seen.new);
        }
        let now = Instant::now();
        for (index, one) in self.table.iter().enumerate() {
            if one.kind() == kind && seen.object().is_some_and(|object| one.tends(object)) {
                self.queue.push(&(index, key.clone()), now);
            }
            if start {
                continue;
            }
            let mut keys = Vec::new();
            if one.owns().contains(&kind) {
                keys = owners(*one, &self.world, &seen);
            }
            if one.watches().contains(&kind) {
                keys.append(&mut one.concerned(&self.world, &seen));
            }
            for key in keys {
                self.queue.push(&(index, key.into()), now);
            }
        }
    }

    /// Plans for one object, and sets about carrying it out.
    fn look(&mut self, key: Key) {
        let began = Instant::now();
        let Some(one) = self.table.get(key.0) else { return };
        let Some(object) = self.world.read(&key.1) else { return self.queue.forget(&key) };
        let now = SystemTime::now();
        let plan = one.plan(&self.world, &object, self.queue.failure(&key), now);
        let cost = one.cost(began.elapsed());
        let plan = match plan {
            Ok(plan) => plan,
            Err(status) => return self.done(Ended { key, outcome: Err(status), cost }),
        };
        if let Some(again) = plan.again {
            let wait = again.duration_since(now).unwrap_or_default().min(LONGEST_WAIT);
            self.queue.push(&key, began + wait);
        }
        if plan.actions.is_empty() && plan.status.is_none() {
            return self.done(Ended { key, outcome: Ok(()), cost });
        }
        let work = Work {
            registry: self.world.registry().clone(),
            executor: self.executor.clone(),
            kind: one.kind(),
            object,
            source: one.source(),
        };
        let (end, mine) = (self.end.clone(), key.clone());
        let work = self.executor.spawn(async move {
            let outcome = work.carry_out(plan).await;
            drop(end.send(Ended { key: mine, outcome, cost }).await);
        });
        self.works.insert(key, work);
    }

    fn done(&mut self, Ended { key, outcome, cost }: Ended) {
        self.works.remove(&key);
        // Somebody was faster; their change is here already, or on its way.
        let conflict = outcome.as_ref().is_err_and(|status| status.reason == Reason::Conflict);
        // What the object lacks goes with it, and so does the object.
        let ending =
            outcome.as_ref().is_err_and(|status| status.has_cause(CauseReason::NamespaceTerminating));
        let outcome = if conflict || ending { Ok(()) } else { outcome };
        let said = outcome.as_ref().err().map(Status::to_string);
        if conflict {
            self.queue.push(&key, Instant::now());
        }
        if self.queue.done(&key, outcome, cost, Instant::now()) {
            log::warn!("failed to look after {}: {}", key.1, said.unwrap_or_default());
        }
    }
}

/// The objects of a controller that a change of one that it may own concerns: its owner before and after; of one that
/// nothing controls, all that would adopt it.
fn owners(one: &dyn Controller, world: &World, seen: &Seen<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    for object in [seen.old, seen.new].into_iter().flatten() {
        match control::controller(object) {
            Some(owner)
                if owner["kind"] == one.kind().kind && owner["apiVersion"] == *one.kind().api_version() =>
            {
                keys.push(one.kind().key(object.namespace(), owner["name"].as_str().unwrap_or_default()));
            }
            Some(_) => {}
            None if seen.is_other() => {
                let adopters =
                    world.registry().objects(one.kind(), Some(object.namespace())).unwrap_or_default();
                let adopts = |adopter: &&Object| {
                    control::selector(adopter)
                        .is_some_and(|selector| !selector.is_empty() && selector.matches(object))
                };
                let adopters = adopters.iter().filter(adopts);
                keys.extend(adopters.map(|adopter| one.kind().key(adopter.namespace(), adopter.name())));
            }
            None => {}
        }
    }
    keys.dedup();
    keys
}
