//! What every backend of [`Store`] must do. Each check gets a store that may hold anything under other
//! prefixes, and uses a prefix of its own.

use std::sync::Arc;

use smol::block_on;

use super::Durability::{self, Lazy, Memory, Synced};
use super::{Error, Expect, Revision, Store};

/// Runs all checks; `round` keeps the keys of repeated runs on one store apart.
pub(super) fn check(store: &Arc<dyn Store>, round: u32) {
    for durability in [Synced, Lazy, Memory] {
        let prefix = |name: &str| format!("{name}-{round}-{durability:?}/");
        let checks = Checks { store: store.clone(), durability };
        checks.reads_what_was_written(&prefix("read"));
        checks.compares_and_swaps(&prefix("swap"));
        checks.lists_in_order_and_in_pages(&prefix("list"));
        checks.lists_as_it_was(&prefix("then"));
        checks.watches_from_a_revision(&prefix("watch"));
        checks.refuses_what_is_no_value(&prefix("value"));
        checks.one_of_many_rivals_wins(&prefix("rivals"));
        checks.numbers_changes_without_gaps_in_order(&prefix("order"));
    }
}

struct Checks {
    store: Arc<dyn Store>,
    durability: Durability,
}

impl Checks {
    fn put(&self, key: &str, value: &str, expect: Expect) -> Result<Revision, Error> {
        block_on(self.store.put(key, value.into(), expect, self.durability))
    }

    fn delete(&self, key: &str, expect: Expect) -> Result<super::Entry, Error> {
        block_on(self.store.delete(key, expect, self.durability))
    }

    fn value(&self, key: &str) -> Option<String> {
        self.store.get(key).map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
    }

    fn reads_what_was_written(&self, prefix: &str) {
        let key = format!("{prefix}a");
        assert_eq!(self.store.get(&key), None);
        let before = self.store.revision();
        assert!(before > 0);
        let first = self.put(&key, "1", Expect::Any).unwrap();
        assert!(first > before);
        let second = self.put(&key, "2", Expect::Any).unwrap();
        assert!(second > first);
        assert_eq!(self.store.revision(), second);
        assert_eq!(self.store.get(&key).unwrap().revision, second);
        // The same bytes again are no change.
        assert_eq!(self.put(&key, "2", Expect::Any).unwrap(), second);
        assert_eq!(self.store.revision(), second);
        let removed = self.delete(&key, Expect::Any).unwrap();
        assert_eq!((&*removed.value, removed.revision > second), (&b"2"[..], true));
        assert_eq!(self.store.get(&key), None);
        assert!(self.put(&key, "2", Expect::Any).unwrap() > removed.revision);
    }

    fn compares_and_swaps(&self, prefix: &str) {
        let key = format!("{prefix}a");
        let conflict = |result: Result<Revision, Error>| match result.unwrap_err() {
            Error::Conflict { current, .. } => current,
            other => panic!("{other}"),
        };
        assert_eq!(conflict(self.put(&key, "1", Expect::Revision(1))), None);
        assert!(matches!(self.delete(&key, Expect::Any), Err(Error::Conflict { current: None, .. })));
        let first = self.put(&key, "1", Expect::Absent).unwrap();
        assert_eq!(conflict(self.put(&key, "2", Expect::Absent)), Some(first));
        let second = self.put(&key, "2", Expect::Revision(first)).unwrap();
        assert_eq!(conflict(self.put(&key, "3", Expect::Revision(first))), Some(second));
        assert!(matches!(self.delete(&key, Expect::Revision(first)), Err(Error::Conflict { .. })));
        assert_eq!(self.value(&key).unwrap(), "2");
        self.delete(&key, Expect::Revision(second)).unwrap();
        self.put(&key, "4", Expect::Absent).unwrap();
    }

    fn lists_in_order_and_in_pages(&self, prefix: &str) {
        for name in ["c", "a", "b/x", "b", "ba"] {
            self.put(&format!("{prefix}{name}"), &format!("\"{name}\""), Expect::Absent).unwrap();
        }
        let keys = |after: Option<&str>, limit| {
            let list = self.store.list(prefix, after, limit);
            let names: Vec<_> =
                list.entries.iter().map(|entry| entry.key[prefix.len()..].to_owned()).collect();
            (names.join(" "), list.more)
        };
        assert_eq!(keys(None, 0), ("a b b/x ba c".to_owned(), 0));
        assert_eq!(keys(None, 2), ("a b".to_owned(), 3));
        assert_eq!(keys(Some(&format!("{prefix}b")), 2), ("b/x ba".to_owned(), 1));
        assert_eq!(keys(Some(&format!("{prefix}bz")), 0), ("c".to_owned(), 0));
        assert_eq!(keys(Some("!"), 1), ("a".to_owned(), 4), "a key before the prefix changes nothing");
        let within = self.store.list(&format!("{prefix}b/"), None, 0);
        assert_eq!(within.entries.len(), 1);
        assert_eq!(within.revision, self.store.revision());
    }

