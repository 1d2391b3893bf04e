//! As whom a container runs: numbers from its pod and its image, names by the image's own files.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::api::Object;
use crate::chain;
use crate::containerd::{self, Client, Image, Labels};
use crate::sys::rootfs::{self, Source};

/// What a process has (`process.user` of the runtime-spec).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The first one is `gid`.
    pub groups: Vec<u32>,
}

/// Why nobody is found to run a container as.
#[derive(Debug)]
pub enum Error {
    /// `runAsUser` is 0, and `runAsNonRoot` is set.
    BreaksPolicy {
        pod: String,
        container: String,
    },
    ImageRunsAsRoot {
        pod: String,
        container: String,
    },
    /// Only the image's files know whether that is root, and it may change them.
    NotVerifiable {
        user: String,
        pod: String,
        container: String,
    },
    NoUser {
        user: String,
    },
    NoGroup {
        group: String,
    },
    Snapshot {
        user: String,
        source: containerd::Error,
    },
    Read {
        user: String,
        source: io::Error,
    },
}

/// Looks users up in images. What was found is kept, by the image's chain id, which names its contents.
pub struct Users {
    pub client: Client,
    pub snapshotter: String,
    /// Any folder that is there, to read images at.
    pub at: PathBuf,
    found: Mutex<Vec<(String, Wanted, Entry)>>,
}

/// So many are kept.
const MOST_KEPT: usize = 64;
/// A file that is larger is no list of users.
const LARGEST: u64 = 1 << 20;

/// What the pod and the image say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// A name or a number.
    user: String,
    /// A name or a number; None: the user's own.
    group: Option<String>,
}

/// What the image's files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    uid: u32,
    gid: u32,
    /// The groups that name the user as a member.
    member_of: Vec<u32>,
}

impl Users {
    pub fn new(client: Client, snapshotter: String, at: PathBuf) -> Users {
        Users { client, snapshotter, at, found: Mutex::default() }
    }

    /// As whom `container` runs. `id` is its own; what is made meanwhile is named after it.
    pub async fn user(
        &self,
        pod: &Object,
        container: &Value,
        image: &Image,
        id: &str,
    ) -> Result<User, Error> {
        let wanted = wanted(pod, container, &image.config.user)?;
        let is_strict = pod.str_at("/spec/securityContext/supplementalGroupsPolicy") == "Strict";
        let entry = match (wanted.number(), is_strict) {
            (Some(entry), true) if wanted.group.is_some() => entry,
            _ => self.entry(image, &wanted, id).await?,
        };
        Ok(user(pod, entry, is_strict))
    }

    async fn entry(&self, image: &Image, wanted: &Wanted, id: &str) -> Result<Entry, Error> {
        let known =
            |(chain, known, _): &&(String, Wanted, Entry)| *chain == image.chain_id && known == wanted;
        let kept = |found: &Vec<_>| found.iter().find(known).map(|(.., entry): &(_, _, Entry)| entry.clone());
        if let Some(entry) = kept(&self.found.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(entry);
        }
        let [passwd, group] = match self.files(image, wanted, id).await {
            Ok(files) => files,
            // A number can do without.
            Err(error) => {
                let Some(entry) = wanted.number() else { return Err(error) };
                log::warn!("image {}: its groups are left out: {}", image.name, chain(&error));
                return Ok(entry);
            }
        };
        let entry = look_up(wanted, &passwd, &group)?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST_KEPT {
            found.remove(0);
        }
        found.push((image.chain_id.clone(), wanted.clone(), entry.clone()));
        Ok(entry)
    }

    /// The image's /etc/passwd and /etc/group; empty where it has none.
    async fn files(&self, image: &Image, wanted: &Wanted, id: &str) -> Result<[String; 2], Error> {
        if image.chain_id.is_empty() {
            return Ok(Default::default());
        }
        let key = format!("{id}-users");
        let failed = |source| Error::Snapshot { user: wanted.user.clone(), source };
        let mounts =
            self.client.ensure_snapshot(&self.snapshotter, &key, &image.chain_id, &Labels::new()).await;
        let mounts = mounts.map_err(failed)?;
        let at = self.at.clone();
        let read = smol::unblock(move || {
            let [mount] = mounts.as_slice() else {
                return Err(io::Error::other("its snapshot is not one mount"));
            };
            let source = Source { kind: &mount.kind, source: &mount.source, options: &mount.options };
            rootfs::read(source, &at, &["/etc/passwd", "/etc/group"], LARGEST)
        })
        .await;
        // One that stays is nobody's: containerd collects it.
        let removed = self.client.remove_snapshot(&self.snapshotter, &key).await;
        let read = read.map_err(|source| Error::Read { user: wanted.user.clone(), source })?;
        removed.map_err(failed)?;
        let mut texts =
            read.into_iter().map(|file| String::from_utf8_lossy(&file.unwrap_or_default()).into_owned());
        Ok([texts.next().unwrap_or_default(), texts.next().unwrap_or_default()])
    }
}

impl Wanted {
    /// Without any files; None: it takes them.
    fn number(&self) -> Option<Entry> {
        let group = self.group.as_deref().map_or(Some(0), number)?;
        Some(Entry { uid: number(&self.user)?, gid: group, member_of: Vec::new() })
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number <= i32::MAX as u32)
}

