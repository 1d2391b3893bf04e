//! Floor 1: messages and streams on the WebSocket between an agent and a server, both ends.

pub mod connection;
pub mod message;
pub mod stream;

pub use message::{
    CONNECT_PATH, Hello, HelloPod, LogRequest, MAX_MESSAGE, PROTOCOL, PodRef, Put, Remove, SUBPROTOCOL,
    StreamRequest, ToAgent, ToServer, Welcome,
};
pub use stream::{Chunk, Stream, StreamError};
