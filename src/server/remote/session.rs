//! exec and attach: a client's channels joined to the node's.

use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use bytes::Bytes;
use futures_lite::future;
use smol::Timer;

use super::target::Streams;
use super::upgrade::{Agreed, Wire, agree};
use crate::api::Status;
use crate::link::{Chunk, Stream, StreamRequest, channel};
use crate::server::handlers::Call;
use crate::server::reply::Reply;
use crate::server::spdy::{self, Event};
use crate::server::websocket::{self, CHANNELS, Protocol};

/// A session without a word is kept open in everything between the two ends.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long a client has to close, once it knows how it ended.
const LINGER: Duration = Duration::from_secs(5);
/// The protocols of SPDY, as upstream has them. The first ends with a Status, the others with a text.
const SPDY: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];
/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// How it ended: from the server to the client.
const ERROR: u8 = 3;

/// Asks the node, then answers the client.
pub(super) async fn begin(
    call: &Call<'_>,
    node: &str,
    request: &StreamRequest,
    streams: Streams,
) -> Result<Reply, Status> {
    let agreed = agree(call, CHANNELS, SPDY)?;
    let stream = call.state.links.open(node, request).await?;
    let Agreed { wire, protocol, .. } = agreed;
    Ok(agreed.begin(call, move |io, ahead| async move {
        match wire {
            Wire::WebSocket => {
                let (sender, receiver) = websocket::open(io, ahead).await;
                let protocol = Protocol::of(protocol);
                let reader = Reader::WebSocket { receiver, protocol };
                let writer = Writer::WebSocket { sender, protocol };
                run(reader, writer, stream, streams).await;
            }
            Wire::Spdy => {
                let (reader, writer) = spdy::connect(false, io, ahead).await;
                let late = async {
                    Timer::after(OPENING).await;
                    None
                };
                let resize = streams.tty && protocol != "v2.channel.k8s.io";
                let opened = Spdy::open(reader, writer, streams, resize);
                let Some(spdy) = future::or(opened, late).await else { return };
                let writer = Writer::Spdy {
                    writer: spdy.writer.clone(),
                    ids: spdy.ids,
                    structured: protocol == SPDY[0],
                };
                run(Reader::Spdy(spdy), writer, stream, streams).await;
            }
        }
    }))
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Data(u8, Bytes),
    /// There is no more on this channel.
    Close(u8),
}

/// The client's side to read from.
enum Reader {
    WebSocket { receiver: websocket::Receiver, protocol: Protocol },
    Spdy(Spdy),
}

/// The client's side to write to. `false` and an early end mean that the client has gone.
enum Writer {
    WebSocket { sender: websocket::Sender, protocol: Protocol },
    Spdy { writer: Arc<spdy::Writer>, ids: Ids, structured: bool },
}

/// The SPDY streams of the channels, by the channels' numbers.
type Ids = [Option<u32>; 5];

struct Spdy {
    reader: spdy::Reader,
    writer: Arc<spdy::Writer>,
    ids: Ids,
    /// A stream's end that came with its last bytes.
    ended: Option<u8>,
}

impl Spdy {
    /// Waits until the client has opened a stream for each channel. `None`: it has gone, or breaks the rules.
    async fn open(
        mut reader: spdy::Reader,
        writer: spdy::Writer,
        streams: Streams,
        resize: bool,
    ) -> Option<Self> {
        let Streams { stdin, stdout, stderr, .. } = streams;
        let wanted = [stdin, stdout, stderr, true, resize];
        let mut ids: Ids = [None; 5];
        while wanted.iter().zip(&ids).any(|(wanted, id)| *wanted && id.is_none()) {
            // Clients say nothing on a stream before they have all.
            let Event::Open { id, headers, .. } = reader.next(&writer).await.ok()?? else { continue };
            let kind = headers.iter().find(|(name, _)| name == "streamtype").map(|(_, kind)| kind.as_str());
            let names = ["stdin", "stdout", "stderr", "error", "resize"];
            let place = names.iter().zip(&mut ids).find(|(name, id)| kind == Some(name) && id.is_none());
            match place {
                Some((_, place)) => {
                    *place = Some(id);
                    writer.accept(id).await.ok()?;
                }
                None => writer.reset(id, spdy::PROTOCOL).await.ok()?,
            }
        }
        Some(Self { reader, writer: Arc::new(writer), ids, ended: None })
    }

    async fn next(&mut self) -> Option<Input> {
        if let Some(channel) = self.ended.take() {
            return Some(Input::Close(channel));
        }
        loop {
            let event = self.reader.next(&self.writer).await.ok()??;
            let (Event::Data { id, .. } | Event::Reset { id } | Event::Open { id, .. }) = event;
            let place = self.ids.iter().position(|known| *known == Some(id));
            let place = place.and_then(|place| u8::try_from(place).ok());
            match (event, place) {
                (Event::Data { data, fin, .. }, Some(channel)) => {
                    self.ended = fin.then_some(channel);
                    if !data.is_empty() {
                        return Some(Input::Data(channel, data));
                    }
                    if fin {
                        return self.ended.take().map(Input::Close);
                    }
                }
                (Event::Reset { .. }, Some(channel)) => return Some(Input::Close(channel)),
                (Event::Open { .. }, _) => self.writer.reset(id, spdy::REFUSED).await.ok()?,
                _ => {}
            }
        }
    }
}

