//! SPDY/3.1, the server's end, as far as Kubernetes' clients speak it: streams that the client opens, data both
//! ways, no flow control but TCP's (clients send no WINDOW_UPDATE). On a connection of its own or inside a WebSocket.

mod frame;
mod headers;

use std::io;
use std::sync::{Mutex, PoisonError};

use async_tungstenite::tungstenite::Message;
use bytes::{Buf, Bytes, BytesMut};
use futures_lite::io::{ReadHalf, WriteHalf};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use self::frame::{Control, Head};
use self::headers::{Compress, Decompress};
use super::websocket;
use crate::http::Io;

/// The most bytes that are read at once, and that a [`Event::Data`] has.
const PIECE: usize = 16 << 10;
/// The most bytes of a control frame.
const MAX_CONTROL: usize = 16 << 10;
/// Pings that wait for their answer.
const MAX_PINGS: usize = 8;

/// `RST_STREAM`: the stream is refused before anything was done for it.
pub const REFUSED: u32 = 3;
/// `RST_STREAM`: the stream breaks a rule.
pub const PROTOCOL: u32 = 1;

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A new stream; names of headers are in lower case.
    Open { id: u32, headers: Vec<(String, String)>, fin: bool },
    /// `fin`: it is the last of the stream from there.
    Data { id: u32, data: Bytes, fin: bool },
    /// The stream is over, both ways.
    Reset { id: u32 },
}

/// Where the bytes come from.
enum Source {
    Socket(ReadHalf<Io>),
    Tunnel(websocket::Receiver),
}

/// Where the bytes go.
enum Sink {
    Socket(WriteHalf<Io>),
    Tunnel(websocket::Sender),
}

/// The client's frames.
pub struct Reader {
    source: Source,
    /// What was read and not looked at yet.
    buffer: BytesMut,
    /// The rest of a data frame: stream, bytes, whether it is the stream's last.
    data: Option<(u32, usize, bool)>,
    headers: Decompress,
}

/// This end's frames. Any number of tasks may write, a frame at a time.
pub struct Writer {
    sink: smol::lock::Mutex<(Sink, Compress)>,
    /// Answers that wait for their turn: who reads must not wait for who writes.
    pings: Mutex<Vec<u32>>,
}

/// Speaks SPDY on a connection, or in a WebSocket on it; `ahead` is what was read of it already.
pub async fn connect(tunnel: bool, io: Io, ahead: Bytes) -> (Reader, Writer) {
    let (source, sink, ahead) = match tunnel {
        true => {
            let (sender, receiver) = websocket::open(io, ahead).await;
            (Source::Tunnel(receiver), Sink::Tunnel(sender), Bytes::new())
        }
        false => {
            let (source, sink) = futures_lite::io::split(io);
            (Source::Socket(source), Sink::Socket(sink), ahead)
        }
    };
    let buffer = BytesMut::from(&ahead[..]);
    let reader = Reader { source, buffer, data: None, headers: Decompress::default() };
    let sink = smol::lock::Mutex::new((sink, Compress::default()));
    (reader, Writer { sink, pings: Mutex::default() })
}

