//! `server/manifests/`: what its YAML files say is applied at start and when a file changes; what they say no longer
//! is deleted. An object knows its file by an annotation. Woken by the folder only, but for what failed.

mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smol::future::or;

use crate::Executor;
use crate::api::apply::{self, Operation, Writer};
use crate::api::kinds::{CUSTOM_RESOURCE_DEFINITION, NAMESPACE};
use crate::api::schema::{self, FieldValidation};
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::garbage::Propagation;
use crate::server::events::{self, Type};
use crate::server::registry::{Change, DeleteOptions, Item, Registry, WriteOptions};
use crate::sys::{file, folder};
use files::{Manifest, Manifests};

/// The name of the file that an object comes from.
const ANNOTATION: &str = "edge.midge.dev/manifest";
/// Who owns what manifests say.
const MANAGER: &str = "manifests";
/// What failed is tried again after this long, then after twice as long, up to [`LONGEST`]: the definition or the
/// namespace that it needs may come.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// How many entries are looked at in one go.
const CHUNK: usize = 256;

/// Runs the loop until the task is dropped.
pub fn run(folder: PathBuf, registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let mut manifests = Loop::new(folder, registry);
    executor.spawn(async move {
        loop {
            manifests.follow().await;
            // The folder itself has gone: it is made anew, and says nothing.
            smol::Timer::after(FIRST).await;
        }
    })
}

struct Loop {
    folder: PathBuf,
    registry: Arc<Registry>,
    /// What was said of failures that last.
    told: BTreeSet<String>,
    /// Keys of what no manifest said in the last pass. A file may be half written: the next pass decides.
    missed: BTreeSet<String>,
    /// What may not be removed, by key, and why: it is left alone until the folder changes.
    refused: BTreeMap<String, String>,
    /// There were files in the folder, since it is listened to. An empty one may be a disk that is not mounted
    /// yet: nothing is removed for it.
    has_files: bool,
}

impl Loop {
    fn new(folder: PathBuf, registry: Arc<Registry>) -> Self {
        let (told, missed, refused, has_files) = Default::default();
        Self { folder, registry, told, missed, refused, has_files }
    }

    async fn follow(&mut self) {
        (self.missed, self.has_files) = Default::default();
        let made = file::create_private_folder(&self.folder);
        // Before the first look: nothing that comes after it is missed.
        let changes = made.and_then(|()| folder::changes(&self.folder));
        let mut pause = FIRST;
        loop {
            let mut failures = self.pass().await;
            let sound = failures.is_empty() && self.missed.is_empty();
            failures.extend(self.refused.values().cloned());
            self.tell(failures).await;
            let changed = async {
                match &changes {
                    Ok(changes) => changes.next().await.is_ok(),
                    Err(_) => smol::future::pending().await,
                }
            };
            let again = async {
                match sound {
                    true => smol::future::pending().await,
                    false => _ = smol::Timer::after(pause).await,
                }
                true
            };
            if let Err(error) = &changes
                && sound
            {
                let folder = self.folder.display();
                log::warn!("failed to listen to `{folder}` ({error}): changes there wait for a restart");
                smol::future::pending::<()>().await;
            }
            // Both may be dropped: a change that is not waited for to its end is told again.
            if !or(changed, again).await || !self.folder.is_dir() {
                return;
            }
            if sound {
                // Only a change ends a sound wait.
                self.refused.clear();
            }
            pause = if sound { FIRST } else { (pause * 2).min(LONGEST) };
        }
    }

    /// Applies everything once, and says what failed.
    async fn pass(&mut self) -> BTreeSet<String> {
        let mut failures = BTreeSet::new();
        let folder = self.folder.clone();
        let found = match smol::unblock(move || files::read(&folder)).await {
            Ok(found) => found,
            Err(error) => {
                failures.insert(format!("failed to read `{}`: {error}", self.folder.display()));
                return failures;
            }
        };
        let Manifests { files, skipped: mut kept } = found;
        self.has_files |= !files.is_empty() || !kept.is_empty();
        let mut wanted = Vec::new();
        for Manifest { name, objects } in files {
            match objects {
                Ok(objects) => wanted.extend(objects.into_iter().map(|object| (name.clone(), object))),
                // What it said before stays: it is there, and says nothing else yet.
                Err(why) => {
                    failures.insert(format!("{name}: {why}"));
                    kept.insert(name);
                }
            }
        }
        // What others live in or are of comes first.
        wanted.sort_by_key(|(_, (object, _))| match object.kind() {
            kind if kind == NAMESPACE.kind => 0,
            kind if kind == CUSTOM_RESOURCE_DEFINITION.kind => 1,
            _ => 2,
        });
        let mut keys = BTreeSet::new();
        for (name, (mut object, text)) in wanted {
            let kind = self.registry.kinds().of(object.api_version(), object.kind());
            let subject = format!("{name}: {} {:?}", object.kind(), object.name());
            let Some(kind) = kind else {
                let version = object.api_version();
                failures.insert(format!("{subject}: no kind {:?} in {version:?} is served", object.kind()));
                kept.insert(name);
                continue;
            };
            if object.name().is_empty() {
                failures.insert(format!("{subject}: metadata.name is required"));
                kept.insert(name);
                continue;
            }
            if kind.namespaced && object.namespace().is_empty() {
                object.set("/metadata/namespace", "default");
            }
            if !keys.insert(kind.key(object.namespace(), object.name())) {
                failures.insert(format!("{subject}: said twice"));
                continue;
            }
            if let Err(status) = self.put(kind, object, &text, &name).await {
                failures.insert(format!("{subject}: {status}"));
            }
        }
        if self.has_files {
            failures.extend(self.remove(&keys, &kept).await);
        }
        failures
    }

