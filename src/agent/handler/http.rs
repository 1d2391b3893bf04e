//! `httpGet`: one request, and its redirects on the same host.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::future;
use futures_rustls::TlsConnector;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::Error as RustlsError;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TRAILER,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use serde_json::Value;
use smol_hyper::rt::FuturesIo;

use super::dial::{dial, within, words};
use super::url::Url;
use super::{MAX_OUTPUT, Outcome, Target, text, user_agent};
use crate::http::Io;
use crate::{chain, tls};

const MAX_REDIRECTS: u32 = 10;
/// For an answer's first line and headers.
const MAX_HEAD: usize = 16 << 10;
const HTTP_ANSWER: &str = "http: server gave HTTP response to HTTPS client";

/// What to fetch.
struct Get {
    url: Url,
    headers: HeaderMap,
}

struct Answer {
    status: StatusCode,
    location: Option<String>,
    /// As much as is kept.
    body: Result<Vec<u8>, String>,
}

pub async fn probe(action: &Value, target: &Target<'_>, limit: Duration) -> Outcome {
    let get = match Get::new(action, target, "probe") {
        Ok(get) => get,
        Err(message) => return Outcome::unknown(message),
    };
    let answer = match get.follow(Instant::now() + limit).await {
        Ok(answer) => answer,
        Err(message) => return Outcome::Failed(message),
    };
    match (answer.status.as_u16(), answer.body) {
        (_, Err(message)) => Outcome::Errored { result: "failure", message },
        (200..300, Ok(_)) => Outcome::Success,
        (300..400, Ok(body)) => {
            let body = String::from_utf8_lossy(&body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        (status, Ok(_)) => Outcome::Failed(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Any answer will do. A server that speaks no TLS is asked again without.
pub async fn hook(action: &Value, target: &Target<'_>, limit: Duration) -> Result<(), String> {
    let mut get = Get::new(action, target, "lifecycle")?;
    let deadline = Instant::now() + limit;
    match get.follow(deadline).await {
        Err(message) if get.url.https && message.ends_with(HTTP_ANSWER) => {
            get.url.https = false;
            get.headers.remove("authorization");
            get.follow(deadline).await.map(|_| ())
        }
        answer => answer.map(|_| ()),
    }
}

impl Get {
    fn new(action: &Value, target: &Target<'_>, purpose: &str) -> Result<Get, String> {
        let https = text(action, "scheme").eq_ignore_ascii_case("https");
        let (host, port) = (target.host(action)?, target.port(action)?);
        let url = Url::new(https, host, port, text(action, "path"));
        let mut headers = HeaderMap::new();
        let wanted = action.get("httpHeaders").and_then(Value::as_array);
        for header in wanted.into_iter().flatten() {
            let (name, value) = (text(header, "name"), text(header, "value"));
            let key = HeaderName::try_from(name)
                .map_err(|_| format!("net/http: invalid header field name {name:?}"))?;
            // Not the value: it may be a credential.
            let value = HeaderValue::try_from(value)
                .map_err(|_| format!("net/http: invalid header field value for {name:?}"))?;
            headers.try_append(key, value).map_err(|_| "too many header fields".to_owned())?;
        }
        let agent = HeaderValue::try_from(user_agent(purpose)).map_err(|error| error.to_string())?;
        headers.entry(USER_AGENT).or_insert(agent);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        // Said to be empty, they are left out; framing is not for users to say.
        for name in [USER_AGENT, ACCEPT, HOST] {
            if headers.get(&name).is_some_and(HeaderValue::is_empty) {
                headers.remove(name);
            }
        }
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER] {
            headers.remove(name);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(Get { url, headers })
    }

    /// The answer after the redirects that stay on this host.
    async fn follow(&self, deadline: Instant) -> Result<Answer, String> {
        let mut url = self.url.clone();
        let mut headers = self.headers.clone();
        for _ in 0..MAX_REDIRECTS {
            let answer =
                fetch(&url, &headers, deadline).await.map_err(|error| format!("Get \"{url}\": {error}"))?;
            let Some(location) = answer.location.as_deref().filter(|_| is_redirect(answer.status)) else {
                return Ok(answer);
            };
            let next = url.join(location).ok_or_else(|| {
                let shown: String = location.chars().take(200).collect();
                format!("Get \"{url}\": failed to parse Location header {shown:?}")
            })?;
            if next.host != self.url.host {
                return Ok(answer);
            }
            if next.authority() != url.authority() || next.https != url.https {
                // The name that was asked for is not that of another server.
                headers.remove(HOST);
            }
            url = next;
        }
        Err(format!("Get \"{url}\": stopped after {MAX_REDIRECTS} redirects"))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// One request on a connection of its own. The error is without the URL.
async fn fetch(url: &Url, headers: &HeaderMap, deadline: Instant) -> Result<Answer, String> {
    const HEADERS: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    const BODY: &str =
        "context deadline exceeded (Client.Timeout or context cancellation while reading body)";

    let io = within(deadline, HEADERS, open(url)).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(100)
        .handshake::<_, Full<Bytes>>(FuturesIo::new(io))
        .await
        .map_err(|error| explain(&error))?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = url.target.parse().map_err(|_| "invalid URL".to_owned())?;
    *request.headers_mut() = headers.clone();
    let host = HeaderValue::try_from(url.authority()).map_err(|_| "invalid URL".to_owned())?;
    request.headers_mut().entry(HOST).or_insert(host);

    let exchange = async {
        let sent = async { sender.send_request(request).await.map_err(|error| explain(&error)) };
        let response = within(deadline, HEADERS, sent).await?;
        let location =
            response.headers().get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let location = location.map(|text| text.into_owned()).filter(|text| !text.is_empty());
        let status = response.status();
        let body = within(deadline, BODY, read(response.into_body())).await;
        Ok(Answer { status, location, body })
    };
    let driver = async {
        let _ = connection.await; // the exchange sees the error
        future::pending().await
    };
    // Neither is asked again once one has ended.
    future::or(exchange, driver).await
}

async fn open(url: &Url) -> Result<Io, String> {
    let stream = dial(&url.host, url.port).await?;
    if !url.https {
        return Ok(Box::new(stream));
    }
    let config = tls::client_config_anyone().map_err(|error| chain(&error))?;
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
            // What is no TLS at all is most often HTTP.
            Some(RustlsError::InvalidMessage(_)) => HTTP_ANSWER.to_owned(),
            _ => words(&error),
        }
    })?;
    Ok(Box::new(connected))
}

/// The body, or its beginning when it is long.
async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is_body_write_aborted() || error.is_incomplete_message() {
                "unexpected EOF".to_owned()
            } else {
                explain(&error)
            }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        kept.extend_from_slice(data.get(..data.len().min(MAX_OUTPUT - kept.len())).unwrap_or(&data));
        if kept.len() >= MAX_OUTPUT {
            break;
        }
    }
    Ok(kept)
}

fn explain(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "EOF".to_owned()
    } else if error.is_parse() {
        format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response: {}", chain(error))
    } else {
        chain(error)
    }
}
