//! The generic handlers: every verb on every kind of the table.

mod admit;
mod collection;
mod delete;
mod eviction;
mod patch;
mod pods;
mod read;
mod write;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method};

use super::State;
use super::path::Target;
use super::query::Query;
use super::reply::Reply;
use super::top;
use crate::api::kinds::COMPUTED;
use crate::api::status::Status;

/// One request for objects.
pub struct Call<'a> {
    pub state: &'a Arc<State>,
    pub target: Target<'a>,
    pub query: Query<'a>,
    pub headers: &'a HeaderMap,
    /// The connection below, for what takes it over.
    pub upgrade: Option<OnUpgrade>,
}

impl Call<'_> {
    /// The namespace, "" for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or("")
    }

    /// The object's name, "" for collections.
    pub fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or("")
    }

    /// Whether the kind has the verb, here.
    fn check(&self, verb: &str) -> Result<(), Status> {
        let kind = self.target.kind;
        let verbs = match self.target.subresource {
            // What discovery does not list is refused by its own handler.
            Some(name) => kind.subresource(name).map(|found| found.verbs),
            None => Some(kind.verbs),
        };
        match verbs.is_none_or(|verbs| verbs.contains(&verb)) {
            true => Ok(()),
            false => Err(Status::method_not_allowed()),
        }
    }
}

/// Answers a request for objects.
pub async fn handle(
    state: &Arc<State>,
    parts: &Parts,
    target: Target<'_>,
    body: Incoming,
) -> Result<Reply, Status> {
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let call =
        Call { state, target, query, headers: &parts.headers, upgrade: parts.extensions.get().cloned() };
    let named = call.target.name.is_some();
    if COMPUTED.contains(&call.target.kind) {
        return if parts.method == Method::GET {
            top::serve(&call).await
        } else {
            Err(Status::method_not_allowed())
        };
    }
    match call.target.subresource {
        None | Some("status" | "ephemeralcontainers" | "finalize") => {}
        Some(subresource) => return pods::handle(&call, subresource, &parts.method, body).await,
    }
    // Objects of all namespaces are read, never written, at once.
    let everywhere = call.target.kind.namespaced && call.target.namespace.is_none();
    match parts.method {
        Method::GET if named => call.check("get").and_then(|()| read::get(&call)),
        Method::GET => {
            call.check("list")?;
            read::list_or_watch(&call)
        }
        Method::POST if !named && !everywhere => {
            call.check("create")?;
            write::create(&call, body).await
        }
        Method::PUT if named => {
            call.check("update")?;
            write::update(&call, body).await
        }
        Method::PATCH if named => {
            call.check("patch")?;
            patch::patch(&call, body).await
        }
        Method::DELETE if named && call.target.subresource.is_none() => {
            call.check("delete")?;
            delete::delete(&call, body).await
        }
        Method::DELETE if !named && !everywhere => {
            call.check("deletecollection")?;
            collection::delete(&call, body).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}
