//! What probes and lifecycle hooks do: exec, httpGet, tcpSocket, grpc, sleep.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::Timer;

use super::exec::{self, Ran};
use super::status::go_duration;
use crate::api::discovery::KUBERNETES;
use crate::chain;
use crate::containerd::Client;

pub(super) mod dial;
mod grpc;
mod http;
mod url;

/// What is kept of what a program or a server says.
const MAX_OUTPUT: usize = 10 << 10;

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

/// What a probe found. The texts are the kubelet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// A success that somebody should look at.
    Warning(String),
    Failed(String),
    /// It could not be found out: says nothing about the container.
    Errored {
        result: &'static str,
        message: String,
    },
}

/// Where an action connects to, and with what.
enum Action<'a> {
    Exec(&'a Value),
    Http(&'a Value),
    Tcp(&'a Value),
    Grpc(&'a Value),
    Sleep(u64),
    None,
}

impl Action<'_> {
    fn of(action: &Value) -> Action<'_> {
        let member = |name| action.get(name).filter(|value: &&Value| !value.is_null());
        if let Some(exec) = member("exec") {
            Action::Exec(exec)
        } else if let Some(get) = member("httpGet") {
            Action::Http(get)
        } else if let Some(socket) = member("tcpSocket") {
            Action::Tcp(socket)
        } else if let Some(grpc) = member("grpc") {
            Action::Grpc(grpc)
        } else if let Some(sleep) = member("sleep") {
            Action::Sleep(sleep.get("seconds").and_then(Value::as_u64).unwrap_or(0))
        } else {
            Action::None
        }
    }
}

impl Handlers {
    /// Does what `action`, a LifecycleHandler (its one member `exec`, `httpGet`, `tcpSocket` or `sleep`), says,
    /// within `limit`. Dropping it ends what it began.
    pub async fn run(&self, action: &Value, target: &Target<'_>, limit: Duration) -> Result<(), Failure> {
        let done = match Action::of(action) {
            Action::Exec(exec) => self.run_command(exec, target, limit).await,
            Action::Http(get) => Box::pin(http::hook(get, target, limit)).await,
            Action::Tcp(socket) => match Box::pin(connect(socket, target, limit)).await {
                Outcome::Success | Outcome::Warning(_) => Ok(()),
                Outcome::Failed(message) | Outcome::Errored { message, .. } => Err(message),
            },
            Action::Sleep(seconds) => {
                let seconds = Duration::from_secs(seconds);
                Timer::after(seconds.min(limit)).await;
                if seconds > limit {
                    Err("container terminated before sleep hook finished".into())
                } else {
                    Ok(())
                }
            }
            Action::Grpc(_) | Action::None => Err("invalid handler".into()),
        };
        done.map_err(|message| Failure { message })
    }

    async fn run_command(&self, action: &Value, target: &Target<'_>, limit: Duration) -> Result<(), String> {
        let command = command(action);
        let shown = command.join(" ");
        match self.execute(&command, target, limit).await {
            Ok(ran) if ran.code == 0 => Ok(()),
            Ok(ran) => {
                let output = String::from_utf8_lossy(&ran.output);
                Err(format!("command '{shown}' exited with {}: {output}", ran.code))
            }
            Err(exec::Error::TimedOut(after)) => Err(timed_out(&shown, after)),
            Err(error) => Err(chain(&error)),
        }
    }

    async fn execute(
        &self,
        command: &[String],
        target: &Target<'_>,
        limit: Duration,
    ) -> Result<Ran, exec::Error> {
        exec::run(&self.client, &self.run_dir, target.container_id, command, limit, MAX_OUTPUT).await
    }

    /// Does what `probe` (its one member `exec`, `httpGet`, `tcpSocket` or `grpc`) says, within `limit`. Dropping
    /// it ends what it began.
    pub async fn probe(&self, probe: &Value, target: &Target<'_>, limit: Duration) -> Outcome {
        match Action::of(probe) {
            Action::Exec(exec) => self.probe_command(exec, target, limit).await,
            Action::Http(get) => Box::pin(http::probe(get, target, limit)).await,
            Action::Tcp(socket) => Box::pin(connect(socket, target, limit)).await,
            Action::Grpc(grpc) => Box::pin(grpc::probe(grpc, target, limit)).await,
            Action::Sleep(_) | Action::None => Outcome::unknown("missing probe handler"),
        }
    }

    async fn probe_command(&self, action: &Value, target: &Target<'_>, limit: Duration) -> Outcome {
        let command = command(action);
        match self.execute(&command, target, limit).await {
            Ok(ran) if ran.code == 0 => Outcome::Success,
            Ok(ran) => Outcome::Failed(String::from_utf8_lossy(&ran.output).into_owned()),
            Err(exec::Error::TimedOut(after)) => Outcome::Failed(timed_out(&command.join(" "), after)),
            Err(error) => Outcome::unknown(chain(&error)),
        }
    }
}

impl Outcome {
    fn unknown(message: impl Into<String>) -> Outcome {
        Outcome::Errored { result: "unknown", message: message.into() }
    }
}

impl Target<'_> {
    /// `host` of the action, or the pod's address.
    fn host(&self, action: &Value) -> Result<String, String> {
        match text(action, "host") {
            "" => self.pod_ip.map(|ip| ip.to_string()).ok_or_else(|| "the pod has no address".to_owned()),
            host => Ok(host.to_owned()),
        }
    }

    /// `port` of the action: a number, or the name of one of the container's ports.
    fn port(&self, action: &Value) -> Result<u16, String> {
        let number = match action.get("port") {
            Some(Value::String(name)) => {
                let ports = self.container.get("ports").and_then(Value::as_array);
                let named = ports.into_iter().flatten().find(|port| text(port, "name") == name);
                match named.and_then(|port| port.get("containerPort")?.as_i64()) {
                    Some(number) => number,
                    None => {
                        name.parse().map_err(|_| format!("strconv.Atoi: parsing {name:?}: invalid syntax"))?
                    }
                }
            }
            other => other.and_then(Value::as_i64).unwrap_or(0),
        };
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("invalid port number: {number}")),
        }
    }
}

/// A connection that is made is all that is asked for.
async fn connect(action: &Value, target: &Target<'_>, limit: Duration) -> Outcome {
    let (host, port) = match (target.host(action), target.port(action)) {
        (Ok(host), Ok(port)) => (host, port),
        (Err(message), _) | (_, Err(message)) => return Outcome::unknown(message),
    };
    let late = format!("dial tcp {}: i/o timeout", dial::authority(&host, port));
    let connected = dial::within(Instant::now() + limit, &late, dial::dial(&host, port));
    connected.await.map_or_else(Outcome::Failed, |_| Outcome::Success)
}

fn command(action: &Value) -> Vec<String> {
    let words = action.get("command").and_then(Value::as_array);
    words.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn timed_out(command: &str, after: Duration) -> String {
    format!("command timed out: {command:?} timed out after {}", go_duration(after))
}

/// A member of a map as text; "" when absent.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// `kube-probe/1.37`, `kube-lifecycle/1.37`.
fn user_agent(purpose: &str) -> String {
    let (major, minor, _) = KUBERNETES;
    format!("kube-{purpose}/{major}.{minor}")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
