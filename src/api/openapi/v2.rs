//! `/openapi/v2`, for kubectl before 1.27.

use super::{Document, Piece};

/// The `Content-Type` of [`document_v2`]. Clients spell it `v2@v1.0` in `Accept`, and fail on an answer
/// that does: `@` is not allowed in a media type.
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The protobuf that such clients ask for, with
/// `Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf` (or `.v2.v1.0+`); answer 406 to
/// other Accept values.
///
/// It is a document without definitions: to a kind that is not there, kubectl applies its own
/// knowledge of the built-in kinds, and leaves the checking of fields to the server.
pub fn document_v2() -> Document {
    let mut info = Vec::new();
    string(&mut info, 1, "Kubernetes");
    string(&mut info, 2, "v1.37.0");
    let mut document = Vec::new();
    string(&mut document, 1, "2.0");
    bytes(&mut document, 2, &info);
    bytes(&mut document, 8, &[]); // paths
    bytes(&mut document, 9, &[]); // definitions
    Document { pieces: [Piece::Bytes(document)].into() }
}

fn string(message: &mut Vec<u8>, field: u8, text: &str) {
    bytes(message, field, text.as_bytes());
}

/// A length-delimited protobuf field of at most 127 bytes.
fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    message.push(u8::try_from(value.len()).unwrap_or(0));
    message.extend_from_slice(value);
}
