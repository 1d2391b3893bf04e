//! JSON patch, RFC 6902.

use std::fmt;

use serde_json::{Map, Value};

use super::MAX_DEPTH;
use crate::api::{Reason, Status};

/// Operations in one patch; upstream's limit.
pub const MAX_OPERATIONS: usize = 10_000;

/// JSON nodes (values and list items) that one patch may copy or move, so that neither a chain of
/// copies that double an object nor thousands of insertions into a long list get far.
pub const MAX_WORK: usize = 1_000_000;
/// Bytes of text that one patch may copy inside the object.
const MAX_COPIED: usize = 3 * 1024 * 1024;

enum Failure {
    Malformed(&'static str),
    Missing,
    NoIndex,
    TestFailed,
    IntoItself,
    TooDeep,
    TooMuch,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Malformed(what) => f.write_str(what),
            Failure::Missing => f.write_str("there is nothing at that path"),
            Failure::NoIndex => f.write_str("the list has no such index"),
            Failure::TestFailed => f.write_str("the value is another one"),
            Failure::IntoItself => f.write_str("a value can't be moved into itself"),
            Failure::TooDeep => write!(f, "the object would be nested deeper than {MAX_DEPTH}"),
            Failure::TooMuch => f.write_str("the patch copies or moves too much"),
        }
    }
}

pub fn apply(current: &Value, operations: &Value) -> Result<Value, Status> {
    let Value::Array(operations) = operations else {
        return Err(Status::bad_request("a JSON patch is a list of operations"));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.len()
            ),
        ));
    }
    let mut document = Document { root: current.clone(), work: 0, copied: 0 };
    for (index, operation) in operations.iter().enumerate() {
        document.operate(operation).map_err(|failure| {
            let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
            let message =
                format!("JSON patch operation {index} ({} {}): {failure}", text("op"), text("path"));
            match failure {
                Failure::Malformed(_) => Status::bad_request(message),
                _ => Status::new(
                    Reason::Invalid,
                    format!("the server rejected our request due to an error in our request: {message}"),
                ),
            }
        })?;
    }
    Ok(document.root)
}

struct Document {
    root: Value,
    work: usize,
    copied: usize,
}

impl Document {
    fn operate(&mut self, operation: &Value) -> Result<(), Failure> {
        let path = pointer(operation, "path")?;
        let value = || operation.get("value").ok_or(Failure::Malformed("it has no `value`"));
        match operation.get("op").and_then(Value::as_str) {
            Some("add") => self.add(&path, value()?.clone()),
            Some("replace") => {
                let value = value()?.clone();
                check_depth(&path, &value)?;
                *self.find(&path)? = value;
                Ok(())
            }
            Some("remove") => self.remove(&path).map(drop),
            Some("test") => match (self.find(&path), value()?) {
                (Ok(found), value) if found == value => Ok(()),
                // Upstream: what is not there equals null.
                (Err(Failure::Missing), Value::Null) => Ok(()),
                (Err(failure), _) => Err(failure),
                _ => Err(Failure::TestFailed),
            },
            Some("move") => {
                let from = pointer(operation, "from")?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return Err(Failure::IntoItself);
                }
                let value = self.remove(&from)?;
                self.spend(nodes(&value))?;
                self.add(&path, value)
            }
            Some("copy") => {
                let from = pointer(operation, "from")?;
                let value = self.find(&from)?;
                let (count, size) = (nodes(value), bytes(value));
                self.spend(count)?;
                self.copied = self.copied.saturating_add(size);
                if self.copied > MAX_COPIED {
                    return Err(Failure::TooMuch);
                }
                let value = self.find(&from)?.clone();
                self.add(&path, value)
            }
            _ => Err(Failure::Malformed("`op` is not add, remove, replace, move, copy or test")),
        }
    }

    fn spend(&mut self, work: usize) -> Result<(), Failure> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK { Err(Failure::TooMuch) } else { Ok(()) }
    }

    fn find(&mut self, path: &[String]) -> Result<&mut Value, Failure> {
        path.iter().try_fold(&mut self.root, |place, token| match place {
            Value::Object(map) => map.get_mut(token).ok_or(Failure::Missing),
            Value::Array(items) => {
                index(token).and_then(|index| items.get_mut(index)).ok_or(Failure::Missing)
            }
            _ => Err(Failure::Missing),
        })
    }

    fn add(&mut self, path: &[String], value: Value) -> Result<(), Failure> {
        check_depth(path, &value)?;
        let Some((token, parent)) = path.split_last() else {
            self.root = value;
            return Ok(());
        };
        let shifted = match self.find(parent)? {
            Value::Object(map) => {
                map.insert(token.clone(), value);
                return Ok(());
            }
            Value::Array(items) => {
                let index = if token == "-" { Some(items.len()) } else { index(token) };
                let index = index.filter(|index| *index <= items.len()).ok_or(Failure::NoIndex)?;
                items.insert(index, value);
                items.len() - index
            }
            _ => return Err(Failure::Missing),
        };
        self.spend(shifted)
    }

    fn remove(&mut self, path: &[String]) -> Result<Value, Failure> {
        let Some((token, parent)) = path.split_last() else {
            return Ok(std::mem::replace(&mut self.root, Value::Object(Map::new())));
        };
        let (value, shifted) = match self.find(parent)? {
            Value::Object(map) => (map.remove(token).ok_or(Failure::Missing)?, 0),
            Value::Array(items) => {
                let index = index(token).filter(|index| *index < items.len()).ok_or(Failure::NoIndex)?;
                (items.remove(index), items.len() - index)
            }
            _ => return Err(Failure::Missing),
        };
        self.spend(shifted)?;
        Ok(value)
    }
}

/// A JSON pointer (RFC 6901) as its tokens.
fn pointer(operation: &Value, key: &'static str) -> Result<Vec<String>, Failure> {
    let text = operation.get(key).and_then(Value::as_str);
    let Some(text) = text else {
        return Err(Failure::Malformed(if key == "from" { "it has no `from`" } else { "it has no `path`" }));
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(text) = text.strip_prefix('/') else {
        return Err(Failure::Malformed("a path starts with `/`"));
    };
    let tokens: Vec<String> = text
        .split('/')
        .take(MAX_DEPTH + 1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect();
    if tokens.len() > MAX_DEPTH { Err(Failure::TooDeep) } else { Ok(tokens) }
}

/// A list's index: decimal, without sign or leading zeros (RFC 6901, section 4).
fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| canonical)
}

fn check_depth(path: &[String], value: &Value) -> Result<(), Failure> {
    if path.len() + depth(value) > MAX_DEPTH { Err(Failure::TooDeep) } else { Ok(()) }
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value.as_array().into_iter().flatten();
    items.chain(value.as_object().into_iter().flat_map(Map::values))
}

fn depth(value: &Value) -> usize {
    1 + children(value).map(depth).max().unwrap_or(0)
}

fn nodes(value: &Value) -> usize {
    1 + children(value).map(nodes).sum::<usize>()
}

fn bytes(value: &Value) -> usize {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Object(map) => map.keys().map(String::len).sum(),
        _ => 0,
    };
    own + 8 + children(value).map(bytes).sum::<usize>()
}
