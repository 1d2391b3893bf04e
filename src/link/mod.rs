//! Floor 1: messages and streams on the WebSocket between an agent and a server, both ends.
//!
//! A link carries two things. Messages ([`ToServer`], [`ToAgent`]) go in order through one bounded queue in
//! each direction. Streams go beside them, each with its own window: 64 KiB may be under way to a reader
//! that does not read, so that it holds up its own stream and nothing else.

mod codec;
pub mod connection;
pub mod message;
mod shared;
mod stream;
#[cfg(test)]
mod tests;

pub use codec::DecodeError;
pub use connection::{Closed, Connection, End, Link, Patience, Received, close};
pub use message::{
    AttachRequest, CONNECT_PATH, ExecRequest, Hello, HelloPod, LogRequest, MAX_MESSAGE, PROTOCOL, PodRef,
    PortForwardRequest, Put, ReadRequest, ReclaimRequest, Remove, SUBPROTOCOL, StreamRequest, ToAgent,
    ToServer, TokenAsk, TokenGiven, Welcome, channel, works_with,
};
pub use shared::MAX_STREAMS;
pub use stream::{Chunk, Stream, StreamError};
