//! Sets what the client left out.

use serde_json::{Map, Value};

use super::table::{Default, Form, Shape, Type};
use crate::api::{Object, quantity::Quantity};

/// Fills an object of type `of` in, down to its last struct, with the table's constants.
pub fn fill(of: Type, map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    for field in of.fields() {
        match map.get_mut(field.name) {
            None => {
                if let Some(value) = field.default().and_then(parse) {
                    map.insert(field.name.to_owned(), value);
                }
            }
            Some(value) => {
                if let Some(default) = field.default().filter(|default| default.replaces_empty)
                    && (value.as_str() == Some("") || value.as_i64() == Some(0))
                    && let Some(constant) = parse(default)
                {
                    *value = constant;
                }
                fill_value(field.shape, value);
            }
        }
    }
}

fn parse(default: Default) -> Option<Value> {
    serde_json::from_str(default.json).ok()
}

fn fill_value(shape: Shape, value: &mut Value) {
    match (shape.form(), value) {
        (Form::Struct(of), Value::Object(map)) => fill(of, map),
        (Form::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| fill_value(item, value)),
        (Form::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| fill_value(item, value)),
        // Upstream writes a quantity in its canonical text, whatever it was sent as; readers rely on it.
        (Form::Quantity, value @ (Value::Number(_) | Value::String(_))) => {
            if let Ok(quantity) = Quantity::from_json(value) {
                *value = quantity.to_string().into();
            }
        }
        // In a map of strings, null is the empty string to Go's decoder.
        (Form::String, value @ Value::Null) => *value = "".into(),
        _ => {}
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`: both are shown, whichever was set.
pub fn account(pod: &mut Object) {
    let names = [pod.str_at("/spec/serviceAccountName"), pod.str_at("/spec/serviceAccount")];
    let name = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = name {
        pod.set("/spec/serviceAccountName", name.as_str());
        pod.set("/spec/serviceAccount", name);
    }
}
