//! The backend that keeps its entries in memory and its changes in one append-only file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::ops::Bound;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::value::RawValue;
use smol::lock::Semaphore;

use super::disk::{Disk, Folder, Log};
use super::line::{self, Line, VERSION};
use super::snapshot;
use super::writer::{Message, State, Stored, Write, Writer};
use super::{Answer, Durability, Entry, Error, Expect, List, Revision, Ring, Store, Watch};
use crate::sys;

/// The journal's measures; the default is what a small board wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest that a lazy write waits for the disk.
    pub lazy_delay: Duration,
    /// How many changes a watch may lag behind.
    pub ring_events: usize,
    /// How many bytes of changed values are kept for watches.
    pub ring_bytes: usize,
    /// The file is written anew when it is this many times larger than what is alive in it.
    pub compact_factor: u64,
    /// A file smaller than this, in bytes, is never written anew.
    pub compact_minimum: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lazy_delay: Duration::from_secs(30),
            ring_events: 1024,
            ring_bytes: 512 << 10,
            compact_factor: 4,
            compact_minimum: 256 << 10,
        }
    }
}

/// How many writes may wait; further ones wait to wait.
const QUEUE: usize = 512;

/// [`Store`] in one folder: `journal.jsonl` (format in `line.rs`) and `lock`.
pub struct Journal {
    state: Arc<RwLock<State>>,
    ring: Arc<Ring>,
    queue: Sender<Message>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    _lock: Option<sys::lock::Lock>,
}

/// What an opened file held.
pub(super) struct Loaded {
    pub state: State,
    pub ceiling: Revision,
    /// The length of what is whole, in bytes.
    pub length: u64,
}

impl Journal {
    /// Opens or creates the store in `folder` (0700, its files 0600). A torn last write is cut off with a
    /// warning.
    ///
    /// Errors: [`Error::Locked`], [`Error::Damaged`], [`Error::Version`], [`Error::Open`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_with(folder, Options::default())
    }

    /// [`Journal::open`] with other measures.
    pub fn open_with(folder: &Path, options: Options) -> Result<Self, Error> {
        let lock = lock(folder)?;
        let mut disk = Folder::new(folder);
        let failed = |source| Error::Open { path: folder.join("journal.jsonl"), source };
        let (log, loaded): (Box<dyn Log>, Loaded) = match disk.open().map_err(failed)? {
            Some(mut file) => {
                let loaded = load(&file, disk.path())?;
                let length = file.metadata().map_err(failed)?.len();
                if length > loaded.length {
                    log::warn!(
                        "{}: cut off {} bytes of a write that a crash or power cut left incomplete",
                        disk.path().display(),
                        length - loaded.length
                    );
                    file.truncate(loaded.length).and_then(|()| file.sync()).map_err(failed)?;
                }
                (Box::new(file), loaded)
            }
            None => {
                let created = create(&mut disk).map_err(failed)?;
                // The folders above may be as new as the file. One that may not be read is not ours.
                for parent in folder.ancestors().skip(1).take(3).filter(|path| !path.as_os_str().is_empty()) {
                    drop(sys::file::sync_folder(parent));
                }
                created
            }
        };
        let mut journal = Self::start(loaded, Box::new(disk), log, options).map_err(failed)?;
        journal._lock = Some(lock);
        Ok(journal)
    }

    /// Starts the writer thread on what was loaded.
    pub(super) fn start(
        loaded: Loaded,
        disk: Box<dyn Disk>,
        log: Box<dyn Log>,
        options: Options,
    ) -> std::io::Result<Self> {
        let Loaded { mut state, ceiling, length } = loaded;
        // Above everything that was ever given out, so that a watch from before the restart is refused:
        // it may have seen lazy writes that are lost.
        state.revision = state.revision.max(ceiling) + 1;
        let ring = Arc::new(Ring::new(state.revision, options.ring_events, options.ring_bytes));
        let state = Arc::new(RwLock::new(state));
        let writer = Writer::new(state.clone(), ring.clone(), options, disk, log, length, ceiling);
        let (queue, messages) = channel();
        let writer = std::thread::Builder::new()
            .name("registry".to_owned())
            .stack_size(256 << 10)
            .spawn(move || writer.run(&messages))?;
        let room = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { state, ring, queue, room, writer: Some(writer), _lock: None })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        key: &str,
        value: Option<Arc<[u8]>>,
        expect: Expect,
        durability: Durability,
    ) -> Answer<Entry> {
        let (key, queue, room) = (Arc::from(key), self.queue.clone(), self.room.clone());
        Box::pin(async move {
            let _permit = room.acquire_arc().await;
            let (answer, answered) = smol::channel::bounded(1);
            let write = Write { key, value, expect, durability, answer, _permit };
            queue.send(Message::Write(write)).map_err(|_| Error::Closed)?;
            answered.recv().await.map_err(|_| Error::Closed)?
        })
    }
}

