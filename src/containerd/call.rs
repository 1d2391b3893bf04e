//! One gRPC call: requests up, answers down, a status at the end.

use std::future::{Future, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::StatusCode;
use prost::Message;

use super::Error;
use super::frame::{self, BadFrame, Frames, Outcome};

/// containerd's own limit for a message.
const MESSAGE_LIMIT: usize = 16 << 20;

/// For calls that return many messages.
pub const LIST_LIMIT: Duration = Duration::from_secs(60);

/// What is not there is an answer, not a failure.
pub fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A method by its path, `/package.Service/Method`.
#[derive(Clone, Copy)]
pub struct Method(pub &'static str);

impl Method {
    /// `Service/Method`, for messages.
    pub fn name(self) -> &'static str {
        self.0.rsplit('.').next().unwrap_or(self.0)
    }
}

/// Gives up after `limit`; dropping the work resets its stream.
pub async fn within<T>(
    call: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    future::or(work, async {
        smol::Timer::after(limit).await;
        Err(Error::Deadline { call, after: limit })
    })
    .await
}

/// The requests of one call.
pub struct Requests {
    call: &'static str,
    stream: SendStream<Bytes>,
}

impl Requests {
    pub fn new(call: &'static str, stream: SendStream<Bytes>) -> Requests {
        Requests { call, stream }
    }

    /// Sends one message as containerd's window opens, so that no more than it is kept here. With `last`
    /// it ends the requests.
    pub async fn send(&mut self, message: &impl Message, last: bool) -> Result<(), Error> {
        let call = self.call;
        let mut bytes = frame::encode(message);
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(Ok(room)) => room.min(bytes.len()),
                Some(Err(source)) => return Err(Error::Transport { call, source }),
                None => return Err(Error::Protocol { call, problem: "ended before the request was sent" }),
            };
            let piece = bytes.split_to(room);
            self.stream
                .send_data(piece, last && bytes.is_empty())
                .map_err(|source| Error::Transport { call, source })?;
        }
        Ok(())
    }
}

/// The answers of one call.
pub struct Answers {
    call: &'static str,
    state: State,
    frames: Frames,
    limit: usize,
}

enum State {
    /// Headers may come with the first message only: containerd's event service sends none before.
    Headers(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Over,
}

impl Answers {
    pub fn new(call: &'static str, response: ResponseFuture) -> Answers {
        Answers::bounded(call, response, MESSAGE_LIMIT)
    }

    /// For a server whose answers are `limit` bytes at most.
    pub fn bounded(call: &'static str, response: ResponseFuture, limit: usize) -> Answers {
        Answers { call, state: State::Headers(response), frames: Frames::new(limit), limit }
    }

    /// The next message; `None` after the last, when the call has succeeded. Cancel-safe: all progress is
    /// kept in `self`.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Error> {
        let call = self.call;
        loop {
            match self.frames.next() {
                Ok(Some(bytes)) => {
                    return M::decode(bytes).map(Some).map_err(|source| Error::Decode { call, source });
                }
                Ok(None) => {}
                Err(BadFrame::TooLarge) => return Err(Error::TooLarge { call, limit: self.limit }),
                Err(BadFrame::Compressed) => return Err(Error::Protocol { call, problem: "is compressed" }),
            }
            match &mut self.state {
                State::Headers(response) => {
                    let response = response.await.map_err(|source| Error::Transport { call, source })?;
                    if response.status() != StatusCode::OK {
                        return Err(Error::Protocol { call, problem: "is not gRPC" });
                    }
                    // An answer of trailers only has its status in the headers.
                    match frame::outcome(response.headers()) {
                        Some(outcome) => return self.end(outcome),
                        None => self.state = State::Body(response.into_body()),
                    }
                }
                State::Body(body) => match body.data().await {
                    Some(Ok(bytes)) => {
                        self.frames.push(&bytes);
                        body.flow_control()
                            .release_capacity(bytes.len())
                            .map_err(|source| Error::Transport { call, source })?;
                    }
                    Some(Err(source)) => return Err(Error::Transport { call, source }),
                    None => match std::mem::replace(&mut self.state, State::Over) {
                        State::Body(body) => self.state = State::Trailers(body),
                        other => self.state = other,
                    },
                },
                State::Trailers(body) => {
                    let trailers =
                        body.trailers().await.map_err(|source| Error::Transport { call, source })?;
                    return match trailers.as_ref().and_then(frame::outcome) {
                        Some(outcome) => self.end(outcome),
                        None => Err(Error::Protocol { call, problem: "ended without a status" }),
                    };
                }
                State::Over => return Ok(None),
            }
        }
    }

    fn end<M>(&mut self, outcome: Outcome) -> Result<Option<M>, Error> {
        let call = self.call;
        self.state = State::Over;
        match outcome {
            Outcome::Failed(code, message) => Err(Error::Status { call, code, message }),
            Outcome::Ok if !self.frames.is_empty() => {
                Err(Error::Protocol { call, problem: "ended in the middle of a message" })
            }
            Outcome::Ok => Ok(None),
        }
    }
}