/// The container's securityContext wins over the pod's, and both over the image. The image's group belongs
/// to its user.
fn wanted(pod: &Object, container: &Value, image: &str) -> Result<Wanted, Error> {
    let own = |field: &str| {
        let own = container.pointer(&format!("/securityContext/{field}")).filter(|value| !value.is_null());
        own.or_else(|| pod.at(&format!("/spec/securityContext/{field}")))
    };
    // A number that is none of a user must not be looked up as a name.
    const MOST: u64 = i32::MAX.unsigned_abs() as u64;
    let id = |field: &str| own(field).and_then(Value::as_u64).map(|id| id.min(MOST));
    let (image_user, image_group) = image.split_once(':').unwrap_or((image, ""));
    if own("runAsNonRoot") == Some(&Value::Bool(true)) {
        let of = format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid());
        let name = container.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
        match (id("runAsUser"), number(image_user)) {
            (Some(0), _) => return Err(Error::BreaksPolicy { pod: of, container: name }),
            (Some(_), _) => {}
            (None, Some(0)) => return Err(Error::ImageRunsAsRoot { pod: of, container: name }),
            (None, Some(_)) => {}
            (None, None) if image_user.is_empty() => {
                return Err(Error::ImageRunsAsRoot { pod: of, container: name });
            }
            (None, None) => {
                return Err(Error::NotVerifiable { user: image_user.to_owned(), pod: of, container: name });
            }
        }
    }
    let user = match id("runAsUser") {
        Some(id) => id.to_string(),
        None if image_user.is_empty() => "0".to_owned(),
        None => image_user.to_owned(),
    };
    let of_image = || (!image_group.is_empty() && id("runAsUser").is_none()).then(|| image_group.to_owned());
    Ok(Wanted { user, group: id("runAsGroup").map(|id| id.to_string()).or_else(of_image) })
}

/// passwd(5) and group(5). A line that is none of theirs is passed over.
fn look_up(wanted: &Wanted, passwd: &str, group: &str) -> Result<Entry, Error> {
    let uid = number(&wanted.user);
    let mut users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, number(fields.nth(1)?)?, number(fields.next()?)?))
    });
    let known = users.find(|(name, id, _)| match uid {
        Some(uid) => *id == uid,
        None => *name == wanted.user,
    });
    let (name, uid, own_group) = match (known, uid) {
        (Some(known), _) => known,
        (None, Some(uid)) => ("", uid, 0),
        (None, None) => return Err(Error::NoUser { user: wanted.user.clone() }),
    };
    let groups: Vec<(&str, u32, &str)> = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, number(fields.nth(1)?)?, fields.next().unwrap_or("")))
        })
        .collect();
    let gid = match wanted.group.as_deref() {
        None => own_group,
        Some(text) => match (number(text), groups.iter().find(|(name, ..)| *name == text)) {
            (Some(gid), _) | (None, Some(&(_, gid, _))) => gid,
            (None, None) => return Err(Error::NoGroup { group: text.to_owned() }),
        },
    };
    let has_member = |members: &str| !name.is_empty() && members.split(',').any(|member| member == name);
    let member_of = groups.iter().filter(|(.., members)| has_member(members)).map(|(_, gid, _)| *gid);
    Ok(Entry { uid, gid, member_of: member_of.collect() })
}

/// The groups: the image's, unless the pod wants its own only, then `supplementalGroups` and `fsGroup`.
fn user(pod: &Object, entry: Entry, is_strict: bool) -> User {
    let mut groups = vec![entry.gid];
    let own = pod.array_at("/spec/securityContext/supplementalGroups").iter();
    let own = own.chain(pod.at("/spec/securityContext/fsGroup")).filter_map(Value::as_u64);
    let own = own.filter_map(|group| u32::try_from(group).ok());
    for group in entry.member_of.into_iter().filter(|_| !is_strict).chain(own) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    User { uid: entry.uid, gid: entry.gid, groups }
}

impl Error {
    /// Why the container waits.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::BreaksPolicy { .. } | Error::ImageRunsAsRoot { .. } | Error::NotVerifiable { .. } => {
                "CreateContainerConfigError"
            }
            _ => "CreateContainerError",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INSTEAD: &str = "set securityContext.runAsUser to do without";
        match self {
            Error::BreaksPolicy { pod, container } => write!(
                f,
                "container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})"
            ),
            Error::ImageRunsAsRoot { pod, container } => write!(
                f,
                "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})"
            ),
            Error::NotVerifiable { user, pod, container } => write!(
                f,
                "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root \
                 (pod: \"{pod}\", container: {container})"
            ),
            Error::NoUser { user } => write!(f, "the image's /etc/passwd has no user `{user}`: {INSTEAD}"),
            Error::NoGroup { group } => {
                write!(
                    f,
                    "the image's /etc/group has no group `{group}`: set securityContext.runAsGroup to do without"
                )
            }
            Error::Snapshot { user, .. } | Error::Read { user, .. } => {
                write!(f, "failed to look the user `{user}` up in the image ({INSTEAD})")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Snapshot { source, .. } => Some(source),
            Error::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
