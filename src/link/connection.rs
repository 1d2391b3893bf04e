//! One WebSocket with its driver: a task that reads and writes at the same time, so that neither end can
//! block the other for good, and that notices when the peer has fallen silent.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use async_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error as SocketError, Message};
use bytes::Bytes;
use futures_lite::Stream as _;
use smol::{Task, Timer};

use super::message::{MAX_MESSAGE, StreamRequest};
use super::shared::{Inbound, Shared};
use super::stream::Stream;
use crate::Executor;
use crate::http::Io;

/// Bytes of one WebSocket frame; larger messages are cut, so that buffers stay small and a ping need not
/// wait for the whole of an object on a slow network.
const FRAGMENT: usize = 16 << 10;
/// How long a peer has to take what is queued, and to answer a close.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Which end of a link this is. Only a server opens streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Agent,
    Server,
}

/// When a link is dead.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A ping is sent so often; `None` sends none.
    pub ping: Option<Duration>,
    /// The link is dead when nothing came for so long.
    pub silence: Duration,
}

impl Patience {
    /// A ping every 28 s keeps NAT entries alive (30 s is the least that is seen) and costs less than 20 MB a month.
    pub const AGENT: Self = Self { ping: Some(Duration::from_secs(28)), silence: Duration::from_secs(40) };
    pub const SERVER: Self = Self { ping: None, silence: Duration::from_secs(40) };
}

/// The codes of a close, RFC 6455 section 7.4.
pub mod close {
    /// The server ends, or restarts.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The node was deleted, its key is revoked.
    pub const REVOKED: u16 = 4001;
    /// The node has a newer link.
    pub const REPLACED: u16 = 4002;
    /// The versions do not work together.
    pub const VERSION: u16 = 4003;
}

/// Why a link is over.
#[derive(Clone, Debug)]
pub enum Closed {
    /// Nothing came from the peer for so long.
    Silence(Duration),
    /// The peer did not answer a probe.
    Probe,
    /// The peer closed it, saying why.
    Peer { code: u16, reason: String },
    /// The connection broke.
    Lost(Arc<SocketError>),
    /// The connection ended without a word.
    Ended,
    /// The peer sent what it must not.
    Protocol(&'static str),
    /// This end closed it.
    Here,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence(after) => write!(f, "no word for {} s", after.as_secs()),
            Self::Probe => f.write_str("no answer after a change of the network"),
            Self::Peer { code, reason } if reason.is_empty() => write!(f, "closed by the other end ({code})"),
            Self::Peer { reason, .. } => write!(f, "closed by the other end: {reason}"),
            Self::Lost(_) => f.write_str("the connection broke"),
            Self::Ended => f.write_str("the connection ended"),
            Self::Protocol(what) => write!(f, "the other end sent {what}"),
            Self::Here => f.write_str("closed"),
        }
    }
}

impl std::error::Error for Closed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lost(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl Closed {
    /// A Status object that ends a stream.
    pub(super) fn refusal(code: u16, reason: &str, message: &str) -> String {
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
        )
    }
}

/// What comes from the peer.
#[derive(Debug)]
pub enum Received {
    /// For [`super::ToServer::decode`] or [`super::ToAgent::decode`].
    Message(Bytes),
    /// The server asks something of this agent.
    Open(StreamRequest, Stream),
    /// The peer is there: it sent a ping, and nothing else since this was said last.
    Alive,
}

/// A handle to a link; any number of them.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

/// A link, owned. Dropping it ends the link at once.
pub struct Connection {
    link: Link,
    _driver: Task<()>,
}