/// Runs until one end is over.
async fn run(mut reader: Reader, mut writer: Writer, stream: Stream, streams: Streams) {
    let up = async {
        while let Some(input) = reader.next().await {
            let sent = match &input {
                Input::Data(channel::STDIN, data) if streams.stdin => {
                    stream.write(channel::STDIN, data).await
                }
                Input::Data(channel::RESIZE, data) if streams.tty => {
                    stream.write(channel::RESIZE, data).await
                }
                Input::Close(channel::STDIN) if streams.stdin => {
                    stream.write(channel::CLOSE, &[channel::STDIN]).await
                }
                _ => Ok(()),
            };
            if sent.is_err() {
                break;
            }
        }
        // It has ended: what still comes is dropped until the client closes.
        while reader.next().await.is_some() {}
    };
    let down = async {
        if writer.begin(streams).await && output(&mut writer, &stream).await {
            Timer::after(LINGER).await;
        }
    };
    future::or(up, down).await;
}

/// Passes on what the program says, then how it ended.
async fn output(writer: &mut Writer, stream: &Stream) -> bool {
    loop {
        let quiet = async {
            Timer::after(HEARTBEAT).await;
            None
        };
        let there = match future::or(async { Some(stream.read().await) }, quiet).await {
            None => writer.beat().await,
            Some(Ok(Chunk::Data { channel, data })) => match channel {
                channel::STDOUT | channel::STDERR => writer.data(channel, &data).await,
                _ => true,
            },
            Some(Ok(Chunk::End { status })) => return writer.finish(&status).await,
            Some(Err(error)) => return writer.finish(&Status::internal(error).to_vec()).await,
        };
        if !there {
            return false;
        }
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Input> {
        match self {
            Self::WebSocket { receiver, protocol } => loop {
                let message = websocket::next(receiver).await?;
                match protocol.decode(message)? {
                    (channel::CLOSE, which) => return Some(Input::Close(*which.first()?)),
                    (_, data) if data.is_empty() => {}
                    (channel, data) => return Some(Input::Data(channel, data)),
                }
            },
            Self::Spdy(spdy) => spdy.next().await,
        }
    }
}

impl Writer {
    /// As upstream: an empty message tells the client that the session is up.
    async fn begin(&mut self, streams: Streams) -> bool {
        let lowest = match streams {
            Streams { stdout: true, .. } => channel::STDOUT,
            Streams { stderr: true, .. } => channel::STDERR,
            _ => ERROR,
        };
        match self {
            Self::WebSocket { .. } => self.data(lowest, b"").await,
            Self::Spdy { .. } => true,
        }
    }

    async fn data(&mut self, channel: u8, data: &[u8]) -> bool {
        match self {
            Self::WebSocket { sender, protocol } => {
                websocket::send(sender, protocol.encode(channel, data)).await
            }
            Self::Spdy { writer, ids, .. } => match ids.get(usize::from(channel)) {
                Some(Some(id)) => writer.data(*id, data, false).await.is_ok(),
                _ => true,
            },
        }
    }

    /// Nothing, in both directions or as an answer to what the client sends.
    async fn beat(&mut self) -> bool {
        match self {
            // Unasked: it also counts for a client whose own pings wait behind input that nobody takes.
            Self::WebSocket { sender, .. } => websocket::send(sender, Message::Pong(Bytes::new())).await,
            Self::Spdy { writer, .. } => writer.ping().await.is_ok(),
        }
    }

    /// Tells how the program ended; `status` is empty for success.
    async fn finish(&mut self, status: &[u8]) -> bool {
        match self {
            Self::WebSocket { sender, protocol } => {
                let text = ending(status, protocol.structured);
                let told = text.is_empty() || websocket::send(sender, protocol.encode(ERROR, &text)).await;
                websocket::close(sender).await;
                told
            }
            Self::Spdy { writer, ids, structured } => {
                let text = ending(status, *structured);
                for (channel, id) in ids.iter().enumerate() {
                    let Some(id) = id else { continue };
                    let last = if channel == usize::from(ERROR) { &text[..] } else { b"" };
                    if writer.data(*id, last, true).await.is_err() {
                        return false;
                    }
                }
                writer.go_away(ids.iter().flatten().copied().max().unwrap_or(0)).await;
                true
            }
        }
    }
}

/// What goes to the error channel: a Status, or for old protocols the text of a failure.
fn ending(status: &[u8], structured: bool) -> Vec<u8> {
    match (structured, status.is_empty()) {
        (true, true) => br#"{"metadata":{},"status":"Success"}"#.to_vec(),
        (true, false) => status.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => Status::from_slice(status).map_or_else(Vec::new, |status| status.message.into()),
    }
}
