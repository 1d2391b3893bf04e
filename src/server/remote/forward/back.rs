//! The way back of one connection: from the port to the client.

use std::sync::Arc;

use super::channels::Channels;
use crate::api::Status;
use crate::link::{Chunk, Stream, channel};
use crate::server::spdy::Writer;

pub(super) struct Back {
    pub(super) way: Way,
    /// What a message of this end's own begins with.
    pub(super) what: String,
}

/// Where the port's bytes go. `false` means that the client has gone.
pub(super) enum Way {
    /// SPDY's, by their ids.
    Streams { writer: Arc<Writer>, data: u32, error: u32 },
    /// A WebSocket's: the one of the data, and the next one for what went wrong.
    Channel { client: Arc<Channels>, data: u8 },
}

impl Way {
    async fn data(&self, data: &[u8]) -> bool {
        match self {
            Way::Streams { writer, data: id, .. } => writer.data(*id, data, false).await.is_ok(),
            Way::Channel { client, data: channel } => client.send(*channel, data).await,
        }
    }

    /// No more data. Channels have no word for it.
    async fn close(&self) -> bool {
        match self {
            Way::Streams { writer, data, .. } => writer.data(*data, b"", true).await.is_ok(),
            Way::Channel { .. } => true,
        }
    }

    async fn fail(&self, why: &str) -> bool {
        match self {
            Way::Streams { writer, error, .. } => writer.data(*error, why.as_bytes(), true).await.is_ok(),
            Way::Channel { .. } if why.is_empty() => true,
            Way::Channel { client, data } => client.send(data.saturating_add(1), why.as_bytes()).await,
        }
    }
}

impl Back {
    pub(super) async fn run(self, stream: Arc<Stream>) {
        let mut closed = false;
        let (what, why) = loop {
            match stream.read().await {
                Ok(Chunk::Data { channel: channel::STDIN, data }) if !closed => {
                    if !self.way.data(&data).await {
                        return;
                    }
                }
                Ok(Chunk::Data { channel: channel::CLOSE, .. }) if !closed => {
                    closed = true;
                    if !self.way.close().await {
                        return;
                    }
                }
                Ok(Chunk::Data { .. }) => {}
                Ok(Chunk::End { status }) if status.is_empty() => break ("", String::new()),
                Ok(Chunk::End { status }) => {
                    break (
                        "",
                        Status::from_slice(&status).map_or_else(String::new, |status| status.message),
                    );
                }
                Err(error) => break (self.what.as_str(), error.to_string()),
            }
        };
        self.end(&format!("{what}{why}"), closed).await;
    }

    /// `why` is empty when all went well.
    pub(super) async fn end(&self, why: &str, closed: bool) -> bool {
        self.way.fail(why).await && (closed || self.way.close().await)
    }
}
