//! A WebSocket made by hand, for what kubectl does not speak.

use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::Role;
use futures_lite::StreamExt;
use http_body_util::Full;
use midge::Executor;
use midge::http::client::Client;
use midge::http::{Io, Url};
use midge::tls::client_config_pinned;

use super::node::Cluster;

pub struct Socket(pub WebSocketStream<Io>);

impl Socket {
    /// Opens `path` with a subprotocol, or says with which code it was refused.
    pub async fn open(
        cluster: &Cluster,
        path: &str,
        protocol: &str,
        executor: &Executor,
    ) -> Result<Socket, u16> {
        let tls = cluster.folder.join("data/server/tls");
        let pem = std::fs::read_to_string(tls.join("ca.crt")).unwrap();
        let admin = std::fs::read_to_string(tls.join("admin-token")).unwrap();
        let url: Url = cluster.ready.url.parse().unwrap();
        let tls = client_config_pinned(&pem).unwrap();
        let mut client =
            Client::connect(&url, Arc::clone(&tls), Duration::from_secs(10), executor).await.unwrap();
        let request = hyper::Request::get(path)
            .header("authorization", format!("Bearer {}", admin.trim()))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocol)
            .body(Full::default())
            .unwrap();
        let answer = client.send(request).await.unwrap();
        if answer.status() != 101 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (io, ahead) = client.upgraded(answer).await.unwrap();
        Ok(Socket(WebSocketStream::from_partially_read(io, ahead.to_vec(), Role::Client, None).await))
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next message that has more than a channel; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Binary(data) if data.len() > 1 => return Some(data.to_vec()),
                Message::Text(text) if text.len() > 1 => return Some(text.as_bytes().to_vec()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
