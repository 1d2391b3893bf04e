//! What the node remembers of a pod (`state.json`): how its containers ended, their attempts, back-off and
//! the times of its conditions. Whatever runs is observed, not remembered.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::api::time;
use crate::plan;
use crate::sys::file;

/// The version of the file; a later midge reads earlier ones.
const VERSION: u32 = 1;

/// The exit code of a container whose end nobody saw, as the kubelet has it.
const LOST_CODE: u32 = 255;

/// That of a process which SIGTERM has ended.
pub const TERMINATED_CODE: u32 = 128 + 15;

/// A time in a file: RFC 3339 with nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub SystemTime);

impl Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::format_nano(self.0))
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Stamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        time::parse(&text).map(Stamp).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    version: u32,
    /// When the node took the pod.
    pub start_time: Option<Stamp>,
    pub termination: Option<Termination>,
    /// The node has ended the pod by itself.
    pub failure: Option<Failure>,
    /// Which of its sandboxes the pod has: one more each time that an earlier one has been used.
    pub sandbox: u32,
    /// The pod's addresses; kept after the sandbox of an ended pod is gone.
    pub ips: Vec<IpAddr>,
    pub containers: BTreeMap<String, Container>,
    /// By type.
    pub conditions: BTreeMap<String, Condition>,
}

/// The pod's end. The node's own clock counts: the server's may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    pub since: Stamp,
    pub grace_seconds: u64,
}

/// Why a pod has failed whatever its containers say, and until when these have time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// `Evicted`, `DeadlineExceeded`, `Terminated`.
    pub reason: String,
    pub message: String,
    pub termination: Termination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub status: bool,
    pub since: Stamp,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// The latest attempt that was started.
    pub current: Option<Attempt>,
    /// How the one before it ended.
    pub last: Option<Attempt>,
    /// Seconds that the next restart waits.
    pub back_off: u64,
    /// The sandbox that `current` was started in: [`Record::sandbox`] at that time.
    pub sandbox: u32,
    /// What the probes of `current` said last; None until they were asked.
    pub seen: Option<Seen>,
    /// The image of `current` as the specification had it.
    pub asked: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub started: bool,
    pub ready: bool,
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub number: u32,
    /// containerd's id.
    pub id: String,
    /// The image's full name, and its id as in `status.containerStatuses[].imageID`.
    pub image: String,
    pub image_id: String,
    /// Its own, its image's or SIGTERM; 0 where an earlier midge wrote it.
    #[serde(default)]
    pub stop_signal: u32,
    pub started: Option<Stamp>,
    pub exit: Option<Exit>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    pub code: u32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    #[serde(default)]
    pub message: String,
    pub finished: Stamp,
    /// Nobody saw it, or it was asked for: the machine was restarted.
    #[serde(default)]
    pub lost: bool,
}

#[derive(Debug)]
pub enum Error {
    Read { path: PathBuf, source: io::Error },
    Parse { path: PathBuf, source: serde_json::Error },
    Later { path: PathBuf, version: u32 },
    Write { path: PathBuf, source: io::Error },
}

impl Exit {
    /// The exit of a process whose end was seen. Killed by a signal gives 128 + its number.
    pub fn seen(code: u32, finished: SystemTime, oom: bool) -> Exit {
        let reason = match code {
            _ if oom => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        Exit { code, reason: reason.into(), message: String::new(), finished: Stamp(finished), lost: false }
    }

    /// The container could not be started.
    pub fn not_started(message: String, now: SystemTime) -> Exit {
        let reason = "StartError".into();
        Exit { code: 128, reason, message, finished: Stamp(now), lost: false }
    }

    /// It was told to end since the machine goes down. That says nothing about it: it starts again at once, also one
    /// that ends well when it is told to.
    pub fn interrupted(&mut self, policy: plan::pod::RestartPolicy) {
        self.lost = true;
        if policy == plan::pod::RestartPolicy::OnFailure && self.code == 0 {
            (self.code, self.reason) = (TERMINATED_CODE, "Error".into());
        }
    }

    /// Its task is gone, and with it how it ended.
    pub fn lost(now: SystemTime) -> Exit {
        Exit {
            code: LOST_CODE,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            finished: Stamp(now),
            lost: true,
        }
    }
}

impl Attempt {
    /// As [`plan::pod`] needs it.
    pub fn planned_exit(&self) -> Option<plan::pod::Exit> {
        let exit = self.exit.as_ref()?;
        Some(plan::pod::Exit {
            code: exit.code,
            started: self.started.map(|stamp| stamp.0),
            finished: exit.finished.0,
            lost: exit.lost,
        })
    }
}

impl Container {
    /// A new attempt has started; the one before it becomes the last.
    pub fn started(&mut self, attempt: Attempt, back_off: Duration) {
        if let Some(previous) = self.current.take().filter(|current| current.number != attempt.number) {
            self.last = Some(previous);
        }
        self.current = Some(attempt);
        self.back_off = back_off.as_secs();
        self.seen = None;
    }
}

impl Termination {
    fn kill_at(self) -> SystemTime {
        // A grace that no clock can hold is as good as ten years.
        self.since.0 + Duration::from_secs(self.grace_seconds.min(10 * 365 * 86_400))
    }
}

impl Record {
    /// The deletion's state after the server asked for `grace_seconds`: it may get shorter, never
    /// longer.
    pub fn terminate(&mut self, grace_seconds: u64, now: SystemTime) {
        let termination = self.termination.get_or_insert(Termination { since: Stamp(now), grace_seconds });
        let passed = now.duration_since(termination.since.0).unwrap_or_default().as_secs();
        if termination.since.0 > now {
            // The clock was set back.
            termination.since = Stamp(now);
        }
        termination.grace_seconds = termination.grace_seconds.min(passed.saturating_add(grace_seconds));
    }

