//! How the node stands: for `midge status`, by a file in the run folder, and for `systemctl status`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::http::Url;
use crate::sys::notify;
use crate::sys::run_file::RunFile;

/// What is said of the node. `Display` is the line that people read; nothing secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub node: String,
    /// The server that knows what the node is like now.
    pub server: Option<String>,
    /// Why there is no such server.
    pub unlinked: String,
    /// The message of the node's Ready condition, when that is False.
    pub not_ready: Option<String>,
    /// Why the agent has ended by itself.
    pub ended: Option<String>,
}

/// Says it. Whatever changes nothing writes nothing.
#[derive(Clone)]
pub struct Standing(Arc<RunFile<State>>);

impl State {
    pub fn is_ready(&self) -> bool {
        self.ended.is_none() && self.server.is_some() && self.not_ready.is_none()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match (&self.ended, &self.server, &self.not_ready) {
            (Some(why), ..) => write!(f, "node {node} does not run: {why}"),
            (_, None, _) => write!(f, "node {node} is not linked: {}", self.unlinked),
            (_, _, Some(why)) => write!(f, "node {node} is not Ready: {why}"),
            (_, Some(server), _) => write!(f, "node {node} is Ready, linked to {server}"),
        }
    }
}

/// Where an agent with this run folder says it.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("agent.json")
}

impl Standing {
    /// Of an agent that has the lock of its data folder.
    pub fn new(run_dir: &Path, node: &str) -> Standing {
        let state = State { node: node.to_owned(), unlinked: "the agent starts".into(), ..State::default() };
        Standing(Arc::new(RunFile::create(path(run_dir), state)))
    }

    /// The server knows the node as it is, or why there is no link.
    pub fn link(&self, link: Result<&Url, &str>) {
        self.update(|state| {
            state.server = link.ok().map(Url::to_string);
            state.unlinked = link.err().unwrap_or_default().to_owned();
        });
    }

    /// Why pods can't run just now, as the Ready condition says it.
    pub fn ready(&self, trouble: Option<&str>) {
        self.update(|state| state.not_ready = trouble.map(str::to_owned));
    }

    /// The agent ends by itself; that stays to be read.
    pub fn ended(&self, why: &str) {
        self.0.keep();
        self.update(|state| state.ended = Some(why.to_owned()));
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        if self.0.update(change) {
            notify::status(&self.0.state().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_nearest_cause() {
        let mut state =
            State { node: "pi-1".into(), unlinked: "connection refused".into(), ..State::default() };
        assert_eq!(state.to_string(), "node pi-1 is not linked: connection refused");
        state.server = Some("https://10.0.0.1:6443".into());
        assert!(state.is_ready());
        assert_eq!(state.to_string(), "node pi-1 is Ready, linked to https://10.0.0.1:6443");
        state.not_ready = Some("container runtime is down".into());
        assert_eq!(state.to_string(), "node pi-1 is not Ready: container runtime is down");
        state.ended = Some("the node was deleted".into());
        assert_eq!(state.to_string(), "node pi-1 does not run: the node was deleted");
        assert!(!state.is_ready());
    }
}
