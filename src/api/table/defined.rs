//! The columns of defined kinds: a JSONPath each, and a type that says how to print what it finds.

use std::time::SystemTime;

use serde_json::Value;

use super::{Column, age, columns};
use crate::api::structural::Path;
use crate::api::{Object, time};

/// The column that every kind begins with.
pub const fn name() -> Column {
    columns::NAME
}

/// A column that a definition adds.
pub fn column(
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    description: &'static str,
    priority: u8,
    path: &'static str,
) -> Column {
    Column { name, kind, format, description, priority, path, cell: |_, _| Value::Null }
}

/// What upstream's table convertor makes of a value; null, which is printed as nothing, where it finds none of the
/// column's type.
pub fn cell(column: &Column, object: &Object, now: SystemTime) -> Value {
    let Ok(path) = Path::parse(column.path) else { return Value::Null };
    let found = path.find(object.as_value());
    let Some(first) = found.first() else { return Value::Null };
    match (column.kind, first) {
        ("string", _) => {
            let texts: Vec<String> = found.iter().map(|value| text(value)).collect();
            texts.join(" ").into()
        }
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().map_or(Value::Null, |number| (number as i64).into()),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
        ("date", Value::String(text)) => match time::parse(text) {
            Some(then) => age(Some(then), now).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
