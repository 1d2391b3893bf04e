//! The agent's end of the link: dial, join, stay connected.
//!
//! ```text
//! no CA yet → /cacerts, unverified → its hash is the token's? → pinned from here on
//! pinned → GET /v1-midge/connect with node key (or token) → Hello → Welcome → key saved → both directions
//! lost → full jitter, or at once when the network changed → the next server
//! ```

mod clock;
mod dial;
mod error;
mod identity;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_lite::{Stream, StreamExt, future};
use smol::Timer;

pub use error::Error;

use self::dial::Failure;
use self::identity::Identity;
use crate::Executor;
use crate::http::Url;
use crate::link::{
    self, Closed, Connection, Hello, HelloPod, PROTOCOL, Received, StreamRequest, ToAgent, ToServer, Welcome,
    close,
};
use crate::sys::notify;
use crate::token::{JoinToken, random};

/// The longest pause between two dials.
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// How long a server may take for its Welcome.
const WELCOME: Duration = Duration::from_secs(15);
/// How long the link has to prove itself after a change of the network.
const PROBE: Duration = Duration::from_secs(3);

/// Who an agent is, and whom it dials.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    /// Tried in turn. At least one.
    pub servers: Vec<Url>,
    pub token: Option<JoinToken>,
    /// `<data>/agent`: holds `node-key` and `server-ca.crt` (0600 both).
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
    /// Where the link goes to that is up.
    fn server(&self, _server: &Url) {}
    /// What became of the link: the server that was told of the node over it, or why there is none.
    fn link(&self, _link: Result<&Url, &str>) {}
    /// Serves a stream in a task of the core's.
    fn open(&self, request: StreamRequest, stream: link::Stream);
}

/// Stays connected: dials, joins if it must, redials for ever. Ends only with an error: a permanent refusal
/// before the node ever joined, or a revoked node key. `changes` yields when the network changed: then the
/// link is probed, and redialled at once if it is dead.
pub async fn run(
    options: Options,
    core: impl Core,
    changes: impl Stream<Item = ()> + Send + Unpin,
    executor: Executor,
) -> Result<Infallible, Error> {
    let identity = identity::load(&options).await?;
    let session = Session { identity, core, executor, turn: 0, warned: String::new(), refusals: 0, options };
    session.run(changes).await
}

struct Session<C> {
    options: Options,
    core: C,
    executor: Executor,
    identity: Identity,
    /// Whose turn it is to be dialled.
    turn: usize,
    /// The last warning: it is not repeated.
    warned: String,
    /// Permanent refusals in a row.
    refusals: usize,
}

impl<C: Core> Session<C> {
    async fn run(mut self, mut changes: impl Stream<Item = ()> + Send + Unpin) -> Result<Infallible, Error> {
        let mut ever_connected = false;
        let mut failures = 0_u32;
        self.core.link(Err(&format!("it dials {}", self.options.servers[0])));
        loop {
            let url = self.options.servers[self.turn % self.options.servers.len()].clone();
            // A dial that hangs since before the network changed is begun anew instead of being waited for.
            let stale = async {
                changed(&mut changes).await;
                Timer::after(Duration::from_secs(1)).await;
                None
            };
            let dial = async { Some(Box::pin(self.dial(&url)).await) };
            let Some(outcome) = future::or(dial, stale).await else {
                failures = 0;
                continue;
            };
            self.turn = self.turn.wrapping_add(1);
            match outcome {
                Ok((connection, welcome)) => {
                    ever_connected = true;
                    self.refusals = 0;
                    self.warned.clear();
                    log::info!("connected to {url} (midge {})", welcome.server_version);
                    notify::ready();
                    let begun = Instant::now();
                    let why = self.converse(&connection, &url, welcome, &mut changes).await;
                    drop(connection);
                    self.core.link(Err(&crate::chain(&why)));
                    match why {
                        Closed::Peer { code: close::REVOKED, .. } => return Err(self.revoked()),
                        Closed::Peer { code: close::REPLACED, reason } => {
                            // Two agents with one key: taking turns at once would never end.
                            log::warn!(
                                "the link was closed: {reason}; is another agent running with this node's key?"
                            );
                            failures = failures.max(6);
                        }
                        why => log::warn!("link lost: {}", crate::chain(&why)),
                    }
                    // A link that held is no failure; one that is lost again and again is.
                    failures = if begun.elapsed() > Duration::from_secs(10) { 0 } else { failures + 1 };
                }
                Err(Failure::Revoked { message }) if ever_connected || self.options.token.is_none() => {
                    log::error!("{message}");
                    return Err(self.revoked());
                }
                Err(Failure::Revoked { message }) => {
                    log::warn!("{message}; joining anew with the join token");
                    self.identity.forget();
                    continue;
                }
                Err(Failure::Permanent(error)) if !self.identity.joined() => {
                    self.refusals += 1;
                    // Each server has its say: one of them may be another cluster's.
                    if self.refusals >= self.options.servers.len() {
                        return Err(error);
                    }
                    self.warn(&error);
                    failures += 1;
                }
                Err(Failure::Permanent(error)) => {
                    self.warn(&error);
                    failures += 1;
                }
                Err(Failure::Passing(error)) => {
                    self.refusals = 0;
                    self.warn(&error);
                    failures += 1;
                }
            }
            // The other servers first, without a pause.
            if failures as usize % self.options.servers.len() != 0 {
                continue;
            }
            let changed = async {
                changed(&mut changes).await;
                true
            };
            let paused = async {
                Timer::after(pause(failures)).await;
                false
            };
            if future::or(changed, paused).await {
                failures = 0;
            }
        }
    }

