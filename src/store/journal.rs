//! The backend that keeps its entries in memory and its changes in one append-only file.

use std::path::Path;
use std::time::Duration;

use super::{Answer, Durability, Entry, Error, Expect, List, Revision, Store, Watch};

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
            ring_events: 2048,
            ring_bytes: 1 << 20,
            compact_factor: 4,
            compact_minimum: 256 << 10,
        }
    }
}

/// [`Store`] in one folder: `journal.jsonl` (format in `line.rs`) and `lock`.
pub struct Journal {}

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
        let _ = (folder, options);
        todo!()
    }
}

impl Store for Journal {
    fn get(&self, key: &str) -> Option<Entry> {
        let _ = key;
        todo!()
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> List {
        let _ = (prefix, after, limit);
        todo!()
    }

    fn put(&self, key: &str, value: Vec<u8>, expect: Expect, durability: Durability) -> Answer<Revision> {
        let _ = (key, value, expect, durability);
        todo!()
    }

    fn delete(&self, key: &str, expect: Expect, durability: Durability) -> Answer<Entry> {
        let _ = (key, expect, durability);
        todo!()
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let _ = (prefix, after);
        todo!()
    }

    fn revision(&self) -> Revision {
        todo!()
    }
}
