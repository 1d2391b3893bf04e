//! The writer thread: the only one that changes the store. It checks, numbers and journals all writes
//! that wait, makes them durable with one fsync, and only then lets anybody see them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use smol::channel::Sender;
use smol::lock::SemaphoreGuardArc;

use super::disk::{Disk, Log};
use super::error::again;
use super::line::Line;
use super::snapshot::{size, write_file};
use super::{Durability, Entry, Error, Event, Expect, Options, Revision, Ring};

/// How far ahead the revision ceiling is written. Lazy and memory writes use up revisions that the journal
/// never sees; after a restart revisions go on above the ceiling. At one heartbeat a second this is eleven days.
pub(super) const CEILING_STEP: u64 = 1_000_000;

/// How much one write to the disk may hold, roughly, in bytes: it bounds the buffer.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_WRITES: usize = 256;

/// A value in memory.
#[derive(Clone)]
pub(super) struct Stored {
    pub revision: Revision,
    pub value: Arc<[u8]>,
}

/// What readers see.
#[derive(Default)]
pub(super) struct State {
    pub entries: BTreeMap<Arc<str>, Stored>,
    pub revision: Revision,
    /// The last write to the disk.
    pub failed: bool,
}

type Answer = Result<Entry, Error>;

pub(super) enum Message {
    Write(Write),
    Stop,
}

/// One write that waits.
pub(super) struct Write {
    pub key: Arc<str>,
    /// None removes.
    pub value: Option<Arc<[u8]>>,
    pub expect: Expect,
    pub durability: Durability,
    pub answer: Sender<Answer>,
    /// Bounds the queue.
    pub _permit: SemaphoreGuardArc,
}

/// A key whose state in memory the journal does not have.
#[derive(Clone, Copy)]
struct Dirty {
    durability: Durability,
    revision: Revision,
}

/// What a batch makes of one key.
struct Staged {
    /// None: removed.
    now: Option<Stored>,
    dirty: Dirty,
}

/// A batch, decided but not yet done.
#[derive(Default)]
struct Batch {
    staged: HashMap<Arc<str>, Staged>,
    events: Vec<Event>,
    answers: Vec<(Sender<Answer>, Answer)>,
}

pub(super) struct Writer {
    pub state: Arc<RwLock<State>>,
    pub ring: Arc<Ring>,
    pub options: Options,
    pub disk: Box<dyn Disk>,
    pub log: Box<dyn Log>,
    /// The journal's length in bytes.
    pub length: u64,
    /// What the journal would be long if it were written anew, roughly.
    pub live: u64,
    /// No revision above this one was given out, and the journal says so.
    pub ceiling: Revision,
    /// The last revision that was given to a write, done or failed.
    pub last: Revision,
    dirty: HashMap<Arc<str>, Dirty>,
    /// When the oldest lazy write must be on disk.
    flush_at: Option<Instant>,
    /// Nobody knows what the journal holds past `length`, or which file it is: it must be written anew first.
    broken: bool,
    /// The length from which on the journal is worth writing anew; moves after a failed attempt.
    compact_at: u64,
}

impl Writer {
    pub(super) fn new(
        state: Arc<RwLock<State>>,
        ring: Arc<Ring>,
        options: Options,
        disk: Box<dyn Disk>,
        log: Box<dyn Log>,
        length: u64,
        ceiling: Revision,
    ) -> Self {
        let read = state.read().unwrap_or_else(PoisonError::into_inner);
        let live = read.entries.iter().map(|(key, stored)| size(key, &stored.value)).sum();
        let last = read.revision;
        drop(read);
        Self {
            state,
            ring,
            options,
            disk,
            log,
            length,
            live,
            ceiling,
            last,
            dirty: HashMap::new(),
            flush_at: None,
            broken: false,
            compact_at: 0,
        }
    }

