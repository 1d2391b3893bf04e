//! Floor 1: the registry's store: revisions, compare-and-swap and watch-from-revision, and nothing
//! else that callers may rely on.
//!
//! [`Store`] is the contract, [`Journal`] the backend that keeps everything in memory and in one
//! append-only file. The contract's test suite is in `contract.rs` and runs against every backend.
//!
//! ```text
//! put/delete ──► queue (bounded) ──► writer thread: check, number, append, one fsync ──► memory + ring
//! get/list  ◄── memory                                             watch ◄── ring (cursor)
//! ```

#[cfg(test)]
mod contract;
mod disk;
mod error;
mod journal;
mod line;
mod repair;
mod ring;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use error::Error;
pub use journal::{Journal, Options};
pub use repair::{Report, repair};
pub use ring::{Event, Ring, Watch};

/// Counts changes. It only grows: over deletions, failed writes and restarts. Never 0 once something
/// was written.
pub type Revision = u64;

/// A write on its way. It is carried out even when the future is dropped before it is ready, if it
/// was polled once.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// One key with its value, as of `revision`, the revision of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub revision: Revision,
    pub value: Arc<[u8]>,
}

/// What must hold for a write to happen; checked in the same step that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    /// The key is there and was changed last at this revision.
    Revision(Revision),
}

/// When a write becomes durable. Later writes of the same key are never older on disk than earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Never journaled by itself, and lost with the process: heartbeats.
    Memory,
    /// Visible at once; journaled together with the next synced write, or by itself within
    /// [`Options::lazy_delay`]. A crash may lose it: for what a node can say again.
    Lazy,
    /// Visible and answered after it is on disk.
    Synced,
}

/// A part of the key space in key order, all of it as of `revision`.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub entries: Vec<Entry>,
    /// A watch that starts after this revision misses nothing.
    pub revision: Revision,
    /// How many further entries there are after the limit.
    pub more: usize,
}

/// An ordered map from keys to small JSON texts, with a history of changes.
///
/// - Keys are non-empty and slash-separated (`pods/default/web`); values are one JSON text without a newline.
/// - Every change has its own revision, larger than that of every change before it. A `put` of the
///   bytes that are there already changes nothing and answers with the entry's revision.
/// - What a read returns once, later reads return or something newer. A write is visible to every read and
///   watch that begins after its answer.
/// - A write that fails changes nothing visible, and the next one may succeed.
pub trait Store: Send + Sync {
    fn get(&self, key: &str) -> Option<Entry>;

    /// The entries whose keys begin with `prefix`, in key order, those after the key `after` only,
    /// and at most `limit` of them (0 is no limit).
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> List;

    /// [`Store::list`] as it was at `revision`.
    ///
    /// Errors: [`Error::Compacted`] when the changes since are no longer known, or were never made.
    fn list_at(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Revision,
    ) -> Result<List, Error>;

    /// Sets a key and answers with the revision of the change.
    ///
    /// Errors: [`Error::Conflict`], [`Error::Value`], [`Error::Write`], [`Error::Closed`].
    fn put(&self, key: &str, value: Vec<u8>, expect: Expect, durability: Durability) -> Answer<Revision>;

    /// Removes a key and answers with its last value and the revision of the removal. A key that is not there
    /// is an [`Error::Conflict`] with no current revision.
    fn delete(&self, key: &str, expect: Expect, durability: Durability) -> Answer<Entry>;

    /// The changes to keys beginning with `prefix` that come after the revision `after`, in order.
    ///
    /// Errors: [`Error::Compacted`] when they are no longer (or, for a revision that this store never
    /// reached, not) known; the caller lists and watches from the list's revision.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// The revision of the last change.
    fn revision(&self) -> Revision;

    /// Whether the last write that was to be durable is.
    fn is_writable(&self) -> bool;
}
