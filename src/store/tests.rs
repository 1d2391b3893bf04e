//! The journal under the contract, under crashes and on failing disks.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smol::block_on;

use super::Durability::{Lazy, Memory, Synced};
use super::disk::{Disk, Log};
use super::journal::create;
use super::*;

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midge-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
    fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }
    fn bytes(&self) -> Vec<u8> {
        fs::read(self.journal()).unwrap()
    }
    fn open(&self) -> Journal {
        Journal::open(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn put(store: &dyn Store, key: &str, value: &str, durability: Durability) -> Result<Revision, Error> {
    block_on(store.put(key, value.into(), Expect::Any, durability))
}

/// All keys and values, in one line.
fn dump(store: &dyn Store) -> String {
    let text = |entry: &Entry| format!("{}={}", entry.key, std::str::from_utf8(&entry.value).unwrap());
    store.list("", None, 0).entries.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn journal_keeps_the_contract_and_again_after_reopening() {
    let folder = Folder::new("contract");
    let mut before = 0;
    for round in 0..3 {
        let store: Arc<dyn Store> = Arc::new(folder.open());
        assert!(store.revision() > before);
        if before > 0 {
            assert!(matches!(store.watch("", before), Err(Error::Compacted { .. })));
        }
        contract::check(&store, round);
        before = store.revision();
    }
}

#[test]
fn journal_is_private_locked_and_json() {
    let folder = Folder::new("private");
    let store = folder.open();
    put(&store, "a/b", r#"{"x":1}"#, Synced).unwrap();
    let second = Journal::open(&folder.0).err().unwrap().to_string();
    assert!(second.contains("in use by another midge server"), "{second}");
    assert!(matches!(repair(&folder.0), Err(Error::Locked { .. })));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.0), mode(&folder.journal())), (0o700, 0o600));
    for line in folder.bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_write_torn_at_any_byte_is_cut_off() {
    let folder = Folder::new("torn");
    {
        let store = folder.open();
        put(&store, "a", "1", Synced).unwrap();
        put(&store, "b", "2", Synced).unwrap();
    }
    let before = folder.bytes().len();
    block_on(folder.open().delete("a", Expect::Any, Synced)).unwrap();
    // The write's two lines: a new ceiling and the removal.
    let whole = folder.bytes();
    for length in before..=whole.len() {
        for garbage in [&b""[..], b"\0\0\0\0", b"{\"crc\":\"00000000\",\"rev\":1}\n"] {
            let mut bytes = whole[..length].to_vec();
            bytes.extend_from_slice(garbage);
            fs::write(folder.journal(), &bytes).unwrap();
            let store = folder.open();
            let expected = if length == whole.len() { "b=2" } else { "a=1 b=2" };
            assert_eq!(dump(&store), expected, "{length} {garbage:?}");
            // And it goes on from there.
            put(&store, "c", "3", Synced).unwrap();
            drop(store);
            assert_eq!(dump(&folder.open()), format!("{expected} c=3"));
        }
    }
}

#[test]
fn every_prefix_of_a_journal_is_a_state_that_was() {
    let folder = Folder::new("prefix");
    let mut states = vec![String::new()];
    {
        let store = folder.open();
        for n in 0..24_u32 {
            let key = format!("k{}", n * 7 % 5);
            if n % 4 == 3 {
                drop(block_on(store.delete(&key, Expect::Any, Synced)));
            } else {
                put(&store, &key, &n.to_string(), Synced).unwrap();
            }
            states.push(dump(&store));
        }
    }
    let whole = folder.bytes();
    let created = whole.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum();
    let mut reached = 0;
    for length in created..=whole.len() {
        fs::write(folder.journal(), &whole[..length]).unwrap();
        let state = dump(&folder.open());
        // Never back: a longer prefix is never an older state.
        let found = states[reached..].iter().position(|known| *known == state);
        reached += found.unwrap_or_else(|| panic!("{length} bytes make a state that never was: {state}"));
    }
    assert_eq!(states[reached], states[states.len() - 1]);
}

#[test]
fn parts_of_a_write_that_is_missing_its_middle_are_cut_off() {
    let folder = Folder::new("middle");
    {
        let store = folder.open();
        put(&store, "a", "1", Synced).unwrap();
        for key in ["l1", "l2", "l3"] {
            put(&store, key, "0", Lazy).unwrap();
        }
        put(&store, "b", "2", Synced).unwrap();
    }
    let text = String::from_utf8(folder.bytes()).unwrap();
    let damaged = text.replace("\"key\":\"l2\"", "\"key\":\"\0\0\"");
    assert_ne!(text, damaged);
    fs::write(folder.journal(), damaged).unwrap();
    assert_eq!(dump(&folder.open()), "a=1 l1=0");
}

#[test]
fn damage_further_in_stops_the_store_and_repair_mends_it() {
    let folder = Folder::new("damage");
    let revision = {
        let store = folder.open();
        for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            put(&store, key, value, Synced).unwrap();
        }
        store.revision()
    };
    let whole = String::from_utf8(folder.bytes()).unwrap();
    let line = whole.lines().position(|line| line.contains("\"b\"")).unwrap() + 1;
    fs::write(folder.journal(), whole.replace("\"value\":2}", "\"value\":7}")).unwrap();
    match Journal::open(&folder.0).err().unwrap() {
        Error::Damaged { path, line: found } => assert_eq!((path, found), (folder.journal(), line)),
        other => panic!("{other}"),
    }
    let message = Journal::open(&folder.0).err().unwrap().to_string();
    assert!(message.contains(&format!("midge registry repair {}", folder.0.display())), "{message}");

    let report = repair(&folder.0).unwrap();
    assert_eq!(report.dropped, [line]);
    assert_eq!(report.kept, whole.lines().count() - 1);
    assert!(fs::read_to_string(report.saved.unwrap()).unwrap().contains("\"value\":7}"));
    {
        let store = folder.open();
        assert_eq!(dump(&store), "a=1 c=3");
        assert!(store.revision() > revision);
    }
    assert_eq!(repair(&folder.0).unwrap().saved, None, "nothing to do");

    // The first line as well.
    let mut bytes = folder.bytes();
    bytes[30] ^= 1;
    fs::write(folder.journal(), bytes).unwrap();
    assert!(matches!(Journal::open(&folder.0), Err(Error::Damaged { line: 1, .. })));
    repair(&folder.0).unwrap();
    assert_eq!(dump(&folder.open()), "a=1 c=3");
    fs::write(folder.journal(), "").unwrap();
    assert!(matches!(Journal::open(&folder.0), Err(Error::Damaged { line: 1, .. })));
}

#[test]
fn a_newer_format_is_refused() {
    let folder = Folder::new("version");
    drop(folder.open());
    let mut text = Vec::new();
    line::Line::Header { version: 2, ceiling: 0 }.write(false, &mut text);
    fs::write(folder.journal(), &text).unwrap();
    assert!(matches!(Journal::open(&folder.0), Err(Error::Version { found: 2, .. })));
    assert!(matches!(repair(&folder.0), Err(Error::Version { .. })));
}

#[test]
fn lazy_and_memory_writes_cost_no_disk_but_revisions_never_repeat() {
    let folder = Folder::new("lazy");
    let options = Options { lazy_delay: Duration::from_secs(1), ..Options::default() };
    let store = Journal::open_with(&folder.0, options).unwrap();
    put(&store, "node", "0", Synced).unwrap();
    let quiet = folder.bytes();
    for beat in 0..100 {
        put(&store, "lease", &beat.to_string(), Memory).unwrap();
    }
    put(&store, "node", "0", Lazy).unwrap();
    put(&store, "node", "0", Synced).unwrap();
    std::thread::sleep(Duration::from_millis(1300));
    assert!(folder.bytes() == quiet, "heartbeats and writes without a change write nothing");
    put(&store, "pod", "1", Lazy).unwrap();
    let last = put(&store, "pod", "2", Lazy).unwrap();
    assert!(folder.bytes() == quiet, "lazy");
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(100));
        if folder.bytes() != quiet {
            break;
        }
    }
    let later = folder.bytes();
    let added = String::from_utf8(later[quiet.len()..].to_vec()).unwrap();
    assert_eq!(added.lines().count(), 1, "{added}");
    assert!(added.contains("\"value\":2}"), "{added}");
    // A crash: the file as it is now, without the lease.
    let crashed = Folder::new("lazy-crashed");
    fs::create_dir_all(&crashed.0).unwrap();
    fs::write(crashed.journal(), later).unwrap();
    let after = crashed.open();
    assert_eq!(dump(&after), "node=0 pod=2");
    assert!(after.revision() > last.max(store.revision()));
    // Opening and closing write nothing either.
    let bytes = crashed.bytes();
    drop(after);
    drop(crashed.open());
    assert!(bytes == crashed.bytes());
    // A clean end journals what is lazy.
    put(&store, "pod", "3", Lazy).unwrap();
    drop(store);
    assert_eq!(dump(&folder.open()), "node=0 pod=3");
}

