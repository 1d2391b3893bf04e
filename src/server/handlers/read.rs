//! get and list.

use std::io;

use bytes::Bytes;
use futures_lite::stream;
use hyper::StatusCode;

use super::Call;
use crate::api::Status;
use crate::http::body;
use crate::server::options::{ListOptions, check_reached};
use crate::server::registry::{List, Page};
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};
use crate::server::watch;

/// Bytes of a list that are made before they are sent.
const PIECE: usize = 16 << 10;

pub fn get(call: &Call<'_>) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let revision = call.query.number("resourceVersion").map_err(|e| Status::bad_request(e.to_string()))?;
    check_reached(revision, call.state.registry.store().revision())?;
    let item = call.state.registry.item(kind, call.namespace(), call.name())?;
    Ok(reply::json(rendering.item(&item, true)?))
}

pub fn list_or_watch(call: &Call<'_>) -> Result<Reply, Status> {
    let options = ListOptions::parse(call.target.kind, &call.query)?;
    let rendering = Rendering::negotiate(call.target.kind, call.headers, &call.query)?;
    if options.watch {
        call.check("watch")?;
        if options.send_initial_events == Some(true) {
            check_reached(options.revision, call.state.registry.store().revision())?;
        }
        return watch::serve(call.state, call.target.namespace.as_deref(), options, rendering);
    }
    let registry = &call.state.registry;
    check_reached(options.revision, registry.store().revision())?;
    let page = Page { limit: options.limit, token: options.token, at: options.at };
    let list =
        registry.list(call.target.kind, call.target.namespace.as_deref(), &options.selectors, &page)?;
    Ok(reply_list(rendering, list))
}

/// Writes a list piece by piece: what is in memory at once is a piece, not the list.
pub fn reply_list(rendering: Rendering, list: List) -> Reply {
    let mut pieces =
        ListText { buffer: rendering.head(&list), rendering, items: list.items.into_iter(), rows: 0 };
    match pieces.next() {
        Some(Ok(first)) if pieces.items.len() == 0 && pieces.rows == DONE => reply::json(first),
        Some(Err(error)) => reply::status(&Status::internal(error)),
        first => {
            let pieces = stream::iter(first.into_iter().chain(pieces));
            reply::with_body(StatusCode::OK, reply::JSON, body::stream(pieces))
        }
    }
}

/// [`ListText::rows`] once the closing brackets are written.
const DONE: usize = usize::MAX;

struct ListText<I> {
    rendering: Rendering,
    items: I,
    rows: usize,
    buffer: Vec<u8>,
}

impl<I: Iterator<Item = crate::server::registry::Item>> Iterator for ListText<I> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows == DONE {
            return None;
        }
        let mut piece = std::mem::take(&mut self.buffer);
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.extend_from_slice(b"]}\n");
                self.rows = DONE;
                break;
            };
            if self.rows > 0 {
                piece.push(b',');
            }
            self.rows += 1;
            match self.rendering.row(&item) {
                Ok(row) => piece.extend_from_slice(&row),
                Err(status) => {
                    self.rows = DONE;
                    return Some(Err(io::Error::other(status)));
                }
            }
        }
        Some(Ok(Bytes::from(piece)))
    }
}
