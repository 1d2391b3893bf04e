//! kill -9 under load: nothing that the store acknowledged may be lost.
//!
//! The test starts its own binary as the child that writes; the child says each acknowledged write on
//! its standard output.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use midge::store::{Durability, Expect, Journal, Options, Store};
use smol::block_on;

const FOLDER: &str = "MIDGE_TEST_STORE_KILL";
const WRITERS: usize = 4;
const KEYS: u64 = 20;

/// Small, so that compactions are among what is killed.
fn open(folder: &Path) -> Journal {
    let options = Options { compact_minimum: 20_000, compact_factor: 2, ..Options::default() };
    Journal::open_with(folder, options).unwrap()
}

/// Not a test by itself: the child's work, until it is killed.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = Arc::new(open(Path::new(&folder)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            std::thread::spawn(move || write(&store, writer))
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

fn write(store: &Journal, writer: usize) {
    let padding = "x".repeat(200);
    let process = std::process::id();
    let put = |key: &str, count: u64, durability| {
        // The process's id, since the very bytes of before are no change and get no revision.
        let value = format!("[{count},{process},\"{padding}\"]").into_bytes();
        block_on(store.put(key, value, Expect::Any, durability)).unwrap()
    };
    let say = |what: &str, revision: u64, key: &str, count: u64| {
        let line = format!("ack {what} {revision} {key} {count}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    for count in 0_u64.. {
        let key = format!("{writer}/{}", count % KEYS);
        let revision = put(&key, count, Durability::Synced);
        say("put", revision, &key, count);
        put(&format!("lazy/{writer}"), count, Durability::Lazy);
        if count % 5 == 0 {
            let key = format!("gone/{process}/{writer}/{count}");
            put(&key, count, Durability::Lazy);
            let removed = block_on(store.delete(&key, Expect::Any, Durability::Synced)).unwrap();
            say("gone", removed.revision, &key, count);
        }
    }
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let folder = std::env::temp_dir().join(format!("midge-store-kill-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    let (mut highest, mut total) = (0, 0);
    for round in 0..8 {
        let acknowledged = write_and_kill(&folder, Duration::from_millis(150 + 61 * round));
        total += acknowledged.len();
        let store = open(&folder);
        let mut last = HashMap::new();
        for line in &acknowledged {
            let [_, what, revision, key, count] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let (revision, count): (u64, u64) = (revision.parse().unwrap(), count.parse().unwrap());
            assert!(revision > highest, "round {round}: a revision of before the restart: {line}");
            if what == "put" {
                last.insert(key, (revision, count)); // a key has one writer: its lines are in order
            } else {
                assert!(store.get(key).is_none(), "round {round}: back after its removal: {line}");
            }
        }
        for (key, (revision, count)) in last {
            let entry = store.get(key).unwrap_or_else(|| panic!("round {round}: lost {key}"));
            let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
            // The one write in flight may have been done and its answer lost.
            assert!(entry.revision >= revision, "round {round}: {key} is older than acknowledged");
            assert!(entry.revision > revision || value[0] == count, "round {round}: {key} is {}", value[0]);
        }
        highest = store.revision();
    }
    assert!(total > 50, "only {total} writes: that was no load");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Runs the child for a while; returns what it acknowledged before it was killed.
fn write_and_kill(folder: &Path, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8(line).unwrap();
            // The harness writes to the same output.
            if let Some(at) = line.find("ack ") {
                sender.send(line[at..].to_owned()).unwrap();
            }
        }
    });
    // A busy machine may take its time to start the child.
    let first = lines.recv_timeout(Duration::from_secs(60)).unwrap();
    std::thread::sleep(after);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    reader.join().unwrap();
    std::iter::once(first).chain(lines).collect()
}
