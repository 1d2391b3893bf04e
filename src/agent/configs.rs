//! ConfigMaps and Secrets that this node's pods name, as files: they are there after a reboot without a server.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::api::Object;
use crate::sys::file;
use crate::token::sha256;

/// What may wait to be written, in bytes of JSON and in number.
const MAX_PENDING: usize = 16 << 20;
const MAX_CHANGES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub fn parse(kind: &str) -> Option<Kind> {
        match kind {
            "ConfigMap" => Some(Kind::ConfigMap),
            "Secret" => Some(Kind::Secret),
            _ => None,
        }
    }
}

/// One thing that the server says of them.
#[derive(Clone, PartialEq)]
enum Change {
    /// The object as JSON, and its file's name.
    Put(String, Vec<u8>),
    /// By uid.
    Remove(String),
    /// Nobody needs any file but these.
    Only(BTreeSet<String>),
}

/// What the server said and is not on disk yet, in its order.
#[derive(Default)]
pub struct Pending {
    changes: Vec<Change>,
    /// Files of what was put since the link is up, until all has been put.
    put: Option<BTreeSet<String>>,
}

impl Pending {
    /// A link is up: all that is needed follows.
    pub fn begin(&mut self) {
        self.put = Some(BTreeSet::new());
    }

    pub fn put(&mut self, kind: Kind, namespace: &str, name: &str, text: Vec<u8>) {
        let file = file_name(kind, namespace, name);
        if let Some(put) = &mut self.put {
            put.insert(file.clone());
        }
        // More than any node needs: what is left over stays.
        self.put.take_if(|put| put.len() > MAX_CHANGES);
        self.changes.retain(|change| !matches!(change, Change::Put(other, _) if *other == file));
        let size = |change: &Change| if let Change::Put(_, text) = change { text.len() } else { 0 };
        let pending: usize = self.changes.iter().map(size).sum();
        if pending + text.len() > MAX_PENDING || self.changes.len() >= MAX_CHANGES {
            log::error!("too much at a time from the server: {kind:?} {namespace}/{name} is left out");
            return;
        }
        self.changes.push(Change::Put(file, text));
    }

    pub fn remove(&mut self, uid: String) {
        if self.changes.len() < 2 * MAX_CHANGES {
            self.changes.push(Change::Remove(uid));
        }
    }

    /// All that is needed has been put.
    pub fn end(&mut self) {
        if let Some(put) = self.put.take() {
            self.changes.push(Change::Only(put));
        }
    }

    /// Takes the changes and leaves what is to be known of the link.
    pub fn take(&mut self) -> Pending {
        Pending { changes: std::mem::take(&mut self.changes), put: None }
    }
}

/// `<data>/agent/configs`, 0700, its files 0600. Nothing is held in memory.
#[derive(Debug, Clone)]
pub struct Configs {
    folder: PathBuf,
}

impl Configs {
    pub fn new(folder: PathBuf) -> Configs {
        Configs { folder }
    }

    /// None: the server has none of that name.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Object> {
        let path = self.folder.join(file_name(kind, namespace, name));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::error!("failed to read `{}`: {error}", path.display());
                }
                return None;
            }
        };
        let object = Object::from_slice(&text);
        object.map_err(|error| log::error!("`{}`: {error}", path.display())).ok()
    }

    /// Writes what the server said. Returns whether that changed anything.
    pub async fn apply(&self, pending: Pending) -> bool {
        if pending.changes.is_empty() {
            return false;
        }
        let configs = self.clone();
        smol::unblock(move || {
            let apply = |change| {
                configs.apply_one(change).unwrap_or_else(|error| {
                    // The server says it again on the next link.
                    log::error!(
                        "failed to keep ConfigMaps and Secrets in `{}`: {error}",
                        configs.folder.display()
                    );
                    false
                })
            };
            pending.changes.into_iter().map(apply).fold(false, |changed, one| changed | one)
        })
        .await
    }

    fn apply_one(&self, change: Change) -> io::Result<bool> {
        match change {
            Change::Put(name, text) => {
                let path = self.folder.join(name);
                // A link that is up again says what is there.
                if fs::read(&path).is_ok_and(|known| known == text) {
                    return Ok(false);
                }
                file::create_private_folder(&self.folder)?;
                file::write_atomic(&path, &text, 0o600)?;
                Ok(true)
            }
            Change::Remove(uid) => {
                self.remove(|_, text| Object::from_slice(&text()).is_ok_and(|object| object.uid() == uid))
            }
            Change::Only(names) => self.remove(|name, _| !names.contains(name)),
        }
    }

    /// Removes the files for which `goes` holds: their names, and what reads them.
    fn remove(&self, goes: impl Fn(&str, &dyn Fn() -> Vec<u8>) -> bool) -> io::Result<bool> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        let mut removed = false;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if goes(name, &|| fs::read(&path).unwrap_or_default()) {
                fs::remove_file(&path)?;
                removed = true;
            }
        }
        if removed {
            file::sync_folder(&self.folder)?;
        }
        Ok(removed)
    }
}

/// A hash: whatever the names are, it is no path, short, and no other's.
fn file_name(kind: Kind, namespace: &str, name: &str) -> String {
    let hash = sha256(format!("{kind:?}/{namespace}/{name}").as_bytes());
    format!("{}.json", data_encoding::HEXLOWER.encode(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::block_on;

    fn text(uid: &str, value: &str) -> Vec<u8> {
        format!(r#"{{"metadata":{{"uid":"{uid}"}},"data":{{"key":"{value}"}}}}"#).into_bytes()
    }

    #[test]
    fn they_are_kept_and_go_when_nobody_needs_them() {
        let folder = std::env::temp_dir().join(format!("midge-configs-{}", std::process::id()));
        let configs = Configs::new(folder.clone());
        let mut pending = Pending::default();
        let apply = |pending: &mut Pending| block_on(configs.apply(pending.take()));
        let value = |kind, name| configs.get(kind, "default", name).map(|o| o.str_at("/data/key").to_owned());
        assert!(!apply(&mut pending));

        pending.put(Kind::ConfigMap, "default", "../a", text("1", "one"));
        pending.put(Kind::Secret, "default", "a", text("2", "two"));
        pending.put(Kind::Secret, "default", "a", text("2", "three"));
        assert!(apply(&mut pending));
        assert_eq!(value(Kind::ConfigMap, "../a"), Some("one".into()));
        assert_eq!(value(Kind::Secret, "a"), Some("three".into()));
        assert_eq!(value(Kind::ConfigMap, "a"), None);

        // A new link says one of them again, and another that has taken the place of the old one.
        pending.begin();
        pending.put(Kind::Secret, "default", "a", text("2", "three"));
        assert!(!apply(&mut pending));
        pending.put(Kind::ConfigMap, "default", "b", text("3", "four"));
        pending.end();
        assert!(apply(&mut pending));
        assert_eq!(value(Kind::ConfigMap, "../a"), None);
        assert_eq!(value(Kind::ConfigMap, "b"), Some("four".into()));
        pending.put(Kind::ConfigMap, "default", "b", text("4", "five"));
        pending.remove("3".into());
        pending.remove("2".into());
        pending.end();
        assert!(apply(&mut pending));
        assert_eq!(value(Kind::ConfigMap, "b"), Some("five".into()));
        assert_eq!(value(Kind::Secret, "a"), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut pending = Pending::default();
        for number in 0..20 {
            pending.put(Kind::Secret, "default", &number.to_string(), vec![b'x'; 1 << 20]);
        }
        assert_eq!(pending.changes.len(), 16);
    }
}