impl Drop for Journal {
    /// Journals lazy writes, then closes.
    fn drop(&mut self) {
        drop(self.queue.send(Message::Stop));
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

impl Store for Journal {
    fn get(&self, key: &str) -> Option<Entry> {
        let state = self.read();
        let (key, stored) = state.entries.get_key_value(key)?;
        Some(Entry { key: key.clone(), revision: stored.revision, value: stored.value.clone() })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> List {
        let state = self.read();
        page(&state, &BTreeMap::new(), prefix, after, limit)
    }

    fn list_at(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Revision,
    ) -> Result<List, Error> {
        // The writer changes entries and ring under one lock, which is held here.
        let state = self.read();
        let undone = self.ring.undo(prefix, revision)?;
        Ok(List { revision, ..page(&state, &undone, prefix, after, limit) })
    }

    fn put(&self, key: &str, value: Vec<u8>, expect: Expect, durability: Durability) -> Answer<Revision> {
        let json = !value.contains(&b'\n') && serde_json::from_slice::<&RawValue>(&value).is_ok();
        if key.is_empty() || !json {
            let error = Error::Value { key: key.to_owned() };
            return Box::pin(async { Err(error) });
        }
        let answer = self.write(key, Some(value.into()), expect, durability);
        Box::pin(async { Ok(answer.await?.revision) })
    }

    fn delete(&self, key: &str, expect: Expect, durability: Durability) -> Answer<Entry> {
        self.write(key, None, expect, durability)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.ring.watch(prefix, after)
    }

    fn revision(&self) -> Revision {
        self.read().revision
    }

    fn is_writable(&self) -> bool {
        !self.read().failed
    }
}

/// A part of the entries, with what is in `undone` instead of what is there now.
fn page(
    state: &State,
    undone: &BTreeMap<Arc<str>, Option<Entry>>,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> List {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let range = (start, Bound::Unbounded);
    let now = state.entries.range::<str, _>(range).take_while(|(key, _)| key.starts_with(prefix));
    let now = now.filter(|(key, _)| !undone.contains_key(*key));
    let mut now = now.map(|(key, stored)| (key, stored.revision, &stored.value)).peekable();
    let then = undone.range::<str, _>(range).filter_map(|(_, entry)| entry.as_ref());
    let mut then = then.map(|entry| (&entry.key, entry.revision, &entry.value)).peekable();
    let mut found = std::iter::from_fn(|| match (then.peek(), now.peek()) {
        (Some(then_next), Some(now_next)) if then_next.0 > now_next.0 => now.next(),
        (Some(_), _) => then.next(),
        (None, _) => now.next(),
    });
    let entries = found
        .by_ref()
        .take(if limit == 0 { usize::MAX } else { limit })
        .map(|(key, revision, value)| Entry { key: key.clone(), revision, value: value.clone() })
        .collect();
    List { entries, more: found.count(), revision: state.revision }
}

/// Makes the folder and takes it for this process.
pub(super) fn lock(folder: &Path) -> Result<sys::lock::Lock, Error> {
    let failed = |source| Error::Open { path: folder.to_owned(), source };
    sys::file::create_private_folder(folder).map_err(failed)?;
    sys::lock::exclusive(&folder.join("lock")).map_err(|error| match error {
        sys::lock::Error::Held { process, .. } => Error::Locked { path: folder.to_owned(), process },
        sys::lock::Error::Open { path, source } | sys::lock::Error::Lock { path, source } => {
            Error::Open { path, source }
        }
    })
}

/// A journal with nothing in it, durable under its name from the start: its first line is never torn.
pub(super) fn create(disk: &mut dyn Disk) -> std::io::Result<(Box<dyn Log>, Loaded)> {
    let mut log = disk.create()?;
    let state = State::default();
    let length = snapshot::write_file(log.as_mut(), &state, 0)?;
    disk.install()?;
    Ok((log, Loaded { state, ceiling: 0, length }))
}

/// Reads a journal up to where it is whole.
fn load(file: &File, path: &Path) -> Result<Loaded, Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let damaged = |line| Error::Damaged { path: path.to_owned(), line };
    let (mut entries, mut revision, mut ceiling, mut length) = (BTreeMap::new(), 0, 0, 0);
    let mut torn = None;
    let mut lines = 0;
    line::read(BufReader::with_capacity(16 << 10, file), |raw| {
        lines = raw.number;
        let parsed = if raw.complete { Line::parse(raw.text) } else { None };
        let Some((line, cont)) = parsed else {
            torn.get_or_insert(raw.number);
            return Ok(());
        };
        if let Some(torn) = torn {
            // Lines of the last write may be missing; those before a later write were synced.
            return if cont { Ok(()) } else { Err(Failure::Store(damaged(torn))) };
        }
        if (raw.number == 1) != matches!(line, Line::Header { .. }) {
            return Err(Failure::Store(damaged(raw.number)));
        }
        length = raw.offset + raw.text.len() as u64 + 1;
        match line {
            Line::Header { version, .. } if version > VERSION => {
                return Err(Failure::Store(Error::Version {
                    path: path.to_owned(),
                    found: version,
                    supported: VERSION,
                }));
            }
            Line::Header { ceiling: to, .. } | Line::Ceiling(to) => ceiling = ceiling.max(to),
            Line::Put { revision: at, key, value } => {
                revision = revision.max(at);
                entries.insert(Arc::from(&*key), Stored { revision: at, value: value.into() });
            }
            Line::Delete { revision: at, key } => {
                revision = revision.max(at);
                entries.remove(&*key);
            }
        }
        Ok(())
    })
    .map_err(|failure| match failure {
        Failure::Io(source) => failed(source),
        Failure::Store(error) => error,
    })?;
    // The first line was durable before the file had its name.
    if lines == 0 || torn == Some(1) {
        return Err(damaged(1));
    }
    Ok(Loaded { state: State { entries, revision, failed: false }, ceiling, length })
}

/// Reading can fail by the disk or by what it reads.
pub(super) enum Failure {
    Io(std::io::Error),
    Store(Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
