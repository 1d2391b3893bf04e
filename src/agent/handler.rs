//! What probes and lifecycle hooks do: exec, httpGet, tcpSocket, grpc, sleep.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::containerd::Client;

/// What doing it needs beside the container.
#[derive(Clone)]
pub struct Handlers {
    pub client: Client,
    pub run_dir: PathBuf,
}

/// The container that it is about.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    pub container_id: &'a str,
    /// Of the pod's specification: its ports have names.
    pub container: &'a Value,
    /// None on a pod without address.
    pub pod_ip: Option<IpAddr>,
}

/// Why it did not succeed, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
}

impl Handlers {
    /// Does what `action` (a Probe or a LifecycleHandler: its one member `exec`, `httpGet`, `tcpSocket`, `grpc` or
    /// `sleep`) says, within `limit`. Dropping it ends what it began.
    pub async fn run(&self, _action: &Value, _target: &Target<'_>, _limit: Duration) -> Result<(), Failure> {
        Err(Failure { message: "not there yet".into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
