//! The loop of CustomResourceDefinitions: decides on their names, has the registry serve the kinds of those that are
//! established, and empties those that are deleted. Woken by changes only.

mod cleanup;
mod names;
mod openapi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

pub use openapi::document;

use crate::Executor;
use crate::api::kinds::{CUSTOM_RESOURCE_DEFINITION, Definitions, Kind, version_order};
use crate::api::strategy::set_condition;
use crate::api::{Object, Reason, Status, time};
use crate::server::failures::Failures;
use crate::server::registry::{Change, From, Registry, Selectors, Subresource, WatchEvent, WriteOptions};
use names::Names;

/// The loop, before it runs.
pub struct Loop {
    registry: Arc<Registry>,
    executor: Executor,
    rows: Definitions,
    known: BTreeMap<String, Known>,
    /// Up to here `known` tells of everything.
    revision: u64,
}

/// What the loop knows of one definition.
struct Known {
    /// The definition as it was looked at.
    revision: u64,
    group: String,
    /// What others in its group can't have; empty until it was given some.
    names: Names,
    /// What it asks for that others have.
    is_refused: bool,
    /// The kinds that are served.
    kinds: Vec<&'static Kind>,
    /// Deletes its objects, once it is deleted itself.
    cleanup: Option<smol::Task<()>>,
}

/// What tells whether a definition says what it said.
#[derive(PartialEq)]
struct State {
    uid: String,
    generation: i64,
    is_deleted: bool,
}

impl State {
    fn of(definition: &Object) -> Self {
        Self {
            uid: definition.uid().to_owned(),
            generation: definition.generation(),
            is_deleted: definition.deletion_timestamp().is_some(),
        }
    }
}

impl Loop {
    /// Looks at all definitions once, so that what they define is served from the first request on.
    ///
    /// # Errors
    /// What keeps the registry from being read or written.
    pub async fn open(registry: Arc<Registry>, executor: Executor) -> Result<Self, Status> {
        let rows = Definitions::default();
        let mut this = Self { registry, executor, rows, known: BTreeMap::new(), revision: 0 };
        this.look_at_all(&mut Failures::default()).await?;
        Ok(this)
    }

    /// Runs until the task is dropped.
    pub fn run(mut self) -> smol::Task<()> {
        let executor = self.executor.clone();
        executor.spawn(async move {
            let mut failures = Failures::default();
            loop {
                // Ends when its watch has fallen behind, or with a failure: everything is looked at anew.
                let ended = match self.follow(&mut failures).await {
                    Err(status) if status.reason == Reason::Expired => self.look_at_all(&mut failures).await,
                    other => other,
                };
                if let Err(status) = ended {
                    failures.rest("look after the CustomResourceDefinitions", &status).await;
                    self.revision = 0;
                }
            }
        })
    }

    async fn look_at_all(&mut self, failures: &mut Failures) -> Result<(), Status> {
        let list = self.registry.all(CUSTOM_RESOURCE_DEFINITION, None)?;
        let mut gone: Vec<String> = self.known.keys().cloned().collect();
        // Names go to who has them already, then to who came first.
        let mut order = Vec::with_capacity(list.items.len());
        for (index, item) in list.items.iter().enumerate() {
            let definition = item.object()?;
            gone.retain(|name| name != definition.name());
            let established = definition.condition_status("Established") == "True";
            order.push((!established, definition.creation_timestamp(), index));
        }
        gone.iter().for_each(|name| drop(self.known.remove(name)));
        order.sort();
        for (_, _, index) in order {
            if let Some(item) = list.items.get(index) {
                self.settle(item.object()?).await?;
            }
        }
        self.revision = list.revision;
        self.serve();
        failures.end();
        Ok(())
    }

