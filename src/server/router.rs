//! From a request to its answer: what is open to all, who is asking, whose it is.

use std::sync::Arc;

use futures_lite::stream;
use hyper::body::Incoming;
use hyper::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;

use super::accept::{self, Shape};
use super::auth::authenticate;
use super::authorize::{authorize, of_request};
use super::media::Wanted;
use super::path::{self, Route};
use super::reply::{self, Reply};
use super::{State, definitions, handlers, health, metrics, proxy, render, token_api};
use crate::api::kinds::Catalogue;
use crate::api::{Status, discovery, openapi};
use crate::http::body;
use crate::http::server::Peer;
use crate::link::CONNECT_PATH;

/// Answers one request.
pub async fn handle(state: Arc<State>, mut request: Request<Incoming>, peer: Peer) -> Reply {
    // A link authenticates itself, and takes the connection over.
    if request.uri().path() == CONNECT_PATH {
        return state.links.clone().connect(request, peer).await;
    }
    if let Some(uri) = path::of_old_watch(request.uri()) {
        *request.uri_mut() = uri;
    }
    let method = request.method().clone();
    let wanted = Wanted::take(&mut request);
    let reply = answer(&state, request, peer).await.unwrap_or_else(|status| {
        if status.code == 500 {
            log::error!("a request failed: {status}");
        }
        reply::status(&status)
    });
    state.requests.count(&method, reply.status());
    wanted.dress(&state.compressions, reply).await
}

async fn answer(state: &Arc<State>, request: Request<Incoming>, peer: Peer) -> Result<Reply, Status> {
    let (parts, body) = request.into_parts();
    let route = Route::parse(parts.uri.path(), state.registry.kinds());
    let reading = matches!(parts.method, Method::GET);
    if let Some(open) = open(state, &route, parts.uri.query()) {
        return if reading { open } else { Err(Status::method_not_allowed()) };
    }
    let user = authenticate(state, &parts, peer).await?;
    of_request(&parts, &route, |wanted| authorize(state, &user, wanted))?;
    match route {
        Route::Objects(target) => handlers::handle(state, &user, &parts, target, body).await,
        Route::NodeProxy(node, path) => {
            proxy::serve(state, &parts.method, &node, &path, parts.uri.query()).await
        }
        Route::Tokens(rest) => token_api::handle(state, &parts.method, &rest, body).await,
        Route::UnknownObjects => Err(not_there(parts.uri.path())),
        Route::Unknown => Ok(paths(state.registry.kinds(), parts.uri.path() == "/")),
        _ if !reading => Err(Status::method_not_allowed()),
        Route::HealthCheck(name, check) => health::serve(state, name, &check, None),
        Route::Metrics => metrics::serve(state),
        Route::KeySet => Ok(reply::full(StatusCode::OK, JWKS, state.accounts.key_set().to_string())),
        Route::IssuerDiscovery => Ok(reply::value(&state.accounts.discovery(&peer.local.to_string()))),
        Route::OpenApi { group, version } if group.contains('.') => {
            render::shape(&parts.headers, accept::PLAIN)?;
            match definitions::document(&state.registry, &group, &version) {
                Some(text) => Ok(tagged(state.registry.kinds(), &parts.headers, || reply::json(text))),
                None => {
                    document(state.registry.kinds(), Route::OpenApi { group, version }, &parts.headers, peer)
                }
            }
        }
        route => document(state.registry.kinds(), route, &parts.headers, peer),
    }
}

const JWKS: &str = "application/jwk-set+json";

/// 404 in upstream's words, with what was asked for: commands that need several kinds leave it out.
fn not_there(path: &str) -> Status {
    let mut status = Status::no_such_resource();
    status.message = format!("{}: midge {} has nothing at {path}", status.message, crate::VERSION);
    status
}

/// What anybody may read.
fn open(state: &State, route: &Route<'_>, query: Option<&str>) -> Option<Result<Reply, Status>> {
    Some(Ok(match route {
        Route::Health(name) => return Some(health::serve(state, name, "", query)),
        Route::Version => reply::value(&discovery::version()),
        Route::Certificate => reply::full(StatusCode::OK, reply::TEXT, state.certificate_pem.clone()),
        _ => return None,
    }))
}