#[test]
fn compaction_keeps_everything_and_bounds_the_file() {
    let folder = Folder::new("compact");
    let options = Options { compact_minimum: 2000, ..Options::default() };
    let expected = {
        let store = Journal::open_with(&folder.0, options).unwrap();
        put(&store, "lease", "1", Memory).unwrap();
        for n in 0..300 {
            put(&store, &format!("k{}", n % 5), &n.to_string(), Synced).unwrap();
            assert!(folder.bytes().len() < 2300);
            if n % 50 == 0 {
                block_on(store.delete("k0", Expect::Any, Synced)).unwrap();
            }
        }
        put(&store, "last", "1", Synced).unwrap();
        dump(&store)
    };
    assert_eq!(dump(&folder.open()), expected);
    assert!(!folder.0.join("journal.jsonl.new").exists());
    // Damage to a line of the compacted file is seen as such, though all of it was one write.
    let text = String::from_utf8(folder.bytes()).unwrap();
    fs::write(folder.journal(), text.replacen("\"value\":", "\"walue\":", 1)).unwrap();
    assert!(matches!(Journal::open(&folder.0), Err(Error::Damaged { line: 2, .. })));
}

#[test]
fn watchers_that_lag_too_far_are_told() {
    let folder = Folder::new("ring");
    let options = Options { ring_events: 10, ..Options::default() };
    let store = Journal::open_with(&folder.0, options).unwrap();
    let start = store.revision();
    let mut slow = store.watch("a", start).unwrap();
    let mut other = store.watch("b", start).unwrap();
    for n in 0..10 {
        put(&store, "a", &n.to_string(), Memory).unwrap();
    }
    assert!(slow.try_next().unwrap().is_some());
    assert!(other.try_next().unwrap().is_none(), "moves past what does not concern it");
    for n in 20..30 {
        put(&store, "a", &n.to_string(), Memory).unwrap();
    }
    assert!(matches!(slow.try_next(), Err(Error::Compacted { .. })));
    assert!(matches!(store.watch("a", start), Err(Error::Compacted { .. })));
    assert!(other.try_next().is_ok());
    let big = format!("\"{}\"", "x".repeat(2 << 20));
    put(&store, "b", &big, Memory).unwrap();
    assert!(other.try_next().unwrap().is_some(), "one change larger than the ring is still seen");
}