    /// Works until it is told to stop; journals lazy writes before it ends.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let first = match self.flush_at {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let mut next = match first {
                Ok(Message::Write(write)) => Some(write),
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut writes, mut bytes, mut stop) = (Vec::new(), 0, false);
            while let Some(write) = next.take() {
                bytes += write.value.as_ref().map_or(0, |value| value.len());
                writes.push(write);
                if writes.len() < BATCH_WRITES && bytes < BATCH_BYTES {
                    match queue.try_recv() {
                        Ok(Message::Write(write)) => next = Some(write),
                        Ok(Message::Stop) => stop = true,
                        Err(_) => {}
                    }
                }
            }
            let flush = self.flush_at.is_some_and(|at| at <= Instant::now());
            self.commit(writes, flush);
            if stop {
                break;
            }
        }
        if self.flush_at.is_some() {
            self.commit(Vec::new(), true);
        }
    }

    /// Carries out `writes`; with `flush` the lazy ones of before go to the disk even if none of these does.
    fn commit(&mut self, writes: Vec<Write>, flush: bool) {
        let mut batch = self.decide(writes.iter());
        let synced = batch.staged.values().any(|staged| staged.dirty.durability == Durability::Synced);
        let mut journaled = synced || flush || self.last > self.ceiling;
        if journaled {
            let written = self.journal(&batch).or_else(|error| self.shrink_and_journal(&batch, error));
            if let Err(source) = written {
                log::warn!("failed to write {}: {source}", self.disk.path().display());
                batch = self.recover(writes, &source);
                journaled = false;
            }
            self.state.write().unwrap_or_else(PoisonError::into_inner).failed = !journaled;
        }
        self.apply(batch, journaled);
        self.compact_if_worth();
    }

    /// Tries again in a journal without its dead lines, if they are most of it: they may be what fills the disk.
    fn shrink_and_journal(&mut self, batch: &Batch, error: io::Error) -> io::Result<()> {
        if self.broken || self.live * 2 > self.length || self.rewrite().is_err() {
            return Err(error);
        }
        self.journal(batch)
    }

    /// What becomes of a batch whose writing failed: the synced writes fail; the others never needed the disk and are
    /// decided again, without the failed ones, if the ceiling allows.
    fn recover(&mut self, writes: Vec<Write>, source: &io::Error) -> Batch {
        // Whether or not anybody writes again: that is how a disk is found to have recovered.
        self.flush_at = Some(Instant::now() + self.options.lazy_delay);
        let room = self.ceiling.saturating_sub(self.last) as usize >= writes.len();
        let (rest, failed): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| room && write.durability != Durability::Synced);
        let mut batch = self.decide(rest.iter());
        for write in failed {
            let error = Error::Write { path: self.disk.path().to_owned(), source: again(source) };
            batch.answers.push((write.answer, Err(error)));
        }
        batch
    }

    /// Checks and numbers the writes, each on top of those before it. Changes nothing that can be seen.
    fn decide<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> Batch {
        let mut batch = Batch::default();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            // The key that is there already is shared by everything that names it.
            let (known, stored) = state.entries.get_key_value(&write.key).unzip();
            let key = known.unwrap_or(&write.key).clone();
            let (current, mut dirty) = match batch.staged.get(&key) {
                Some(staged) => (staged.now.clone(), Some(staged.dirty)),
                None => (stored.cloned(), self.dirty.get(&key).copied()),
            };
            let revision = current.as_ref().map(|stored| stored.revision);
            let holds = match write.expect {
                Expect::Any => write.value.is_some() || current.is_some(),
                Expect::Absent => current.is_none() && write.value.is_some(),
                Expect::Revision(expected) => revision == Some(expected),
            };
            if !holds {
                let error = Error::Conflict { key: key.to_string(), current: revision };
                batch.answers.push((write.answer.clone(), Err(error)));
                continue;
            }
            let unchanged = match (&current, &write.value) {
                (Some(stored), Some(value)) => stored.value == *value,
                _ => false,
            };
            let (now, revision) = if unchanged {
                (current.clone(), revision.unwrap_or_default())
            } else {
                self.last += 1;
                batch.events.push(Event {
                    revision: self.last,
                    key: key.clone(),
                    old: current.as_ref().map(|stored| stored.value.clone()),
                    before: revision.unwrap_or_default(),
                    new: write.value.clone(),
                });
                let now = write.value.clone().map(|value| Stored { revision: self.last, value });
                dirty.get_or_insert(Dirty { durability: write.durability, revision: self.last }).revision =
                    self.last;
                (now, self.last)
            };
            let value = write.value.clone().or(current.map(|stored| stored.value)).unwrap_or_default();
            batch.answers.push((write.answer.clone(), Ok(Entry { key: key.clone(), revision, value })));
            // Unchanged and in the journal already: nothing to do.
            if let Some(mut dirty) = dirty {
                dirty.durability = dirty.durability.max(write.durability);
                batch.staged.insert(key, Staged { now, dirty });
            }
        }
        batch
    }

    /// Writes the batch's lines, those of earlier lazy writes, and a new ceiling when it is time.
    fn journal(&mut self, batch: &Batch) -> io::Result<()> {
        if self.broken {
            self.rewrite()?;
        }
        let mut text = Vec::new();
        let mut ceiling = self.ceiling;
        // Well ahead, so that it seldom costs a write of its own.
        if self.last + CEILING_STEP / 2 > ceiling {
            ceiling = self.last + CEILING_STEP;
            Line::Ceiling(ceiling).write(false, &mut text);
        }
        let mut lines: Vec<_> = batch
            .staged
            .iter()
            .map(|(key, staged)| (key, staged.dirty, staged.now.as_ref()))
            .filter(|(_, dirty, _)| dirty.durability != Durability::Memory)
            .collect();
        let state = self.state.clone();
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        lines.extend(
            self.dirty
                .iter()
                .filter(|(key, dirty)| {
                    dirty.durability == Durability::Lazy && !batch.staged.contains_key(*key)
                })
                .map(|(key, dirty)| (key, *dirty, state.entries.get(key))),
        );
        lines.sort_unstable_by_key(|(_, dirty, _)| dirty.revision);
        for (key, dirty, now) in lines {
            let revision = dirty.revision;
            let key = (&**key).into();
            let cont = !text.is_empty();
            match now {
                Some(stored) => Line::Put { revision, key, value: &stored.value }.write(cont, &mut text),
                None => Line::Delete { revision, key }.write(cont, &mut text),
            }
        }
        drop(state);
        if let Err(error) = self.log.write_all(&text) {
            // Part of it may be there. It must not stay, or the next write would follow a torn line.
            self.broken = self.log.truncate(self.length).is_err();
            return Err(error);
        }
        if let Err(error) = self.log.sync() {
            // The kernel may have dropped the pages and report no error the next time: start anew.
            self.broken = true;
            return Err(error);
        }
        self.length += text.len() as u64;
        self.ceiling = ceiling;
        Ok(())
    }

    /// Lets everybody see the batch, and answers.
    fn apply(&mut self, batch: Batch, journaled: bool) {
        let Batch { staged, events, answers } = batch;
        if journaled {
            self.dirty.retain(|_, dirty| dirty.durability == Durability::Memory);
            self.flush_at = None;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, staged) in staged {
            if journaled && staged.dirty.durability != Durability::Memory {
                self.dirty.remove(&key);
            } else {
                if staged.dirty.durability == Durability::Lazy && self.flush_at.is_none() {
                    self.flush_at = Some(Instant::now() + self.options.lazy_delay);
                }
                self.dirty.insert(key.clone(), staged.dirty);
            }
            let before = match staged.now {
                Some(now) => {
                    self.live += size(&key, &now.value);
                    state.entries.insert(key.clone(), now)
                }
                None => state.entries.remove(&key),
            };
            if let Some(before) = before {
                self.live -= size(&key, &before.value);
            }
        }
        if let Some(event) = events.last() {
            state.revision = event.revision;
            // Under the lock: whoever reads a revision finds the changes up to it in the ring.
            self.ring.push(events);
        }
        drop(state);
        for (sender, answer) in answers {
            // Nobody waits for it any more: fine.
            drop(sender.try_send(answer));
        }
    }

    fn compact_if_worth(&mut self) {
        let worth = (self.live * self.options.compact_factor).max(self.options.compact_minimum);
        if self.broken || self.length <= worth.max(self.compact_at) {
            return;
        }
        self.compact_at = 0;
        if let Err(error) = self.rewrite() {
            log::warn!("failed to compact {}: {error}", self.disk.path().display());
            self.compact_at = self.length + self.live.max(self.options.compact_minimum);
        }
    }

    /// Replaces the journal by one that holds what is in memory and nothing else.
    fn rewrite(&mut self) -> io::Result<()> {
        let state = self.state.clone();
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        let ceiling = self.last + CEILING_STEP;
        let mut log = self.disk.create()?;
        let length = write_file(log.as_mut(), &state, ceiling).inspect_err(|_| {
            // What is left of it must not fill a disk that may be full; it is of no use.
            drop(log.truncate(0));
        })?;
        // From here on until it is durable, either file may be the journal.
        self.broken = true;
        self.disk.install()?;
        self.log = log;
        self.length = length;
        self.ceiling = ceiling;
        self.broken = false;
        self.dirty.clear();
        self.flush_at = None;
        Ok(())
    }
}