    fn revoked(&self) -> Error {
        Error::Revoked { node: self.options.node_name.clone() }
    }

    /// Once for each new reason, not for each attempt.
    fn warn(&mut self, error: &Error) {
        let text = crate::chain(error);
        self.core.link(Err(&text));
        if self.warned != text {
            log::warn!("{text}; trying again until it works");
            self.warned = text;
        }
    }

    /// From a server's address to a link that both ends agree on, and the node's key saved.
    async fn dial(&mut self, url: &Url) -> Result<(Connection, Welcome), Failure> {
        let connection = dial::connect(&self.options, &mut self.identity, url, &self.executor).await?;
        let lost = |why: Closed| Failure::Passing(Error::Link { server: url.to_string(), source: why });
        let hello = Hello {
            protocol: PROTOCOL,
            version: crate::VERSION.to_owned(),
            boot_id: self.options.boot_id.clone(),
            pods: self.core.hello(),
            tokens: Some(true),
        };
        connection.link().send(ToServer::Hello(hello).encode()).await.map_err(lost)?;
        let first = async {
            loop {
                if let Received::Message(message) = connection.next().await? {
                    return Ok(message);
                }
            }
        };
        let late = async {
            Timer::after(WELCOME).await;
            Err(Closed::Silence(WELCOME))
        };
        let message = match future::or(first, late).await {
            Ok(message) => message,
            Err(Closed::Peer { code: close::VERSION, reason }) => {
                return Err(Failure::Permanent(Error::Refused {
                    server: url.to_string(),
                    code: 400,
                    message: reason,
                }));
            }
            Err(Closed::Peer { code: close::REVOKED, reason }) => {
                return Err(Failure::Revoked { message: reason });
            }
            Err(why) => return Err(lost(why)),
        };
        let Ok(Some(ToAgent::Welcome(mut welcome))) = ToAgent::decode(&message) else {
            return Err(lost(Closed::Protocol("something else than a Welcome")));
        };
        if self.options.set_clock {
            clock::correct(welcome.time);
        }
        if let Some(key) = welcome.node_key.take() {
            self.identity.save(&self.options.folder, key).await.map_err(Failure::Passing)?;
            connection.link().send(ToServer::KeySaved.encode()).await.map_err(lost)?;
            log::info!("joined as node {}", self.options.node_name);
        }
        Ok((connection, welcome))
    }

    /// Both directions at once, so that neither end waits for the other for ever.
    async fn converse(
        &self,
        connection: &Connection,
        url: &Url,
        welcome: Welcome,
        changes: &mut (impl Stream<Item = ()> + Send + Unpin),
    ) -> Closed {
        self.core.server(url);
        self.core.receive(ToAgent::Welcome(welcome));
        self.core.reconnected();
        let link = connection.link();
        let hear = async {
            loop {
                let message = match connection.next().await {
                    Ok(Received::Message(message)) => message,
                    Ok(Received::Open(request, stream)) => {
                        self.core.open(request, stream);
                        continue;
                    }
                    Ok(Received::Alive) => continue,
                    Err(why) => return why,
                };
                match ToAgent::decode(&message) {
                    // Only the first one counts.
                    Ok(Some(ToAgent::Welcome(_)) | None) => log::debug!("a message was skipped"),
                    Ok(Some(message)) => self.core.receive(message),
                    Err(error) => {
                        link.close(close::PROTOCOL, &error.to_string());
                        return link.closed().await;
                    }
                }
            }
        };
        let say = async {
            loop {
                let message = self.core.next().await;
                if let Err(why) = link.send(message.encode()).await {
                    return why;
                }
                if matches!(message, ToServer::Node(_)) {
                    self.core.link(Ok(url));
                }
            }
        };
        let probe = async {
            while changes.next().await.is_some() {
                log::debug!("the network changed: probing the link");
                link.probe(PROBE);
            }
            future::pending().await
        };
        future::or(hear, future::or(say, probe)).await
    }
}

/// Waits for a change of the network.
async fn changed(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    if changes.next().await.is_none() {
        future::pending::<()>().await;
    }
}

/// Full jitter: anything up to a bound that doubles, so that a fleet does not return in step.
fn pause(failures: u32) -> Duration {
    let bound = Duration::from_millis(250 << failures.min(6)).min(MAX_PAUSE);
    let random = random::<4>().map_or(u32::MAX / 2, u32::from_ne_bytes);
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_and_bounded() {
        for failures in [0, 1, 6, 7, u32::MAX] {
            let bound = Duration::from_millis(250 << failures.min(6)).min(MAX_PAUSE);
            let pauses: Vec<Duration> = (0..200).map(|_| pause(failures)).collect();
            assert!(pauses.iter().all(|pause| *pause <= bound));
            assert!(
                pauses.iter().any(|pause| *pause < bound / 4)
                    && pauses.iter().any(|pause| *pause > bound / 2)
            );
        }
    }
}
