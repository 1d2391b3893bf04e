//! Clients' WebSockets: the channel protocols of exec and attach, where the first byte of a message says
//! what the rest is; and plain bytes, for SPDY inside a WebSocket.

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::frame::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::{WebSocketReceiver, WebSocketSender, WebSocketStream};
use bytes::Bytes;
use data_encoding::BASE64;
use futures_lite::StreamExt;

use crate::http::Io;

pub type Receiver = WebSocketReceiver<Io>;
pub type Sender = WebSocketSender<Io>;

/// The subprotocols, as upstream has them; a client that names none gets the last.
pub const CHANNELS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// The most bytes of one message: it is held whole. kubectl's have 32 KB.
const MAX_MESSAGE: usize = 4 << 20;

/// Speaks WebSocket on `io`, after the handshake; `ahead` is what was read past it.
pub async fn open(io: Io, ahead: Bytes) -> (Sender, Receiver) {
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(0)
        .max_frame_size(Some(MAX_MESSAGE))
        .max_message_size(Some(MAX_MESSAGE));
    WebSocketStream::from_partially_read(io, ahead.to_vec(), Role::Server, Some(config)).await.split()
}

/// The bytes of the next message that has some; `None` when the client has gone.
pub async fn next(receiver: &mut Receiver) -> Option<Bytes> {
    loop {
        match receiver.next().await? {
            Ok(Message::Binary(data)) if !data.is_empty() => return Some(data),
            Ok(Message::Text(text)) if !text.is_empty() => return Some(text.into()),
            // Pings are answered by the library.
            Ok(Message::Close(_)) => return None,
            Ok(_) => {}
            Err(error) => {
                log::debug!("a client's WebSocket: {error}");
                return None;
            }
        }
    }
}

/// Sends one message; `false` when the client has gone.
pub async fn send(sender: &mut Sender, message: Message) -> bool {
    sender.send(message).await.is_ok()
}

/// Says that all is over.
pub async fn close(sender: &mut Sender) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sender.close(Some(frame)).await;
}

/// One of [`CHANNELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Messages are text: the channel as a digit, the data as base64.
    base64: bool,
    /// The error channel has a Status, not a text.
    pub structured: bool,
}

impl Protocol {
    pub fn of(name: &str) -> Self {
        Self { base64: name.contains("base64"), structured: name.starts_with('v') }
    }

    /// Takes a message apart. `None`: it is not of the protocol.
    pub fn decode(self, message: Bytes) -> Option<(u8, Bytes)> {
        let first = *message.first()?;
        let rest = message.slice(1..);
        match self.base64 {
            false => Some((first, rest)),
            true => Some((first.checked_sub(b'0')?, BASE64.decode(&rest).ok()?.into())),
        }
    }

    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::from(char::from(b'0'.saturating_add(channel)));
            BASE64.encode_append(data, &mut text);
            return Message::text(text);
        }
        let mut message = Vec::with_capacity(1 + data.len());
        message.push(channel);
        message.extend_from_slice(data);
        Message::binary(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let binary = Protocol::of("v5.channel.k8s.io");
        assert!(binary.structured && Protocol::of("v4.base64.channel.k8s.io").structured);
        assert_eq!(binary.encode(1, b"ab"), Message::binary(&b"\x01ab"[..]));
        assert_eq!(binary.decode(Bytes::from_static(b"\0x")), Some((0, Bytes::from_static(b"x"))));
        assert_eq!(binary.decode(Bytes::new()), None);
        let text = Protocol::of("base64.channel.k8s.io");
        assert!(!text.structured);
        assert_eq!(text.encode(2, b"ab"), Message::text("2YWI="));
        assert_eq!(text.decode(Bytes::from_static(b"0YWI=")), Some((0, Bytes::from_static(b"ab"))));
        for bad in [&b"0Y"[..], b"\x01YWI=", b"0***"] {
            assert_eq!(text.decode(Bytes::copy_from_slice(bad)), None);
        }
    }
}
