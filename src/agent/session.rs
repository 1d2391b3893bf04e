//! The agent's end of the link: dial, join, stay connected.

use std::convert::Infallible;
use std::path::PathBuf;

use futures_lite::Stream;

use crate::Executor;
use crate::http::Url;
use crate::link::{self, HelloPod, StreamRequest, ToAgent, ToServer};
use crate::token::JoinToken;

/// Who an agent is, and whom it dials.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    /// Tried in turn. At least one.
    pub servers: Vec<Url>,
    pub token: Option<JoinToken>,
    /// `<data>/agent`: holds `node-key` (0600) and `server-ca.crt`.
    pub folder: PathBuf,
    pub boot_id: String,
    /// Set the machine's clock from the server's, if it is plainly wrong (before 2026): for boards
    /// without a clock. Never in tests.
    pub set_clock: bool,
}

/// The agent's core as the session sees it; `agent::outbox::Outbox` is it. Nothing here blocks.
///
/// After each connect: [`Core::hello`], then `receive(Welcome)`, then [`Core::reconnected`], then
/// [`Core::next`] and `receive` as messages come. What was lost with a connection is said again after the
/// next `reconnected`.
pub trait Core: Send + Sync {
    /// The pods for [`link::Hello`].
    fn hello(&self) -> Vec<HelloPod>;
    /// What to say next; waits while there is nothing. Cancel-safe: nothing is lost when it is dropped.
    fn next(&self) -> impl Future<Output = ToServer> + Send;
    /// Say everything again.
    fn reconnected(&self);
    fn receive(&self, message: ToAgent);
    /// Serves a stream in a task of the core's.
    fn open(&self, request: StreamRequest, stream: link::Stream);
}

/// Why a session can never succeed. `Display` names the way out.
#[derive(Debug)]
pub struct Error {}

/// Stays connected: dials, joins if it must, redials for ever. Ends only with an error: a permanent refusal
/// before the node ever joined, or a revoked node key. `changes` yields when the network changed: then the
/// link is probed, and redialled at once if it is dead.
pub async fn run(
    options: Options,
    core: impl Core,
    changes: impl Stream<Item = ()> + Send + Unpin,
    executor: Executor,
) -> Result<Infallible, Error> {
    let _ = (options, core, changes, executor);
    todo!()
}
