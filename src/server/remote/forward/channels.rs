//! portforward by a WebSocket's channels, as clients without SPDY have it: `?ports=80,81`, one connection to each, two
//! channels for each in their order: the data, and what went wrong. The first message on either is the port, as two
//! bytes, the lower one first.

use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use bytes::Bytes;
use futures_lite::future;
use smol::Timer;

use super::HEARTBEAT;
use super::back::{Back, Way};
use crate::api::Status;
use crate::http::Io;
use crate::link::channel;
use crate::server::State;
use crate::server::query::Query;
use crate::server::remote::target::Target;
use crate::server::websocket::{self, Protocol};

/// In base64 a channel is one character from `0` on: there are no more of them.
const MAX_PORTS: usize = 32;
/// How long a client has to close, once all connections are over.
const LINGER: Duration = Duration::from_secs(5);

/// The client, which many connections write to.
pub(super) struct Channels {
    sender: smol::lock::Mutex<websocket::Sender>,
    protocol: Protocol,
}

impl Channels {
    pub(super) async fn send(&self, channel: u8, data: &[u8]) -> bool {
        websocket::send(&mut *self.sender.lock().await, self.protocol.encode(channel, data)).await
    }
}

/// `ports`: once for each, or with commas.
pub(super) fn ports(query: &Query<'_>) -> Result<Vec<u16>, Status> {
    let words = query.all("ports").flat_map(|value| value.split(','));
    let mut ports = Vec::new();
    for word in words.filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(port @ 1..) if ports.len() < MAX_PORTS => ports.push(port),
            Ok(1..) => return Err(Status::bad_request(format!("more than {MAX_PORTS} ports"))),
            Ok(_) => return Err(Status::bad_request(format!("port {word:?} must be > 0"))),
            Err(error) => {
                return Err(Status::bad_request(format!("unable to parse {word:?} as a port: {error}")));
            }
        }
    }
    match ports.is_empty() {
        true => Err(Status::bad_request("query parameter \"ports\" is required")),
        false => Ok(ports),
    }
}

/// Runs until the client goes, or all connections are over.
pub(super) async fn run(
    state: Arc<State>,
    target: Target,
    protocol: Protocol,
    ports: Vec<u16>,
    (io, ahead): (Io, Bytes),
) {
    let (sender, mut receiver) = websocket::open(io, ahead).await;
    let client = Arc::new(Channels { sender: smol::lock::Mutex::new(sender), protocol });
    let pairs = || (0..).step_by(2).zip(&ports);
    for (data, port) in pairs() {
        let first = port.to_le_bytes();
        if !client.send(data, &first).await || !client.send(data + 1, &first).await {
            return;
        }
    }
    let (mut streams, mut tasks) = (Vec::new(), Vec::new());
    for (data, &port) in pairs() {
        let back = Back { way: Way::Channel { client: client.clone(), data }, what: target.what(port) };
        match state.links.open(&target.node, &target.port(port)).await {
            Ok(stream) => {
                let stream = Arc::new(stream);
                tasks.push(state.executor.spawn(back.run(stream.clone())));
                streams.push(Some(stream));
            }
            Err(status) => {
                back.end(&format!("{}{}", back.what, status.message), false).await;
                streams.push(None);
            }
        }
    }
    let up = async {
        while let Some(message) = websocket::next(&mut receiver).await {
            let Some((channel, data)) = protocol.decode(message) else { return };
            // Nobody listens to the channels of what went wrong, as upstream.
            let stream = streams.get(usize::from(channel) / 2).filter(|_| channel % 2 == 0);
            if let Some(Some(stream)) = stream {
                // An error: the node's end is over, and `Back` tells.
                let _ = stream.write(channel::STDIN, &data).await;
            }
        }
    };
    let down = async {
        for task in tasks {
            task.await;
        }
        websocket::close(&mut *client.sender.lock().await).await;
        Timer::after(LINGER).await;
    };
    let beat = async {
        loop {
            Timer::after(HEARTBEAT).await;
            let nothing = Message::Pong(Bytes::new());
            if !websocket::send(&mut *client.sender.lock().await, nothing).await {
                return;
            }
        }
    };
    future::or(up, future::or(down, beat)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_ports() {
        let of = |query: &str| ports(&Query::parse(query)).map_err(|status| status.message);
        assert_eq!(of("ports=80&ports=8080%2C443,1"), Ok(vec![80, 8080, 443, 1]));
        for (query, problem) in [
            ("", "query parameter \"ports\" is required"),
            ("ports=", "query parameter \"ports\" is required"),
            ("ports=0", "port \"0\" must be > 0"),
            ("ports=80,65536", "unable to parse \"65536\" as a port: number too large to fit in target type"),
            ("ports=http", "unable to parse \"http\" as a port: invalid digit found in string"),
        ] {
            assert_eq!(of(query), Err(problem.into()), "{query}");
        }
        let many = vec!["1"; MAX_PORTS + 1].join(",");
        assert_eq!(of(&format!("ports={many}")), Err("more than 32 ports".into()));
    }
}
