//! Holds an object against the table.
//!
//! Decoding errors are worded as Go's decoder words them, since people search the web for them.

use serde_json::{Map, Value};

use super::table::{Field, Form, Shape, Type};
use super::{MAX_PROBLEMS, Problems};
use crate::api::quantity::Quantity;
use crate::api::{Cause, time};

/// Checks a whole object of type `of`.
pub fn object(of: Type, object: &Map<String, Value>) -> Problems {
    let mut walk = Walk { problems: Problems::default(), path: String::new(), place: Vec::new() };
    walk.fields(of, object);
    walk.problems
}

/// Drops from `object` what type `of` does not have.
pub fn prune(of: Type, object: &mut Map<String, Value>) {
    object.retain(|name, value| match of.field(name) {
        Some(field) => {
            prune_value(field.shape, value);
            true
        }
        None => false,
    });
}

fn prune_value(shape: Shape, value: &mut Value) {
    match (shape.form(), value) {
        (Form::Struct(of), Value::Object(map)) => prune(of, map),
        (Form::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| prune_value(item, value))
        }
        (Form::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| prune_value(item, value)),
        _ => {}
    }
}

struct Walk {
    problems: Problems,
    /// `spec.containers[0].ports`: where the walk is, as people write it.
    path: String,
    /// The same as Go's decoder writes it: the struct and field of each step, no indices.
    place: Vec<(&'static str, &'static str)>,
}

impl Walk {
    fn fields(&mut self, of: Type, map: &Map<String, Value>) {
        let mut known = 0;
        for field in of.fields() {
            let value = map.get(field.name);
            known += usize::from(value.is_some());
            if value.is_none_or(is_empty) && field.is_checked() {
                let path = self.child(field.name);
                self.cause(Cause::required(path, ""));
            }
            if let Some(value) = value {
                self.enter(of, &field, value);
            }
        }
        if known == map.len() {
            return;
        }
        for name in map.keys().filter(|name| of.field(name).is_none()) {
            if self.problems.unknown.len() >= MAX_PROBLEMS {
                break;
            }
            self.problems.unknown.push(self.child(name));
        }
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn enter(&mut self, of: Type, field: &Field, value: &Value) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(field.name);
        self.place.push((of.name(), field.name));
        self.value(field.shape, value);
        self.place.pop();
        self.path.truncate(length);
    }

    fn step(&mut self, index: impl std::fmt::Display, shape: Shape, value: &Value) {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        self.value(shape, value);
        self.path.truncate(length);
    }

    fn value(&mut self, shape: Shape, value: &Value) {
        match (shape.form(), value) {
            // Go's decoder takes null for "nothing was said".
            (_, Value::Null) | (Form::Any, _) | (Form::String, Value::String(_)) => {}
            (Form::Bool, Value::Bool(_)) | (Form::Double, Value::Number(_)) => {}
            (Form::List(item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.step(index, item, value);
                }
            }
            (Form::Map(item), Value::Object(map)) => {
                for (key, value) in map {
                    self.step(key, item, value);
                }
            }
            (Form::Struct(of), Value::Object(map)) => self.fields(of, map),
            (Form::Named(of), Value::String(text)) => self.word(of, text),
            (Form::Int32, Value::Number(number)) => {
                let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
                self.expect(fits, shape, &format!("number {number}"));
            }
            (Form::Int64, Value::Number(number)) => {
                self.expect(number.as_i64().is_some(), shape, &format!("number {number}"));
            }
            (Form::Quantity, Value::String(_) | Value::Number(_)) => {
                if let Err(error) = Quantity::from_json(value) {
                    self.mistyped(error.to_string());
                }
            }
            (Form::Time | Form::MicroTime, Value::String(text)) => {
                if time::parse(text).is_none() {
                    self.mistyped(format!(
                        "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \"2006\""
                    ));
                }
            }
            (Form::IntOrString, Value::String(_)) => {}
            (Form::IntOrString, Value::Number(number)) => {
                let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
                if !fits {
                    self.mistyped(format!(
                        "json: cannot unmarshal number {number} into Go value of type int32"
                    ));
                }
            }
            (Form::Bytes, Value::String(text)) => self.base64(text),
            (Form::IntOrString, other) => {
                self.mistyped(format!("json: cannot unmarshal {} into Go value of type int32", name(other)));
            }
            (Form::Time | Form::MicroTime, other) => {
                self.mistyped(format!("json: cannot unmarshal {} into Go value of type string", name(other)));
            }
            (_, other) => self.expect(false, shape, name(other)),
        }
    }

    /// A value of a string type: one of its set, if it has one. Empty is absent.
    fn word(&mut self, of: Type, text: &str) {
        let mut values = of.values().peekable();
        if text.is_empty() || values.peek().is_none() || of.values().any(|value| value == text) {
            return;
        }
        let supported: Vec<&str> = values.collect();
        self.cause(Cause::not_supported(self.path.as_str(), text, &supported));
    }

    fn cause(&mut self, cause: Cause) {
        if self.problems.causes.len() < MAX_PROBLEMS {
            self.problems.causes.push(cause);
        }
    }

    fn base64(&mut self, text: &str) {
        let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        let result = data_encoding::BASE64.decode_len(text.len()).and_then(|length| {
            let mut bytes = vec![0; length];
            data_encoding::BASE64.decode_mut(&text, &mut bytes).map_err(|partial| partial.error)
        });
        if let Err(error) = result {
            self.mistyped(format!("illegal base64 data at input byte {}", error.position));
        }
    }

    fn expect(&mut self, fits: bool, shape: Shape, found: &str) {
        if fits || self.problems.mistyped.is_some() {
            return;
        }
        let owner = self.place.last().map_or("", |(owner, _)| owner);
        let fields: Vec<&str> = self.place.iter().map(|(_, field)| *field).collect();
        let message = format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{} of type {}",
            fields.join("."),
            shape.go_name()
        );
        self.mistyped(message);
    }

    fn mistyped(&mut self, message: String) {
        self.problems.mistyped.get_or_insert(message);
    }
}

/// Whether a value counts as left out, for a field that must be there.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// What Go's decoder calls a JSON value.
fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