    /// Whether the pod is deleted or has failed: nothing is started any more.
    pub fn is_ending(&self) -> bool {
        self.termination.is_some() || self.failure.is_some()
    }

    /// When what still runs is killed, of a pod that is deleted or has failed.
    pub fn kill_at(&self) -> Option<SystemTime> {
        let failure = self.failure.as_ref().map(|failure| failure.termination);
        self.termination.into_iter().chain(failure).map(Termination::kill_at).min()
    }

    /// The pod is to have a new sandbox. Returns whether the record has changed.
    pub fn renew_sandbox(&mut self) -> bool {
        let mut attempts = self.containers.values().filter(|container| container.current.is_some());
        let is_used = attempts.any(|container| container.sandbox == self.sandbox);
        self.sandbox = self.sandbox.wrapping_add(u32::from(is_used));
        is_used
    }

    /// An attempt of the container `name` has started in the pod's sandbox.
    pub fn started(&mut self, name: &str, attempt: Attempt, back_off: Duration, asked: &str) {
        let container = self.containers.entry(name.to_owned()).or_default();
        container.started(attempt, back_off);
        container.sandbox = self.sandbox;
        asked.clone_into(&mut container.asked);
    }

    /// Reads the record in a pod's folder; a new one when there is none.
    pub fn load(folder: &Path) -> Result<Record, Error> {
        let path = folder.join("state.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(source) => return Err(Error::Read { path, source }),
            Ok(text) => text,
        };
        let record: Record =
            serde_json::from_slice(&text).map_err(|source| Error::Parse { path: path.clone(), source })?;
        if record.version > VERSION {
            return Err(Error::Later { path, version: record.version });
        }
        Ok(record)
    }

    /// Writes it durably.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("state.json");
        let record = Record { version: VERSION, ..self.clone() };
        let write = || {
            let text = serde_json::to_vec(&record)?;
            file::create_private_folder(folder)?;
            file::write_atomic(&path, &text, 0o600)
        };
        write().map_err(|source| Error::Write { path: path.clone(), source })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Parse { path, .. } => write!(f, "failed to parse `{}`", path.display()),
            Error::Later { path, version } => {
                write!(f, "`{}` has version {version}: it was written by a later midge", path.display())
            }
            Error::Write { path, .. } => write!(f, "failed to write `{}`", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { source, .. } | Error::Write { source, .. } => Some(source),
            Error::Parse { source, .. } => Some(source),
            Error::Later { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_on_disk() {
        let folder = std::env::temp_dir().join(format!("midge-record-{}", std::process::id()));
        assert_eq!(Record::load(&folder).unwrap(), Record::default());
        let now = SystemTime::now();
        let attempt = |number, exit| Attempt {
            number,
            id: format!("c{number}"),
            image: "docker.io/library/web:1".into(),
            image_id: "sha256:1".into(),
            stop_signal: 15,
            started: Some(Stamp(now)),
            exit,
        };
        let mut record = Record { version: VERSION, start_time: Some(Stamp(now)), ..Record::default() };
        let container = record.containers.entry("web".into()).or_default();
        container.started(attempt(0, None), Duration::ZERO);
        container.started(attempt(0, Some(Exit::seen(137, now, true))), Duration::ZERO);
        assert_eq!(container.last, None);
        container.started(attempt(1, None), Duration::from_secs(10));
        assert_eq!(container.last.as_ref().unwrap().exit.as_ref().unwrap().reason, "OOMKilled");
        record.save(&folder).unwrap();
        assert_eq!(Record::load(&folder).unwrap(), record);
        fs::write(folder.join("state.json"), r#"{"version":9}"#).unwrap();
        assert!(matches!(Record::load(&folder), Err(Error::Later { version: 9, .. })));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn grace_gets_shorter_never_longer() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut record = Record::default();
        record.terminate(30, at(100));
        record.terminate(60, at(110));
        assert_eq!(record.kill_at(), Some(at(130)));
        record.terminate(5, at(110));
        assert_eq!(record.kill_at(), Some(at(115)));
        record.terminate(30, at(50));
        assert_eq!(record.kill_at(), Some(at(65)));
    }
}
