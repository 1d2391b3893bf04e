//! Strategic merge patch: a merge patch that knows which lists merge, and by which key.
//!
//! Kubernetes' sig-api-machinery/strategic-merge-patch.md describes the directives; where it leaves
//! something open, this does what the API server does.

use std::fmt;

use serde_json::{Map, Value};

use crate::api::schema::table::{Form, Merge, Shape, Type};

mod list;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_ITEMS: &str = "$deleteFromPrimitiveList/";

/// What is wrong with a patch.
#[derive(Debug)]
pub enum Error {
    /// `$patch` with something other than `merge`, `replace` and `delete`.
    Directive {
        found: String,
    },
    RetainKeys,
    /// A list was expected at this field.
    NotList {
        field: String,
    },
    /// A list of maps has an item that is none.
    NotMap {
        field: String,
    },
    MergeKey {
        field: String,
        key: &'static str,
    },
    /// An item of the patch is not in `$setElementOrder`, or in another order.
    Order {
        field: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Directive { found } => write!(f, "unknown patch type found: {found}"),
            Error::RetainKeys => f.write_str("invalid patch format of retainKeys"),
            Error::NotList { field } => write!(f, "invalid patch: `{field}` must be a list"),
            Error::NotMap { field } => write!(f, "invalid patch: the items of `{field}` must be maps"),
            Error::MergeKey { field, key } => {
                write!(f, "map does not contain declared merge key: {key}: an item of `{field}`")
            }
            Error::Order { field } => {
                write!(f, "the order in the patch of `{field}` doesn't match its $setElementOrder list")
            }
        }
    }
}

/// Merges `patch` into a map of type `of` (None: a map that the table does not know).
pub fn merge_map(
    mut current: Map<String, Value>,
    patch: &Map<String, Value>,
    of: Option<Type>,
) -> Result<Map<String, Value>, Error> {
    match patch.get(PATCH) {
        None => {}
        Some(Value::String(word)) if word == "merge" => {}
        Some(Value::String(word)) if word == "replace" => return Ok(clean_map(patch)),
        Some(Value::String(word)) if word == "delete" => return Ok(Map::new()),
        Some(other) => return Err(Error::Directive { found: other.to_string() }),
    }
    retain_keys(&mut current, patch)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_ITEMS) {
            list::delete_scalars(&mut current, field, value)?;
        }
    }
    for (key, value) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_ITEMS) {
            continue;
        }
        if let Some(field) = key.strip_prefix(SET_ORDER) {
            // Before the field's own patch in the map's order, or without one.
            let list = list::Ordered { field, merge: merge_of(of, field) };
            let before = list.ids(current.get(field))?;
            merge_field(&mut current, field, patch.get(field), of)?;
            list.reorder(&mut current, &before, value, patch.get(field))?;
        } else if !patch.contains_key(&format!("{SET_ORDER}{key}")) {
            merge_field(&mut current, key, Some(value), of)?;
        }
    }
    Ok(current)
}

fn merge_of(of: Option<Type>, field: &str) -> Option<Merge> {
    of.and_then(|of| of.field(field)).and_then(|field| field.merge())
}

/// Merges one field's patch. None: there is none.
fn merge_field(
    current: &mut Map<String, Value>,
    key: &str,
    patch: Option<&Value>,
    of: Option<Type>,
) -> Result<(), Error> {
    let Some(patch) = patch else { return Ok(()) };
    let field = of.and_then(|of| of.field(key));
    match (current.remove(key), patch) {
        (_, Value::Null) => {}
        (Some(Value::Object(now)), Value::Object(patch)) => {
            let merged = merge_map(now, patch, field.and_then(|field| inner(field.shape)))?;
            current.insert(key.to_owned(), Value::Object(merged));
        }
        (Some(Value::Array(now)), Value::Array(patch)) => {
            let items = match field.and_then(|field| field.merge()) {
                None => patch.iter().filter_map(clean).collect(),
                Some(Merge::Scalars) => list::add_scalars(now, patch),
                Some(Merge::Key(merge_key)) => {
                    let item = field.and_then(|field| inner(field.shape));
                    list::merge_maps(now, patch, list::Keyed { field: key, key: merge_key, item })?
                }
            };
            current.insert(key.to_owned(), Value::Array(items));
        }
        (_, patch) => {
            if let Some(value) = clean(patch) {
                current.insert(key.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// The struct in a field, or in the items of its list.
fn inner(shape: Shape) -> Option<Type> {
    match shape.form() {
        Form::Struct(of) => Some(of),
        Form::List(item) => inner(item),
        _ => None,
    }
}

/// `$retainKeys`: fields that the list does not name go; the patch may set none of them.
fn retain_keys(current: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Error> {
    let Some(list) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let list = list.as_array().ok_or(Error::RetainKeys)?;
    let named = |key: &str| list.iter().any(|name| name == key);
    let sets_another =
        patch.iter().any(|(key, value)| !value.is_null() && !key.starts_with('$') && !named(key));
    if sets_another {
        return Err(Error::RetainKeys);
    }
    current.retain(|key, _| named(key));
    Ok(())
}

/// A value taken from a patch as it is: without nulls and directives. None: it was a directive.
fn clean(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(map) if map.get(PATCH).is_some_and(|word| word == "delete") => None,
        Value::Object(map) => Some(Value::Object(clean_map(map))),
        Value::Array(items) => Some(items.iter().filter_map(clean).collect()),
        other => Some(other.clone()),
    }
}

fn clean_map(patch: &Map<String, Value>) -> Map<String, Value> {
    let is_directive = |key: &str| {
        key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_ITEMS)
    };
    patch
        .iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .filter_map(|(key, value)| Some((key.clone(), clean(value)?)))
        .collect()
}