    fn lists_as_it_was(&self, prefix: &str) {
        let key = |name: &str| format!("{prefix}{name}");
        for name in ["a", "b", "d"] {
            self.put(&key(name), "1", Expect::Any).unwrap();
        }
        let then = self.store.revision();
        let before = self.store.list(prefix, None, 0);
        self.put(&key("a"), "2", Expect::Any).unwrap();
        self.put(&key("a"), "3", Expect::Any).unwrap();
        self.delete(&key("b"), Expect::Any).unwrap();
        self.put(&key("c"), "1", Expect::Any).unwrap();
        let at = |after: Option<&str>, limit| self.store.list_at(prefix, after, limit, then).unwrap();
        let all = at(None, 0);
        assert_eq!((&all.entries, all.revision, all.more), (&before.entries, then, 0));
        let first = at(None, 1);
        assert_eq!((&first.entries[..], first.more), (&before.entries[..1], 2));
        assert_eq!(at(Some(&key("a")), 0).entries, before.entries[1..]);
        assert_eq!(at(Some(&key("b")), 0).entries, before.entries[2..]);
        for unknown in [0, self.store.revision() + 1] {
            let error = self.store.list_at(prefix, None, 0, unknown).unwrap_err();
            assert!(matches!(error, Error::Compacted { .. }), "{error}");
        }
    }

    fn watches_from_a_revision(&self, prefix: &str) {
        let start = self.store.revision();
        let key = format!("{prefix}a");
        let made = self.put(&key, "1", Expect::Absent).unwrap();
        self.put(&format!("not-{prefix}"), "0", Expect::Any).unwrap();
        let changed = self.put(&key, "2", Expect::Any).unwrap();
        let mut watch = self.store.watch(prefix, start).unwrap();
        let removed = {
            let (store, name, durability) = (self.store.clone(), key.clone(), self.durability);
            let other = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                block_on(store.delete(&name, Expect::Any, durability)).unwrap().revision
            });
            let mut seen = Vec::new();
            for _ in 0..3 {
                let event = block_on(watch.next()).unwrap();
                assert_eq!(*event.key, *key);
                let text = |value: Option<Arc<[u8]>>| {
                    value.map_or(String::new(), |value| String::from_utf8(value.to_vec()).unwrap())
                };
                seen.push((event.revision, text(event.old), text(event.new)));
            }
            let removed = other.join().unwrap();
            let expected = [(made, "", "1"), (changed, "1", "2"), (removed, "2", "")];
            assert_eq!(seen, expected.map(|(at, old, new)| (at, old.to_owned(), new.to_owned())));
            removed
        };
        assert!(watch.try_next().unwrap().is_none());
        assert_eq!(watch.revision(), removed);
        let late = self.store.watch(prefix, changed).unwrap().try_next().unwrap().unwrap();
        assert_eq!(late.revision, removed);
        let compacted = |after| matches!(self.store.watch(prefix, after), Err(Error::Compacted { .. }));
        assert!(compacted(removed + 1), "a revision that was never reached");
        assert!(compacted(0), "before the store's first change");
    }

    fn refuses_what_is_no_value(&self, prefix: &str) {
        let before = self.store.revision();
        let key = format!("{prefix}a");
        for (key, value) in [(&*key, ""), (&*key, "{"), (&*key, "{\n}"), (&*key, "1 2"), ("", "1")] {
            assert!(matches!(self.put(key, value, Expect::Any), Err(Error::Value { .. })), "{key} {value}");
        }
        assert_eq!(self.store.revision(), before);
        // Nothing in a value or key breaks the backend's format.
        let odd = format!("{prefix}\"\n\\ü");
        self.put(&odd, r#"{"a":"\n\u0000\"}","crc":"00000000"}"#, Expect::Any).unwrap();
        assert!(self.value(&odd).is_some());
    }

    fn one_of_many_rivals_wins(&self, prefix: &str) {
        let key = format!("{prefix}n");
        self.put(&key, "0", Expect::Absent).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (store, key, durability) = (self.store.clone(), key.clone(), self.durability);
                std::thread::spawn(move || {
                    for _ in 0..10 {
                        loop {
                            let entry = store.get(&key).unwrap();
                            let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                            let value = (count + 1).to_string().into_bytes();
                            match block_on(store.put(
                                &key,
                                value,
                                Expect::Revision(entry.revision),
                                durability,
                            )) {
                                Ok(_) => break,
                                Err(Error::Conflict { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(self.value(&key).unwrap(), "40");
    }

    fn numbers_changes_without_gaps_in_order(&self, prefix: &str) {
        let mut watch = self.store.watch(prefix, self.store.revision()).unwrap();
        let writes: Vec<_> = (0..50)
            .map(|n| {
                let key = format!("{prefix}{}", n % 7);
                self.store.put(&key, n.to_string().into(), Expect::Any, self.durability)
            })
            .collect();
        block_on(async {
            let executor = smol::Executor::new();
            let tasks: Vec<_> = writes.into_iter().map(|write| executor.spawn(write)).collect();
            executor
                .run(async {
                    for task in tasks {
                        task.await.unwrap();
                    }
                })
                .await;
        });
        let mut last = std::collections::HashMap::new();
        let mut revision = 0;
        while let Some(event) = watch.try_next().unwrap() {
            assert!(event.revision > revision);
            revision = event.revision;
            let before = last.insert(event.key.clone(), event.new.clone().unwrap());
            assert_eq!(before, event.old, "each change continues the one before");
        }
        for (key, value) in last {
            assert_eq!(self.store.get(&key).unwrap().value, value);
        }
    }
}