/// Discovery and OpenAPI.
fn document(kinds: &Catalogue, route: Route<'_>, headers: &HeaderMap, peer: Peer) -> Result<Reply, Status> {
    let found = |value: Option<serde_json::Value>| match value {
        Some(value) => Ok(reply::value(&value)),
        None => Err(Status::no_such_resource()),
    };
    match route {
        Route::Core | Route::Groups => {
            let core = matches!(route, Route::Core);
            if render::shape(headers, accept::DISCOVERY)? == Shape::Discovery {
                let text = discovery::aggregated(kinds, core).to_string();
                return Ok(reply::full(StatusCode::OK, discovery::AGGREGATED_CONTENT_TYPE, text));
            }
            let legacy = if core {
                discovery::api_versions(&peer.local.to_string())
            } else {
                discovery::api_groups(kinds)
            };
            Ok(reply::value(&legacy))
        }
        Route::Group(group) => found(discovery::api_group(kinds, &group)),
        Route::Resources { group, version } => {
            render::shape(headers, accept::PLAIN)?;
            found(discovery::api_resources(kinds, &group, &version))
        }
        Route::OpenApiIndex => {
            render::shape(headers, accept::PLAIN)?;
            Ok(tagged(kinds, headers, || reply::json(openapi::index(kinds))))
        }
        Route::OpenApi { group, version } => {
            render::shape(headers, accept::PLAIN)?;
            let document = openapi::document(kinds, &group, &version).ok_or_else(Status::no_such_resource)?;
            Ok(tagged(kinds, headers, || pieces(reply::JSON, document)))
        }
        Route::OpenApiTwo => open_api_two(kinds, headers),
        _ => Err(Status::no_such_resource()),
    }
}

/// JSON where it is taken, else protobuf, of which there are two spellings: the one with an `@` is no
/// valid media type.
fn open_api_two(kinds: &Catalogue, headers: &HeaderMap) -> Result<Reply, Status> {
    const SPELLINGS: [&str; 2] =
        ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", openapi::V2_CONTENT_TYPE];
    let accepted = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or("");
    let (format, content_type) = if SPELLINGS.iter().any(|name| accepted.contains(name)) {
        (openapi::Format::Protobuf, openapi::V2_CONTENT_TYPE)
    } else {
        render::shape(headers, accept::PLAIN)
            .map_err(|_| Status::not_acceptable(&[reply::JSON, SPELLINGS[0], SPELLINGS[1]]))?;
        (openapi::Format::Json, reply::JSON)
    };
    Ok(tagged(kinds, headers, || pieces(content_type, openapi::document_v2(kinds, format))))
}

fn pieces(content_type: &'static str, document: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Reply {
    let pieces = stream::iter(document.map(|piece| Ok(piece.into())));
    reply::with_body(StatusCode::OK, content_type, body::stream(pieces))
}

/// 304 when the client has this version already.
fn tagged(kinds: &Catalogue, headers: &HeaderMap, make: impl FnOnce() -> Reply) -> Reply {
    let tag = openapi::etag(kinds);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let mut reply = match known {
        true => {
            let mut reply = reply::with_body(StatusCode::NOT_MODIFIED, reply::JSON, body::empty());
            reply.headers_mut().remove("content-type");
            reply
        }
        false => make(),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// What there is, at `/` and, as upstream, with a 404 at every path that is not there.
fn paths(kinds: &Catalogue, root: bool) -> Reply {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for kind in kinds.served().into_iter().filter(|kind| !kind.group.is_empty()) {
        for path in [format!("/apis/{}", kind.group), format!("/apis/{}/{}", kind.group, kind.version)] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    let others = [
        "/.well-known/openid-configuration",
        "/cacerts",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(others.map(str::to_owned));
    let code = if root { StatusCode::OK } else { StatusCode::NOT_FOUND };
    reply::full(code, reply::JSON, json!({ "paths": paths }).to_string())
}