/// A disk in memory whose next operations fail as told.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// What a reader would find: the installed file's bytes.
    journal: Vec<u8>,
    new: Vec<u8>,
    installed: bool,
    /// Bytes that still fit on the disk.
    room: Option<usize>,
    fail_sync: bool,
    fail_truncate: bool,
    fail_install: bool,
    syncs: usize,
}

/// One open file of a [`Fake`]; `Inner::new` until it is installed.
struct FakeLog(Fake);

impl Fake {
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
    fn open(&self) -> Journal {
        let mut disk = self.clone();
        let (log, loaded) = create(&mut disk).unwrap();
        Journal::start(loaded, Box::new(disk), log, Options::default()).unwrap()
    }
    /// What a restart would find.
    fn reread(&self) -> String {
        let folder = Folder::new(&format!("fake-{:?}", std::thread::current().id()));
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.journal(), self.with(|inner| inner.journal.clone())).unwrap();
        dump(&folder.open())
    }
}

impl Inner {
    fn file(&mut self) -> &mut Vec<u8> {
        if self.installed { &mut self.journal } else { &mut self.new }
    }
    fn free(&mut self, bytes: usize) {
        self.room = self.room.map(|room| room + bytes);
    }
}

impl Write for FakeLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.with(|inner| {
            // Short writes all the time; the caller must go on.
            let mut length = bytes.len().min(7);
            if let Some(room) = &mut inner.room {
                length = length.min(*room);
                *room -= length;
                if length == 0 {
                    return Err(io::Error::from_raw_os_error(28)); // ENOSPC
                }
            }
            inner.file().extend_from_slice(&bytes[..length]);
            Ok(length)
        })
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log for FakeLog {
    fn sync(&mut self) -> io::Result<()> {
        // As disks do, it takes a while: writes gather meanwhile.
        std::thread::sleep(Duration::from_millis(1));
        self.0.with(|inner| {
            inner.syncs += 1;
            if inner.fail_sync { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
        })
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.with(|inner| {
            if inner.fail_truncate {
                return Err(io::Error::from_raw_os_error(5));
            }
            let file = inner.file();
            let freed = file.len().saturating_sub(length as usize);
            file.truncate(length as usize);
            inner.free(freed);
            Ok(())
        })
    }
}

impl Disk for Fake {
    fn path(&self) -> &Path {
        Path::new("fake.jsonl")
    }
    fn create(&mut self) -> io::Result<Box<dyn Log>> {
        self.with(|inner| {
            inner.new.clear();
            inner.installed = false;
        });
        Ok(Box::new(FakeLog(self.clone())))
    }
    fn install(&mut self) -> io::Result<()> {
        self.with(|inner| {
            if inner.fail_install {
                return Err(io::Error::from_raw_os_error(5));
            }
            let replaced = inner.journal.len();
            inner.free(replaced);
            inner.journal = std::mem::take(&mut inner.new);
            inner.installed = true;
            Ok(())
        })
    }
}

#[test]
fn failed_writes_change_nothing_and_later_ones_succeed() {
    let faults: [fn(&mut Inner); 4] = [
        |inner| inner.room = Some(0),
        |inner| inner.room = Some(20),
        |inner| inner.fail_sync = true,
        |inner| (inner.room, inner.fail_truncate) = (Some(20), true),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let disk = Fake::default();
        let store = disk.open();
        put(&store, "a", "1", Synced).unwrap();
        let kept = put(&store, "early", "1", Lazy).unwrap();
        let mut watch = store.watch("", kept).unwrap();
        disk.with(fault);
        for _ in 0..2 {
            let error = put(&store, "a", "2", Synced).unwrap_err();
            assert!(matches!(&error, Error::Write { source, .. } if source.raw_os_error().is_some()));
            assert!(matches!(put(&store, "new", "1", Synced), Err(Error::Write { .. })));
            assert!(matches!(block_on(store.delete("a", Expect::Any, Synced)), Err(Error::Write { .. })));
        }
        assert_eq!((dump(&store), store.revision()), ("a=1 early=1".to_owned(), kept), "fault {number}");
        assert!(watch.try_next().unwrap().is_none() && !store.is_writable());
        // What needs no disk goes on.
        let beat = put(&store, "lease", "1", Memory).unwrap();
        put(&store, "status", "1", Lazy).unwrap();
        assert!(beat > kept);
        disk.with(|inner| {
            (inner.room, inner.fail_sync, inner.fail_truncate) = (None, false, false);
        });
        put(&store, "b", "3", Synced).unwrap();
        assert!(store.is_writable());
        // A rewritten journal has the heartbeat, too.
        let durable = disk.reread();
        assert_eq!(durable.replace("lease=1 ", ""), "a=1 b=3 early=1 status=1", "fault {number}");
        drop(store);
        assert_eq!(disk.reread(), durable);
    }
}

#[test]
fn a_disk_that_has_room_again_is_found_without_a_write() {
    let disk = Fake::default();
    let mut own = disk.clone();
    let (log, loaded) = create(&mut own).unwrap();
    let options = Options { lazy_delay: Duration::from_millis(50), ..Options::default() };
    let store = Journal::start(loaded, Box::new(own), log, options).unwrap();
    disk.with(|inner| inner.room = Some(0));
    put(&store, "a", "1", Synced).unwrap_err();
    assert!(!store.is_writable());
    disk.with(|inner| inner.room = None);
    let start = std::time::Instant::now();
    while !store.is_writable() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_disk_full_of_dead_lines_takes_writes() {
    let disk = Fake::default();
    let store = disk.open();
    for round in 0..30 {
        put(&store, "a", &format!("\"{round}{}\"", "x".repeat(100)), Synced).unwrap();
    }
    put(&store, "a", "1", Synced).unwrap();
    disk.with(|inner| inner.room = Some(250));
    put(&store, "b", &format!("\"{}\"", "x".repeat(250)), Synced).unwrap();
    assert!(disk.with(|inner| inner.journal.len()) < 1000);
    assert!(disk.reread().starts_with("a=1 b=\"xxx"));
    // With no room even for that, nothing is left lying about.
    disk.with(|inner| inner.room = Some(0));
    put(&store, "b", "1", Synced).unwrap_err();
    assert_eq!(disk.with(|inner| (inner.installed, inner.new.len())), (true, 0));
}

#[test]
fn a_rename_that_may_not_be_durable_holds_writes_until_it_is() {
    let disk = Fake::default();
    let store = disk.open();
    put(&store, "a", "1", Synced).unwrap();
    disk.with(|inner| inner.fail_sync = true);
    assert!(put(&store, "a", "2", Synced).is_err());
    disk.with(|inner| (inner.fail_sync, inner.fail_install) = (false, true));
    assert!(put(&store, "a", "3", Synced).is_err());
    disk.with(|inner| inner.fail_install = false);
    put(&store, "a", "4", Synced).unwrap();
    assert_eq!(disk.reread(), "a=4");
}

#[test]
fn writers_that_wait_together_share_one_fsync() {
    let disk = Fake::default();
    let store = disk.open();
    let before = disk.with(|inner| inner.syncs);
    let executor = smol::Executor::new();
    let tasks: Vec<_> = (0..200)
        .map(|n| executor.spawn(store.put(&format!("k{n}"), b"1".to_vec(), Expect::Absent, Synced)))
        .collect();
    block_on(executor.run(async {
        for task in tasks {
            task.await.unwrap();
        }
    }));
    let syncs = disk.with(|inner| inner.syncs) - before;
    assert!(syncs < 100, "{syncs} fsyncs for 200 writes");
}