    /// Makes an object, or changes it to what its manifest says: server-side apply, by force.
    async fn put(
        &self,
        kind: &'static Kind,
        mut object: Object,
        text: &[u8],
        name: &str,
    ) -> Result<(), Status> {
        object.remove("/metadata/resourceVersion");
        object.remove("/metadata/uid");
        object.set_annotation(ANNOTATION, name);
        let writer = Writer { manager: MANAGER, operation: Operation::Apply, subresource: "" };
        let options = WriteOptions { writer, ..WriteOptions::DEFAULT };
        let over = |live: &mut Object| {
            let mut applied = apply::with_root(kind, |node| {
                apply::apply(kind, node, live, &object, writer, true, SystemTime::now())
            })?;
            schema::default(kind, &mut applied);
            let mut problems = schema::validate(kind, &applied);
            problems.duplicates = schema::duplicates(text);
            let rejection = problems.rejection(kind, object.name(), FieldValidation::Strict);
            rejection.map_or(Ok(applied), Err)
        };
        let change = |current: &mut Object| {
            if current.deletion_timestamp().is_some() {
                return Err(Status::conflict(
                    kind,
                    current.name(),
                    "it is being deleted, and is made anew then",
                ));
            }
            *current = over(current)?;
            Ok(Change::Write)
        };
        match self.registry.modify(kind, object.namespace(), object.name(), options, change).await {
            Err(status) if status.reason == Reason::NotFound => {}
            done => return done.map(drop),
        }
        let new = over(&mut Object::new(kind, object.namespace(), object.name()))?;
        self.registry.create(kind, new, options).await.map(drop)
    }

    /// Deletes the objects of manifests that are gone, or that say them no longer, in this pass and the one
    /// before. Returns what failed.
    async fn remove(&mut self, wanted: &BTreeSet<String>, kept: &BTreeSet<String>) -> Vec<String> {
        let mut failures = Vec::new();
        let missed = std::mem::take(&mut self.missed);
        let mention = format!("\"{ANNOTATION}\":");
        let mut after: Option<Arc<str>> = None;
        loop {
            let found = self.registry.store().list("", after.as_deref(), CHUNK);
            for entry in &found.entries {
                let mentioned = entry.value.windows(mention.len()).any(|part| part == mention.as_bytes());
                if !mentioned || wanted.contains(&*entry.key) || self.refused.contains_key(&*entry.key) {
                    continue;
                }
                let item = Item { revision: entry.revision, value: entry.value.clone() };
                let Ok(object) = item.object() else { continue };
                let Some(name) = object.annotation(ANNOTATION) else { continue };
                let Some(kind) = self.registry.kinds().of(object.api_version(), object.kind()) else {
                    continue;
                };
                // The annotation alone, in a copy say, makes nothing a manifest's.
                if kept.contains(name) || object.deletion_timestamp().is_some() || !is_applied(&object) {
                    continue;
                }
                if !missed.contains(&*entry.key) {
                    self.missed.insert(entry.key.to_string());
                    continue;
                }
                log::info!("{name} says {} {:?} no longer: deleting it", object.kind(), object.name());
                let options = DeleteOptions {
                    uid: Some(object.uid().to_owned()),
                    propagation: Some(Propagation::Background),
                    ..DeleteOptions::default()
                };
                match self.registry.delete(kind, object.namespace(), object.name(), options).await {
                    Err(status) if status.reason != Reason::NotFound => {
                        let failure = format!("failed to remove what {name} says no longer: {status}");
                        if status.reason == Reason::Forbidden {
                            self.refused.insert(entry.key.to_string(), failure);
                        } else {
                            failures.push(failure);
                        }
                    }
                    _ => {}
                }
            }
            match found.entries.last() {
                Some(last) if found.more > 0 => after = Some(last.key.clone()),
                _ => return failures,
            }
        }
    }

    /// Says each failure once, in the log and as an event of the namespace that is always there.
    async fn tell(&mut self, failures: BTreeSet<String>) {
        for failure in failures.difference(&self.told) {
            log::warn!("manifests: {failure}");
            let Ok(about) = self.registry.get(NAMESPACE, "", "kube-system") else { continue };
            let told =
                events::record(&self.registry, &about, Type::Warning, "ManifestFailed", failure, "manifests");
            if let Err(status) = told.await {
                log::debug!("an event was not stored: {status}");
            }
        }
        self.told = failures;
    }
}

/// Whether it was applied from here.
fn is_applied(object: &Object) -> bool {
    object
        .array_at("/metadata/managedFields")
        .iter()
        .any(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply")
}
