//! OpenAPI documents, made from the schema table for each request and kept nowhere.
//!
//! kubectl reads them for `apply` (how lists merge), `explain`, and to learn that the server checks
//! fields by itself (the PATCH operations' `fieldValidation`). Descriptions are left out: they are
//! ten times the rest.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::Kind;
use super::kinds::Catalogue;
use super::schema::table::{self, Type};

mod defined;
mod paths;
mod schemas;
mod v2;

#[cfg(test)]
mod tests;

pub use defined::document as defined;
pub use v2::{Format, V2_CONTENT_TYPE, document_v2};

/// A chunk is sent once it is this long, in bytes: small enough to stay out of an idle server's memory.
const CHUNK: usize = 8 * 1024;

/// `/openapi/v3`: where the document of each group and version is. JSON.
pub fn index(kinds: &Catalogue) -> Vec<u8> {
    let hash = hash(kinds);
    let paths: BTreeMap<String, Value> = kinds
        .served()
        .into_iter()
        .map(|kind| {
            let path = root(kind);
            let url = format!("/openapi/v3/{path}?hash={hash:016X}");
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into_bytes()
}

/// `/openapi/v3/api/v1` (group ""), `/openapi/v3/apis/<group>/<version>`. JSON, in chunks to be
/// streamed (or collected). None: midge has no kind there. The query parameter `hash` needs no look.
pub fn document(kinds: &Catalogue, group: &str, version: &str) -> Option<Document> {
    let kinds: Vec<&'static Kind> =
        kinds.served().into_iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let api_version = kinds.first()?.api_version();
    let figures: Vec<_> = kinds.iter().filter_map(|kind| Some((*kind, defined::metrics(kind)?))).collect();
    if !figures.is_empty() {
        return Some(Document { pieces: VecDeque::from([Piece::Whole(defined(figures))]) });
    }
    let mut pieces = VecDeque::new();
    pieces.push_back(Piece::Text(
        r#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"v1.37.0"},"paths":{"#,
    ));
    pieces.extend(kinds.iter().map(|kind| Piece::Paths(kind)));
    pieces.push_back(Piece::Text(r#"},"components":{"schemas":{"#));
    let package = table::packages().iter().find(|package| package.api_version == api_version);
    pieces.extend(package.into_iter().flat_map(schemas::reachable).map(Piece::Schema));
    pieces.extend(kinds.iter().filter(|kind| kind.verbs.contains(&"list")).map(|kind| Piece::List(kind)));
    pieces.push_back(Piece::Builtins);
    pieces.push_back(Piece::Text("}}}"));
    Some(Document { pieces })
}

/// The version of all documents, for `ETag` (quotes included) and `If-None-Match` → 304.
pub fn etag(kinds: &Catalogue) -> String {
    format!("\"{:016X}\"", hash(kinds))
}

/// The chunks of one document.
pub struct Document {
    pieces: VecDeque<Piece>,
}

enum Piece {
    Whole(Vec<u8>),
    Text(&'static str),
    Paths(&'static Kind),
    Schema(Type),
    List(&'static Kind),
    Builtins,
}

impl Iterator for Document {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            let Some(piece) = self.pieces.pop_front() else { break };
            // A map's members are written one by one: a comma goes before all but the first.
            let follows = matches!(
                self.pieces.front(),
                Some(Piece::Paths(_) | Piece::Schema(_) | Piece::List(_) | Piece::Builtins)
            );
            let is_member = !matches!(piece, Piece::Text(_) | Piece::Whole(_));
            match piece {
                Piece::Whole(text) => chunk = text,
                Piece::Text(text) => chunk.extend_from_slice(text.as_bytes()),
                Piece::Paths(kind) => members(&mut chunk, paths::of(kind)),
                Piece::Schema(of) => members(&mut chunk, [(of.openapi_name(), schemas::of(of))]),
                Piece::List(kind) => members(&mut chunk, schemas::list(kind)),
                Piece::Builtins => members(&mut chunk, schemas::builtins()),
            }
            if is_member && follows {
                chunk.push(b',');
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// Writes the members of a map, without its braces.
fn members(chunk: &mut Vec<u8>, members: impl IntoIterator<Item = (String, Value)>) {
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            chunk.push(b',');
        }
        chunk.extend_from_slice(Value::String(name).to_string().as_bytes());
        chunk.push(b':');
        chunk.extend_from_slice(value.to_string().as_bytes());
    }
}

/// `api/v1`, `apis/coordination.k8s.io/v1`.
fn root(kind: &Kind) -> String {
    let prefix = if kind.group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", kind.api_version())
}

/// FNV-1a of all that the documents are made from: another midge or other kinds, another hash.
fn hash(kinds: &Catalogue) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let own = crate::VERSION.as_bytes().iter().chain(table::text().as_bytes());
    let hash = own.fold(0xcbf2_9ce4_8422_2325, step);
    kinds.served().iter().fold(hash, |hash, kind| {
        let names = [kind.group, kind.version, kind.plural, kind.kind];
        let hash = names.iter().flat_map(|name| name.as_bytes()).fold(hash, step);
        let revision = kind.definition.map_or(0, |definition| definition.now().revision);
        revision.to_le_bytes().iter().fold(hash, step)
    })
}