    async fn follow(&mut self, failures: &mut Failures) -> Result<(), Status> {
        if self.revision == 0 {
            self.look_at_all(failures).await?;
        }
        let from = From::Revision(self.revision);
        let mut watch = self.registry.watch(CUSTOM_RESOURCE_DEFINITION, None, Selectors::default(), from)?;
        loop {
            match watch.next().await? {
                WatchEvent::Deleted(item) => {
                    self.known.remove(item.object()?.name());
                    self.serve();
                    // Somebody may have waited for its names.
                    self.settle_refused().await?;
                }
                WatchEvent::Added(item) | WatchEvent::Modified(item) => {
                    let definition = item.object()?;
                    let known = self.known.get(definition.name());
                    // This loop's own writes are old news.
                    if known.is_none_or(|known| known.revision < item.revision) {
                        self.settle(definition).await?;
                    }
                }
            }
            self.revision = watch.revision();
        }
    }

    async fn settle_refused(&mut self) -> Result<(), Status> {
        let refused = self.known.iter().filter(|(_, known)| known.is_refused);
        for name in refused.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if let Ok(definition) = self.registry.get(CUSTOM_RESOURCE_DEFINITION, "", &name) {
                self.settle(definition).await?;
            }
        }
        Ok(())
    }

    /// Brings one definition's names, kinds and status up to date.
    async fn settle(&mut self, definition: Object) -> Result<(), Status> {
        let (name, group) = (definition.name().to_owned(), definition.str_at("/spec/group").to_owned());
        let others = self.known.iter().filter(|(other, known)| **other != name && known.group == group);
        let verdict = names::judge(&definition, others.map(|(_, known)| &known.names));
        let was_established = definition.condition_status("Established") == "True";
        let is_established = was_established || verdict.conflict.is_none();
        let rows = match is_established {
            true => self.rows.kinds(&definition, &verdict.names.to_json()),
            false => Some(Vec::new()),
        };
        let too_many = rows.is_none();
        let rows = rows.unwrap_or_default();
        let is_served = |kind: &&&Kind| {
            let mut versions = definition.array_at("/spec/versions").iter();
            versions.any(|version| version["name"] == kind.version && version["served"] == Value::Bool(true))
        };
        let kinds = rows.iter().filter(is_served).copied().collect();
        let state = State::of(&definition);
        let mut known = Known {
            revision: definition.resource_version().unwrap_or(0),
            group,
            is_refused: verdict.conflict.is_some(),
            names: verdict.names.clone(),
            kinds,
            cleanup: self.known.remove(&name).and_then(|known| known.cleanup),
        };
        if state.is_deleted && known.cleanup.is_none() {
            let task = cleanup::run(self.registry.clone(), name.clone(), rows.first().copied());
            known.cleanup = Some(self.executor.spawn(task));
        }
        self.known.insert(name.clone(), known);
        // It can take ten times its text in memory, and is read anew.
        drop(definition);
        // First served, then established: who waits for that finds it.
        self.serve();
        let now = time::format(SystemTime::now());
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let write = |object: &mut Object| {
            let before = object.at("/status").cloned();
            verdict.write(object, is_established && !too_many, &now);
            if too_many {
                let message =
                    format!("midge {} keeps no more defined kinds until it is started again", crate::VERSION);
                set_condition(object, "Established", false, "TooManyDefinitions", &message, &now);
            }
            Ok(if object.at("/status") == before.as_ref() { Change::Keep } else { Change::Write })
        };
        match self.registry.modify(CUSTOM_RESOURCE_DEFINITION, "", &name, options, write).await {
            Ok(written) => {
                if let Some(known) = self.known.get_mut(&name)
                    && State::of(&written) == state
                {
                    known.revision = written.resource_version().unwrap_or(0);
                }
                Ok(())
            }
            Err(status) if status.reason == Reason::NotFound => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Tells the registry what is served now.
    fn serve(&self) {
        let mut kinds: Vec<&'static Kind> =
            self.known.values().flat_map(|known| known.kinds.iter().copied()).collect();
        kinds.sort_by_cached_key(|kind| (kind.group, version_order(kind.version), kind.plural));
        self.registry.kinds().define(kinds);
    }
}
