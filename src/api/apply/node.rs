//! What server-side apply wants to know of a place in an object: how it is owned.

use serde_json::Value;

use crate::api::schema::table::{self, Field, Form, Shape, Type};

/// A place in a schema. Everything about ownership comes from here: the table's kinds and those that users
/// define differ nowhere else.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// A struct of the table.
    Struct(Type),
    /// A field of such a struct, with its marks.
    Field(Field),
    /// An item of a list or map of the table.
    Item(Shape),
    /// A whole object of a kind that users define, by its version's `openAPIV3Schema`.
    Custom(&'a Value),
    /// A part of such a schema, with its `x-kubernetes-` marks.
    Structural(&'a Value),
    /// Nothing is known: maps are owned field by field, lists as a whole.
    Unknown,
}

/// How what is at a place is owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout<'a> {
    /// As a whole: scalars, and what is atomic.
    Leaf,
    /// Field by field.
    Map,
    /// A list of values that are there once.
    Set,
    /// A list of maps that these keys tell apart.
    Keyed(Vec<&'a str>),
}

impl<'a> Node<'a> {
    /// How `value` is owned here; null takes any form.
    pub fn layout(self, value: &Value) -> Layout<'a> {
        let layout = self.declared(value);
        match (&layout, value) {
            (_, Value::Null) | (Layout::Map, Value::Object(_)) => layout,
            (Layout::Set | Layout::Keyed(_), Value::Array(_)) => layout,
            _ => Layout::Leaf,
        }
    }

    /// What the schema says.
    pub fn declared(self, value: &Value) -> Layout<'a> {
        match self {
            Node::Struct(of) if of.is_atomic() => Layout::Leaf,
            Node::Struct(_) => Layout::Map,
            Node::Field(field) if field.is_atomic() => Layout::Leaf,
            Node::Field(field) => match (field.shape.form(), field.list_keys()) {
                (Form::List(_), Some(keys)) => Layout::Keyed(keys.split(',').collect()),
                (Form::List(_), None) if field.is_set() => Layout::Set,
                _ => Node::Item(field.shape).declared(value),
            },
            Node::Item(shape) => match shape.form() {
                Form::Struct(of) => Node::Struct(of).declared(value),
                Form::Map(_) => Layout::Map,
                _ => Layout::Leaf,
            },
            Node::Custom(_) => Layout::Map,
            Node::Structural(schema) => structural(schema, value),
            Node::Unknown if value.is_object() => Layout::Map,
            Node::Unknown => Layout::Leaf,
        }
    }

    /// The field `name` of a map, and whether the schema names it (a map's key is no such name). None: there
    /// is no such field.
    pub fn entry(self, name: &str) -> Option<(Node<'a>, bool)> {
        match self {
            Node::Struct(of) => of.field(name).map(|field| (Node::Field(field), true)),
            Node::Field(field) => Node::Item(field.shape).entry(name),
            Node::Item(shape) => match shape.form() {
                Form::Struct(of) => Node::Struct(of).entry(name),
                Form::Map(item) => Some((Node::Item(item), false)),
                _ => None,
            },
            Node::Custom(schema) => match name {
                "metadata" => table::find("meta.v1", "ObjectMeta").map(|of| (Node::Struct(of), true)),
                "apiVersion" | "kind" => Some((Node::Unknown, true)),
                _ => Node::Structural(schema).entry(name),
            },
            Node::Structural(schema) => match schema.get("properties").and_then(|fields| fields.get(name)) {
                Some(field) => Some((Node::Structural(field), true)),
                None => match schema.get("additionalProperties") {
                    Some(item @ Value::Object(_)) => Some((Node::Structural(item), false)),
                    Some(Value::Bool(true)) => Some((Node::Unknown, false)),
                    _ if is(schema, "x-kubernetes-preserve-unknown-fields")
                        || is(schema, "x-kubernetes-embedded-resource") =>
                    {
                        Some((Node::Unknown, false))
                    }
                    _ => None,
                },
            },
            Node::Unknown => Some((Node::Unknown, false)),
        }
    }

    /// The items of a list.
    pub fn item(self) -> Node<'a> {
        match self {
            Node::Field(Field { shape, .. }) | Node::Item(shape) => match shape.form() {
                Form::List(item) => Node::Item(item),
                _ => Node::Unknown,
            },
            Node::Structural(schema) => schema.get("items").map_or(Node::Unknown, Node::Structural),
            _ => Node::Unknown,
        }
    }

    /// What a field is when it is left out, which counts where it is an item's key.
    pub fn default(self) -> Option<Value> {
        match self {
            Node::Field(field) => field.default().and_then(|default| serde_json::from_str(default.json).ok()),
            Node::Structural(schema) => schema.get("default").cloned(),
            _ => None,
        }
    }

    /// What must be there for a value to fit, for messages; None: anything goes or is looked at elsewhere.
    pub fn expected(self) -> Option<&'static str> {
        let shape = match self {
            Node::Struct(_) | Node::Custom(_) => return Some("map"),
            Node::Field(Field { shape, .. }) | Node::Item(shape) => shape,
            Node::Structural(schema) => {
                return match schema.get("type").and_then(Value::as_str) {
                    Some("object") => Some("map"),
                    Some("array") => Some("list"),
                    Some("string") => Some("string"),
                    Some("boolean") => Some("boolean"),
                    Some("integer" | "number") => Some("numeric (int or float)"),
                    _ => None,
                };
            }
            Node::Unknown => return None,
        };
        match shape.form() {
            Form::Struct(_) | Form::Map(_) => Some("map"),
            Form::List(_) => Some("list"),
            Form::String | Form::Named(_) | Form::Bytes | Form::Time | Form::MicroTime => Some("string"),
            Form::Bool => Some("boolean"),
            Form::Int32 | Form::Int64 | Form::Double => Some("numeric (int or float)"),
            Form::Quantity | Form::IntOrString | Form::Any => None,
        }
    }
}

fn is(schema: &Value, mark: &str) -> bool {
    schema.get(mark).and_then(Value::as_bool) == Some(true)
}

fn structural<'a>(schema: &'a Value, value: &Value) -> Layout<'a> {
    let text = |mark: &str| schema.get(mark).and_then(Value::as_str).unwrap_or("");
    match text("type") {
        "array" => match text("x-kubernetes-list-type") {
            "set" => Layout::Set,
            "map" => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                Layout::Keyed(keys.into_iter().flatten().filter_map(Value::as_str).collect())
            }
            _ => Layout::Leaf,
        },
        "object" if text("x-kubernetes-map-type") != "atomic" => Layout::Map,
        // Fields that nobody declared: as with no schema at all.
        "" if is(schema, "x-kubernetes-preserve-unknown-fields") => Node::Unknown.declared(value),
        _ => Layout::Leaf,
    }
}
