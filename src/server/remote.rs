//! `exec`, `attach` and `portforward` of pods: a client's upgraded connection, joined to a stream to the node.
//!
//! ```text
//! GET,  Upgrade: websocket → v5.channel.k8s.io and older → websocket ┐
//! POST, Upgrade: SPDY/3.1  → v4.channel.k8s.io and older → spdy      ├→ session ⇄ link stream (exec, attach)
//! GET,  Upgrade: websocket → SPDY/3.1+portforward.k8s.io ┐           │
//! POST, Upgrade: SPDY/3.1  → portforward.k8s.io          ├→ forward ⇄ a link stream for each connection
//! GET,  Upgrade: websocket → v4.channel.k8s.io, v4.base64.channel.k8s.io ┘
//! ```
//! One task a session. What is under way is bounded by the link's windows: who does not read slows its own
//! session. The session's end, whoever brings it about, ends the stream, and with it what runs on the node.

mod forward;
mod session;
mod target;
mod upgrade;

use self::target::Target;
use super::handlers::Call;
use super::reply::Reply;
use crate::api::Status;
use crate::link::{AttachRequest, ExecRequest, StreamRequest};

/// Answers `pods/NAME/exec`.
///
/// # Errors
/// Before the upgrade: 400, 403 and 404 in upstream's words, 503 when the node is away.
pub async fn exec(call: &Call<'_>) -> Result<Reply, Status> {
    let target = Target::container(call, "exec")?;
    let streams = target::streams(&call.query)?;
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    if command.first().is_none_or(String::is_empty) {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let request = StreamRequest::Exec(ExecRequest {
        namespace: target.namespace,
        pod: target.pod,
        uid: target.uid,
        container: target.container,
        command,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        tty: streams.tty,
    });
    session::begin(call, &target.node, &request, streams).await
}

/// Answers `pods/NAME/attach`.
///
/// # Errors
/// As [`exec`].
pub async fn attach(call: &Call<'_>) -> Result<Reply, Status> {
    let target = Target::container(call, "attach")?;
    let mut streams = target::streams(&call.query)?;
    // A container's terminal is one from its start; the client may only not know it.
    streams.tty |= target.tty;
    streams.stderr &= !streams.tty;
    let request = StreamRequest::Attach(AttachRequest {
        namespace: target.namespace,
        pod: target.pod,
        uid: target.uid,
        container: target.container,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        tty: streams.tty,
    });
    session::begin(call, &target.node, &request, streams).await
}

pub use forward::serve as forward;
