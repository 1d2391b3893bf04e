//! portforward: pairs of SPDY streams, one for data and one for what went wrong, each joined to a connection
//! in the pod's network. Older clients have a pair of a WebSocket's channels for each port ([`channels`]).

mod back;
mod channels;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use smol::{Task, Timer};

use self::back::{Back, Way};
use super::target::Target;
use super::upgrade::{Wire, agree};
use crate::api::Status;
use crate::http::Io;
use crate::link::{PortForwardRequest, Stream, StreamRequest, channel};
use crate::server::State;
use crate::server::handlers::Call;
use crate::server::reply::Reply;
use crate::server::spdy::{self, Event, Reader, Writer};
use crate::server::websocket::Protocol;

/// SPDY inside the WebSocket, and the channels that clients without SPDY speak.
const WEBSOCKET: &[&str] = &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const PLAIN: &[&str] = &["portforward.k8s.io"];
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Connections at once through one client, those that are only begun included.
const MAX_PAIRS: usize = 128;

/// Answers `pods/NAME/portforward`.
///
/// # Errors
/// 400 when the pod does not run, or channels are asked for without ports, 404, 503 when the node is away.
pub async fn serve(call: &Call<'_>) -> Result<Reply, Status> {
    let target = Target::pod(call)?;
    let agreed = agree(call, WEBSOCKET, PLAIN)?;
    let by_channels = agreed.wire == Wire::WebSocket && agreed.protocol != TUNNEL;
    let ports = if by_channels { channels::ports(&call.query)? } else { Vec::new() };
    if !call.state.links.connected(&target.node) {
        return Err(Status::service_unavailable(format!("node {} is not connected", target.node)));
    }
    let (state, wire, protocol) = (call.state.clone(), agreed.wire, agreed.protocol);
    if by_channels {
        return Ok(agreed.begin(call, move |io, ahead| {
            channels::run(state, target, Protocol::of(protocol), ports, (io, ahead))
        }));
    }
    Ok(agreed.begin(call, move |io, ahead| run(state, target, wire, io, ahead)))
}

/// Runs until the client goes.
async fn run(state: Arc<State>, target: Target, wire: Wire, io: Io, ahead: Bytes) {
    let (reader, writer) = spdy::connect(wire == Wire::WebSocket, io, ahead).await;
    let pairs = Vec::new();
    let mut forward = Forward { state, target, writer: Arc::new(writer), pairs };
    let writer = forward.writer.clone();
    let beat = async {
        loop {
            Timer::after(HEARTBEAT).await;
            if writer.ping().await.is_err() {
                return;
            }
        }
    };
    future::or(forward.events(reader), beat).await;
    writer.go_away(0).await;
}

struct Forward {
    state: Arc<State>,
    target: Target,
    writer: Arc<Writer>,
    pairs: Vec<Pair>,
}

/// One connection to a port, from the first of its two streams on.
struct Pair {
    /// The client's number for it.
    request: String,
    port: u16,
    data: Option<u32>,
    error: Option<u32>,
    /// Once both streams are there: the node's end, and what brings its bytes back.
    joined: Option<(Arc<Stream>, Task<()>)>,
}

impl Forward {
    async fn events(&mut self, mut reader: Reader) {
        loop {
            let event = match reader.next(&self.writer).await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => return log::debug!("a client's port-forward: {error}"),
            };
            let ended = |pair: &Pair| pair.joined.as_ref().is_some_and(|(_, task)| task.is_finished());
            self.pairs.retain(|pair| !ended(pair));
            let taken = match event {
                Event::Open { id, headers, .. } => self.open(id, &headers).await,
                Event::Data { id, data, fin } => self.data(id, &data, fin).await,
                Event::Reset { id } => {
                    // Who waits for one stream of a pair has no use for the other.
                    self.pairs.retain(|pair| pair.data != Some(id) && pair.error != Some(id));
                    Ok(())
                }
            };
            if taken.is_err() {
                return;
            }
        }
    }

    /// A stream with the headers `streamtype`, `port`, `requestid`.
    async fn open(&mut self, id: u32, headers: &[(String, String)]) -> std::io::Result<()> {
        let header = |name: &str| {
            let mut found = headers.iter().filter(|(known, _)| known == name);
            found.next().map_or("", |(_, value)| value.as_str())
        };
        let (kind, request) = (header("streamtype"), header("requestid"));
        let port = header("port").parse().ok().filter(|&port| port != 0);
        let (Some(port), "data" | "error") = (port, kind) else {
            return self.writer.reset(id, spdy::PROTOCOL).await;
        };
        let known = self.pairs.iter().position(|pair| pair.request == request && pair.port == port);
        let at = match known {
            Some(at) => at,
            None if self.pairs.len() >= MAX_PAIRS => return self.writer.reset(id, spdy::REFUSED).await,
            None => {
                let request = request.to_owned();
                self.pairs.push(Pair { request, port, data: None, error: None, joined: None });
                self.pairs.len() - 1
            }
        };
        let pair = &mut self.pairs[at];
        let place = if kind == "data" { &mut pair.data } else { &mut pair.error };
        if place.is_some() {
            return self.writer.reset(id, spdy::PROTOCOL).await;
        }
        *place = Some(id);
        self.writer.accept(id).await?;
        let (Some(data), Some(error)) = (pair.data, pair.error) else { return Ok(()) };
        let way = Way::Streams { writer: self.writer.clone(), data, error };
        let back = Back { way, what: self.target.what(port) };
        match self.state.links.open(&self.target.node, &self.target.port(port)).await {
            Ok(stream) => {
                let stream = Arc::new(stream);
                let task = self.state.executor.spawn(back.run(stream.clone()));
                self.pairs[at].joined = Some((stream, task));
            }
            Err(status) => {
                self.pairs.remove(at);
                if !back.end(&format!("{}{}", back.what, status.message), false).await {
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        Ok(())
    }

    /// Bytes for the port. Who does not take them holds up this client's other connections, nobody else's.
    async fn data(&mut self, id: u32, data: &[u8], fin: bool) -> std::io::Result<()> {
        let Some(pair) = self.pairs.iter().find(|pair| pair.data == Some(id)) else { return Ok(()) };
        let Some((stream, _)) = &pair.joined else {
            return self.writer.reset(id, spdy::PROTOCOL).await;
        };
        // An error: the node's end is over, and `Back` tells.
        let _ = stream.write(channel::STDIN, data).await;
        if fin {
            let _ = stream.write(channel::CLOSE, &[channel::STDIN]).await;
        }
        Ok(())
    }
}

impl Target {
    fn port(&self, port: u16) -> StreamRequest {
        StreamRequest::PortForward(PortForwardRequest {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            port,
        })
    }

    /// What a message of this end's own begins with.
    fn what(&self, port: u16) -> String {
        let Target { pod, uid, .. } = self;
        format!("error forwarding port {port} to pod {pod}, uid {uid}: ")
    }
}
