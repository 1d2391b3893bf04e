//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.
//!
//! All give a new value and leave the current one alone. None lets a small request make a large or
//! deep object: a result is at most as large as both together, or is refused.

use serde_json::{Map, Value};

use super::schema::table;
use super::{Kind, Status};

mod json;
mod strategic;

#[cfg(test)]
mod tests;

pub use json::{MAX_OPERATIONS, MAX_WORK};

/// How deep a patched object may be nested: what the parser takes, too.
pub const MAX_DEPTH: usize = 128;

/// Applies a JSON patch (a list of operations). Errors: 400 for what is no patch, 413 for too many
/// operations, 422 for a test that fails or a path that is not there.
pub fn json(current: &Value, operations: &Value) -> Result<Value, Status> {
    json::apply(current, operations)
}

/// Applies a JSON merge patch: maps merge, null removes, all else replaces. Never fails: what comes
/// out may be no object, if the patch is none.
pub fn merge(current: &Value, patch: &Value) -> Result<Value, Status> {
    let mut result = current.clone();
    merge_into(&mut result, patch);
    Ok(result)
}

/// RFC 7386, section 2.
fn merge_into(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_into(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch: lists of objects merge by the table's keys, with the directives
/// `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`. Errors: 400 for a
/// directive in the wrong shape or an item without its merge key.
pub fn strategic(kind: &Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(Status::bad_request("invalid JSON document: a strategic merge patch is a map"));
    };
    let of = table::kind(&kind.api_version(), kind.kind);
    strategic::merge_map(current.clone(), patch, of)
        .map(Value::Object)
        .map_err(|error| Status::bad_request(error.to_string()))
}