impl Reader {
    /// The next event; `None` when the client has gone. What needs no more than an answer gets it through `writer`.
    ///
    /// # Errors
    /// What came is no SPDY, or more than may come.
    pub async fn next(&mut self, writer: &Writer) -> io::Result<Option<Event>> {
        loop {
            if let Some((id, left, fin)) = self.data {
                if left > 0 && self.buffer.is_empty() && !self.fill().await? {
                    return Ok(None);
                }
                let length = left.min(self.buffer.len()).min(PIECE);
                let data = self.buffer.split_to(length).freeze();
                self.data = Some((id, left - length, fin)).filter(|(_, left, _)| *left > 0);
                return Ok(Some(Event::Data { id, data, fin: fin && self.data.is_none() }));
            }
            while self.buffer.len() < frame::HEAD {
                if !self.fill().await? {
                    return Ok(None);
                }
            }
            let head = frame::head(&self.buffer).ok_or_else(|| malformed("a frame of another version"))?;
            self.buffer.advance(frame::HEAD);
            let (kind, flags, length) = match head {
                Head::Data { id, fin, length } => {
                    self.data = Some((id, length, fin));
                    continue;
                }
                Head::Control { kind, flags, length } => (kind, flags, length),
            };
            if length > MAX_CONTROL {
                return Err(malformed("a control frame that is too large"));
            }
            while self.buffer.len() < length {
                if !self.fill().await? {
                    return Ok(None);
                }
            }
            let body = self.buffer.split_to(length);
            match frame::control(kind, flags, &body).ok_or_else(|| malformed("a malformed control frame"))? {
                Control::Open { id, fin, headers } => {
                    let headers =
                        self.headers.block(headers).ok_or_else(|| malformed("malformed headers"))?;
                    return Ok(Some(Event::Open { id, headers, fin }));
                }
                Control::Headers { headers } => {
                    // Nobody sends them; the compression's state has to follow all the same.
                    self.headers.block(headers).ok_or_else(|| malformed("malformed headers"))?;
                }
                Control::Reset { id } => return Ok(Some(Event::Reset { id })),
                // Odd ones are the client's own.
                Control::Ping { id } if id % 2 == 1 => writer.pong(id).await?,
                Control::Ping { .. } | Control::Other => {}
            }
        }
    }

    /// Reads more; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        match &mut self.source {
            Source::Socket(half) => {
                let start = self.buffer.len();
                self.buffer.resize(start + PIECE, 0);
                let length = half.read(&mut self.buffer[start..]).await;
                self.buffer.truncate(start + length.as_ref().map_or(0, |length| *length));
                Ok(length? > 0)
            }
            Source::Tunnel(receiver) => match websocket::next(receiver).await {
                Some(message) => {
                    self.buffer.extend_from_slice(&message);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Writer {
    /// Answers the opening of a stream.
    pub async fn accept(&self, id: u32) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        let reply = frame::reply(id, &sink.1.empty());
        self.write(&mut sink.0, &reply).await
    }

    /// Sends data; `fin`: it is the last of the stream from here.
    pub async fn data(&self, id: u32, data: &[u8], fin: bool) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        self.write(&mut sink.0, &frame::data(id, data, fin)).await
    }

    pub async fn reset(&self, id: u32, why: u32) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        self.write(&mut sink.0, &frame::reset(id, why)).await
    }

    pub async fn ping(&self) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        self.write(&mut sink.0, &frame::ping(2)).await
    }

    /// Says that all is over.
    pub async fn go_away(&self, last: u32) {
        let mut sink = self.sink.lock().await;
        let _ = self.write(&mut sink.0, &frame::go_away(last)).await;
        if let Sink::Tunnel(sender) = &mut sink.0 {
            websocket::close(sender).await;
        }
    }

    /// Answers a ping, now or after what is being written.
    async fn pong(&self, id: u32) -> io::Result<()> {
        {
            let mut pings = self.pings.lock().unwrap_or_else(PoisonError::into_inner);
            if pings.len() < MAX_PINGS {
                pings.push(id);
            }
        }
        match self.sink.try_lock() {
            Some(mut sink) => self.write(&mut sink.0, &[]).await,
            None => Ok(()),
        }
    }

    /// Writes one frame, and the answers that wait. The sink is locked: frames do not mix.
    async fn write(&self, sink: &mut Sink, frame: &[u8]) -> io::Result<()> {
        send(sink, frame).await?;
        loop {
            let ping = self.pings.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match ping {
                Some(id) => send(sink, &frame::ping(id)).await?,
                None => return Ok(()),
            }
        }
    }
}

async fn send(sink: &mut Sink, frame: &[u8]) -> io::Result<()> {
    match sink {
        _ if frame.is_empty() => Ok(()),
        Sink::Socket(half) => {
            half.write_all(frame).await?;
            half.flush().await
        }
        Sink::Tunnel(sender) => match websocket::send(sender, Message::binary(frame.to_vec())).await {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        },
    }
}

#[cfg(test)]
mod tests;
