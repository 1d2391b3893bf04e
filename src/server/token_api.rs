//! `/v1-midge/tokens`: what `midge token` asks of a running server. For the admin only.
//!
//! ```text
//! GET    /v1-midge/tokens         {"tokens":[{"id","description","expires"?,"usesLeft"?}]}
//! POST   /v1-midge/tokens         {"description"?,"ttlSeconds"?,"uses"?}  →  201 {"token"}
//! POST   /v1-midge/tokens/rotate  →  200 {"token"}: the server's own token is a new one
//! DELETE /v1-midge/tokens/ID      →  200 {}
//! ```
//! Errors are Status objects. A token's secret is shown when it is made, and never again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::State;
use super::body;
use super::reply::{self, Reply};
use super::tokens::{Error, Issued};
use crate::api::{Reason, Status, time};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct Wanted {
    description: String,
    ttl_seconds: Option<u64>,
    uses: Option<u32>,
}

/// The longest description of a token, in bytes.
const DESCRIPTION: usize = 256;
/// The longest life of a token that has an end, in seconds: 100 years.
const LONGEST: u64 = 100 * 365 * 24 * 3600;

pub async fn handle(
    state: &Arc<State>,
    method: &Method,
    path: &[Cow<'_, str>],
    body: Incoming,
) -> Result<Reply, Status> {
    match (method, path) {
        (&Method::GET, []) => {
            let tokens: Vec<Value> = state.tokens.list().iter().map(shown).collect();
            Ok(reply::value(&json!({ "tokens": tokens })))
        }
        (&Method::POST, []) => {
            let text = body::bytes(body).await?;
            let text = if text.is_empty() { &b"{}"[..] } else { &text };
            let wanted: Wanted =
                serde_json::from_slice(text).map_err(|error| Status::bad_request(error.to_string()))?;
            if wanted.description.len() > DESCRIPTION
                || wanted.ttl_seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST)
                || wanted.uses == Some(0)
            {
                return Err(Status::bad_request(format!(
                    "ttlSeconds must be between 1 and {LONGEST}, uses greater than 0, description at most \
                     {DESCRIPTION} bytes"
                )));
            }
            let life = wanted.ttl_seconds.map(Duration::from_secs);
            let token = state.tokens.create(&wanted.description, life, wanted.uses).await.map_err(refused)?;
            let text = json!({"token": token.reveal()}).to_string();
            Ok(reply::full(StatusCode::CREATED, reply::JSON, text))
        }
        (&Method::POST, [word]) if word == "rotate" => {
            let tokens = state.tokens.clone();
            let token = smol::unblock(move || tokens.rotate()).await.map_err(refused)?;
            Ok(reply::value(&json!({"token": token.reveal()})))
        }
        (&Method::DELETE, [id]) => {
            state.tokens.delete(id).await.map_err(refused)?;
            Ok(reply::json("{}"))
        }
        (_, [] | [_]) => Err(Status::method_not_allowed()),
        _ => Err(Status::no_such_resource()),
    }
}

fn shown(token: &Issued) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), token.id.as_str().into());
    shown.insert("description".to_owned(), token.description.as_str().into());
    if let Some(expires) = token.expires {
        shown.insert("expires".to_owned(), time::format(expires).into());
    }
    if let Some(uses) = token.uses_left {
        shown.insert("usesLeft".to_owned(), uses.into());
    }
    Value::Object(shown)
}

fn refused(error: Error) -> Status {
    match error {
        Error::NotFound { .. } => Status::new(Reason::NotFound, error.to_string()),
        Error::TooMany { .. } => Status::forbidden(error.to_string()),
        error => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Status::internal(format!("{error}{}", source.unwrap_or_default()))
        }
    }
}
