//! `grpc.health.v1.Health/Check`, without TLS, as the kubelet asks it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::future;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{Method, Request};
use prost::Message;
use serde_json::Value;
use smol::net::TcpStream;

use super::dial::{authority, dial, within};
use super::{Outcome, Target, go_duration, text, user_agent};
use crate::chain;
use crate::containerd::grpc::{Answers, Requests, Socket};
use crate::containerd::{Code, Error};

const CALL: &str = "Health/Check";
/// An answer is one small number.
const MAX_ANSWER: usize = 4 << 10;
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub async fn probe(action: &Value, target: &Target<'_>, limit: Duration) -> Outcome {
    let (Some(host), port) = (target.pod_ip, target.port(action)) else {
        return Outcome::unknown("the pod has no address");
    };
    let (host, port) = match port {
        Ok(port) => (host.to_string(), port),
        Err(message) => return Outcome::unknown(message),
    };
    let address = authority(&host, port);
    let (deadline, after) = (Instant::now() + limit, go_duration(limit));
    let connecting = async {
        let dialled = dial(&host, port).await;
        dialled.map_err(|error| format!("error: failed to connect service at {address:?}: {error}"))
    };
    let unconnected =
        format!("timeout: failed to connect service {address:?} within {after}: context deadline exceeded");
    let checked = async {
        let stream = within(deadline, &unconnected, connecting).await?;
        let checking =
            async { check(stream, &address, text(action, "service")).await.map_err(|error| explain(&error)) };
        within(deadline, &format!("timeout: health rpc did not complete within {after}"), checking).await
    };
    let status = match checked.await {
        Ok(status) => status,
        Err(message) => return Outcome::Failed(message),
    };
    match status {
        SERVING => Outcome::Success,
        other => Outcome::Failed(format!("service unhealthy (responded with {:?})", name(other))),
    }
}

/// One call on a connection of its own. Returns the status that the server gives the service.
async fn check(stream: TcpStream, address: &str, service: &str) -> Result<i32, Error> {
    let transport = |source| Error::Transport { call: CALL, source };
    let malformed = Error::Protocol { call: CALL, problem: "can't be asked" };
    let (requests, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(16 << 10)
        .handshake::<_, Bytes>(Socket(Box::new(stream)))
        .await
        .map_err(transport)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, user_agent("probe"))
        .body(())
        .map_err(|_| malformed)?;
    let exchange = async {
        let mut requests = requests.ready().await.map_err(transport)?;
        let (response, stream) = requests.send_request(request, false).map_err(transport)?;
        let question = HealthCheckRequest { service: service.to_owned() };
        Requests::new(CALL, stream).send(&question, true).await?;
        let mut answers = Answers::bounded(CALL, response, MAX_ANSWER);
        let answer: Option<HealthCheckResponse> = answers.next().await?;
        // What comes after it is the call's status.
        if answer.is_some() && answers.next::<HealthCheckResponse>().await?.is_some() {
            return Err(Error::Protocol { call: CALL, problem: "answers more than once" });
        }
        answer
            .map(|answer| answer.status)
            .ok_or(Error::Protocol { call: CALL, problem: "ended without an answer" })
    };
    let driver = async {
        let _ = connection.await; // the exchange sees the error
        future::pending().await
    };
    // Neither is asked again once one has ended.
    future::or(exchange, driver).await
}

fn explain(error: &Error) -> String {
    match error {
        Error::Status { code: Code::Unimplemented, message, .. } => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ),
        Error::Status { code, message, .. } => {
            format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {message}")
        }
        Error::Transport { source, .. } => {
            format!("error: health rpc probe failed: rpc error: code = Unavailable desc = {source}")
        }
        other => format!("error: health rpc probe failed: {}", chain(other)),
    }
}

/// Of `HealthCheckResponse.ServingStatus`.
fn name(status: i32) -> String {
    match status {
        0 => "UNKNOWN".into(),
        SERVING => "SERVING".into(),
        2 => "NOT_SERVING".into(),
        3 => "SERVICE_UNKNOWN".into(),
        other => other.to_string(),
    }
}
