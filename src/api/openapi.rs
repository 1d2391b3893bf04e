//! OpenAPI documents, made from the schema table for each request and kept nowhere.

#![allow(clippy::todo)]

/// `/openapi/v3`: where the document of each group and version is. JSON.
pub fn index() -> Vec<u8> {
    todo!()
}

/// `/openapi/v3/api/v1` (group ""), `/openapi/v3/apis/<group>/<version>`. JSON, in chunks of a few KB
/// each, to be streamed (or collected). None: midge has no kind there.
/// The query parameter `hash`, if there, may be ignored; `ETag` is [`etag`].
pub fn document(_group: &str, _version: &str) -> Option<Document> {
    todo!()
}

/// The chunks of one document.
pub struct Document {}

impl Iterator for Document {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        todo!()
    }
}

/// The version of all documents, for `ETag` (quotes included) and `If-None-Match` → 304.
pub fn etag() -> String {
    todo!()
}

/// `/openapi/v2` for clients older than 1.27, which ask with
/// `Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf` (also spelled `.v2.v1.0+`):
/// that protobuf, streamed in chunks. Answer other Accept values 406.
pub fn document_v2() -> Document {
    todo!()
}
