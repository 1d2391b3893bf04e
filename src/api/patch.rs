//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.
//!
//! None of them changes the current value, and none can make it grow past [`MAX_RESULT`].

#![allow(clippy::todo)]

use serde_json::Value;

use super::{Kind, Status};

/// Operations in one JSON patch, as upstream.
pub const MAX_OPERATIONS: usize = 10_000;
/// Bytes, about, of a patched object: an object's limit is well below.
pub const MAX_RESULT: usize = 3 * 1024 * 1024;

/// Applies a JSON patch (a list of operations). Errors: 400 for what is no patch, 422 for a test that
/// fails or a path that is not there.
pub fn json(_current: &Value, _operations: &Value) -> Result<Value, Status> {
    todo!()
}

/// Applies a JSON merge patch: maps merge, null removes, all else replaces.
pub fn merge(_current: &Value, _patch: &Value) -> Result<Value, Status> {
    todo!()
}

/// Applies a strategic merge patch: lists of objects merge by the table's keys, with the directives
/// `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.
pub fn strategic(_kind: &Kind, _current: &Value, _patch: &Value) -> Result<Value, Status> {
    todo!()
}