impl Connection {
    /// Speaks WebSocket on `io`, after the handshake; `ahead` is what was read past it.
    pub async fn start(
        io: Io,
        ahead: Bytes,
        end: End,
        patience: Patience,
        executor: &Executor,
    ) -> Connection {
        let config = WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_frame_size(Some(4 * FRAGMENT))
            .max_message_size(Some(MAX_MESSAGE));
        let role = match end {
            End::Agent => Role::Client,
            End::Server => Role::Server,
        };
        let socket = WebSocketStream::from_partially_read(io, ahead.to_vec(), role, Some(config)).await;
        let shared = Arc::new(Shared::new(end));
        let now = Instant::now();
        let mut driver = Box::new(Driver {
            socket,
            shared: shared.clone(),
            patience,
            sending: None,
            heard: now,
            next_ping: patience.ping.map(|interval| now + interval),
            ping: false,
            probe: None,
            close_sent: false,
            farewell: None,
            armed: now + patience.silence,
            timer: Timer::at(now + patience.silence),
        });
        let task = executor.spawn(async move {
            let closed = poll_fn(|cx| driver.poll(cx)).await;
            driver.shared.lock().finish(closed);
        });
        Self { link: Link(shared), _driver: task }
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What comes next. Cancel-safe. While it is not called, at most 64 KiB or one message wait; then the
    /// peer has to.
    pub async fn next(&self) -> Result<Received, Closed> {
        let shared = &self.link.0;
        poll_fn(|cx| {
            let mut state = shared.lock();
            match state.take_inbound() {
                Some(Inbound::Message(bytes)) => return Poll::Ready(Ok(Received::Message(bytes))),
                Some(Inbound::Open(request, id)) => {
                    return Poll::Ready(Ok(Received::Open(request, Stream::new(shared.clone(), id))));
                }
                None => {}
            }
            if std::mem::take(&mut state.alive) {
                return Poll::Ready(Ok(Received::Alive));
            }
            if let Some(closed) = &state.closed {
                return Poll::Ready(Err(closed.clone()));
            }
            state.waiting.add(cx);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.0.lock().finish(Closed::Here);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// Queues a message (its encoded bytes, at most [`MAX_MESSAGE`]); waits while too much is queued.
    /// Being queued is no promise that it arrives.
    pub async fn send(&self, message: Vec<u8>) -> Result<(), Closed> {
        if message.len() > MAX_MESSAGE {
            // The peer would close the link, again after each reconnect.
            log::error!("dropped a message of {} bytes: it is too large for the link", message.len());
            return Ok(());
        }
        let mut message = Some(message);
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if let Some(closed) = &state.closed {
                return Poll::Ready(Err(closed.clone()));
            }
            if !state.may_send() {
                state.waiting.add(cx);
                return Poll::Pending;
            }
            if let Some(message) = message.take() {
                state.queue_message(message);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Opens a stream; `None` when the link is over or has [`super::MAX_STREAMS`].
    pub fn open(&self, request: &StreamRequest) -> Option<Stream> {
        let mut state = self.0.lock();
        if state.closed.is_some() || state.closing.is_some() {
            return None;
        }
        let id = state.open(&request.encode())?;
        drop(state);
        Some(Stream::new(self.0.clone(), id))
    }

    /// Closes the link after what is queued, telling the peer why (at most 123 bytes). A peer that takes
    /// nothing, or does not answer, is not waited for: within 2 s the link is over.
    pub fn close(&self, code: u16, reason: &str) {
        let mut state = self.0.lock();
        let deadline = Instant::now() + CLOSE_GRACE;
        state.closing.get_or_insert_with(|| (code, reason.chars().take(60).collect(), deadline));
        state.driver.wake();
    }

    /// Asks the peer for a sign of life; without one within `patience` the link is over.
    pub fn probe(&self, patience: Duration) {
        let mut state = self.0.lock();
        state.probe = Some(patience);
        state.driver.wake();
    }

    /// Waits until the link is over, and says why.
    pub async fn closed(&self) -> Closed {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            match &state.closed {
                Some(closed) => Poll::Ready(closed.clone()),
                None => {
                    state.waiting.add(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

struct Driver {
    socket: WebSocketStream<Io>,
    shared: Arc<Shared>,
    patience: Patience,
    /// What is left of a message that is being sent, and whether its first part is out.
    sending: Option<(Bytes, bool)>,
    heard: Instant,
    next_ping: Option<Instant>,
    /// A ping is due.
    ping: bool,
    /// When a probe fails.
    probe: Option<Instant>,
    /// A close was sent: nothing may follow it.
    close_sent: bool,
    /// What the peer said when it closed.
    farewell: Option<Closed>,
    armed: Instant,
    timer: Timer,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        // First, so that nothing that is queued from here on goes unnoticed.
        self.shared.lock().driver.add(cx);
        // A bound on one turn: other tasks run as well.
        for _ in 0..32 {
            let wrote = match self.poll_write(cx) {
                Ok(wrote) => wrote,
                Err(closed) => return Poll::Ready(closed),
            };
            let read = match self.poll_read(cx) {
                Ok(read) => read,
                Err(closed) => return Poll::Ready(closed),
            };
            if !wrote && !read {
                match self.poll_timer(cx) {
                    Poll::Ready(Some(closed)) => return Poll::Ready(closed),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        // A peer that never pauses does not move the deadlines.
        if let Poll::Ready(Some(closed)) = self.poll_timer(cx) {
            return Poll::Ready(closed);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands the socket one frame, if there is one and it takes one.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        use futures_sink::Sink as _;
        let mut wrote = false;
        if !self.close_sent && self.farewell.is_none() {
            let mut socket = Pin::new(&mut self.socket);
            if let Poll::Ready(ready) = socket.as_mut().poll_ready(cx) {
                ready.map_err(|error| self.lost(error))?;
                if let Some(message) = self.next_frame() {
                    Pin::new(&mut self.socket).start_send(message).map_err(|error| self.lost(error))?;
                    wrote = true;
                }
            }
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(self.lost(error)),
            _ => Ok(wrote),
        }
    }

    fn next_frame(&mut self) -> Option<Message> {
        let mut state = self.shared.lock();
        if let Some(deadline) = state.next_probe(Instant::now()) {
            self.probe = Some(deadline);
            self.ping = true;
        }
        if std::mem::take(&mut self.ping) {
            return Some(Message::Ping(Bytes::new()));
        }
        let (mut rest, begun) = match self.sending.take() {
            Some(sending) => sending,
            None => match state.next_out() {
                Some(message) => (Bytes::from(message), false),
                None => {
                    let (code, reason, _) = state.closing.clone()?;
                    self.close_sent = true;
                    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
                    return Some(Message::Close(Some(frame)));
                }
            },
        };
        let part = rest.split_to(rest.len().min(FRAGMENT));
        let last = rest.is_empty();
        let opcode = OpCode::Data(if begun { Data::Continue } else { Data::Binary });
        if !last {
            self.sending = Some((rest, true));
        }
        Some(Message::Frame(Frame::message(part, opcode, last)))
    }

    /// Takes one message from the socket, if there is one and room for it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        if !self.shared.lock().may_receive() {
            return Ok(false);
        }
        let message = match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(None) if self.close_sent => return Err(Closed::Here),
            Poll::Ready(None) => return Err(self.farewell.take().unwrap_or(Closed::Ended)),
            Poll::Ready(Some(Err(error))) => return Err(self.lost(error)),
            Poll::Ready(Some(Ok(message))) => message,
        };
        self.heard = Instant::now();
        match message {
            Message::Binary(bytes) if !self.close_sent => self.shared.lock().dispatch(bytes)?,
            // Only this answers a probe: what else comes may have been on its way for long.
            Message::Pong(_) => self.probe = None,
            Message::Ping(_) => {
                let mut state = self.shared.lock();
                state.alive = true;
                state.waiting.wake();
            }
            Message::Close(frame) if !self.close_sent => {
                let (code, reason) = frame
                    .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                self.farewell = Some(Closed::Peer { code, reason });
            }
            Message::Text(_) => return Err(Closed::Protocol("a text message")),
            _ => {}
        }
        Ok(true)
    }

    /// Pending: the timer is set and will wake the task. `Ready(None)`: something became due to be sent.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Closed>> {
        let now = Instant::now();
        let silent = self.heard + self.patience.silence;
        let close = self.shared.lock().closing.as_ref().map(|(_, _, deadline)| *deadline);
        if close.is_some_and(|deadline| now >= deadline) {
            return Poll::Ready(Some(Closed::Here));
        }
        if self.probe.is_some_and(|deadline| now >= deadline) {
            return Poll::Ready(Some(Closed::Probe));
        }
        if now >= silent {
            return Poll::Ready(Some(Closed::Silence(self.patience.silence)));
        }
        if let (Some(due), Some(interval)) = (self.next_ping, self.patience.ping) {
            if now >= due {
                self.next_ping = Some(now + interval);
                if !self.close_sent && self.farewell.is_none() {
                    self.ping = true;
                    return Poll::Ready(None);
                }
            }
        }
        let due = [self.next_ping, self.probe, close].into_iter().flatten().fold(silent, Instant::min);
        // Setting a timer costs a lock of the reactor: each message moves `silent`, but later only.
        if due < self.armed || now >= self.armed {
            self.armed = due;
            self.timer.set_at(due);
        }
        match Pin::new(&mut self.timer).poll_next(cx) {
            Poll::Ready(_) => {
                // It was set for something that has moved since: once more, now with the time that is true.
                self.armed = now;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn lost(&mut self, error: SocketError) -> Closed {
        if self.close_sent {
            return Closed::Here;
        }
        if let Some(farewell) = self.farewell.take() {
            return farewell;
        }
        match error {
            SocketError::Capacity(_) => Closed::Protocol("a message that is too large"),
            SocketError::Protocol(_) => Closed::Protocol("what is no WebSocket frame"),
            error => Closed::Lost(Arc::new(error)),
        }
    }
}
