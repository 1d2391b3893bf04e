//! What server-side apply wants to know of a place in an object: how it is owned.

use serde_json::Value;

use crate::api::schema::table::{self, Field, Form, Shape, Type};
use crate::api::structural::{self, ListType, Of};

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
    /// A whole object of a kind that users define.
    Custom(&'a structural::Node),
    /// A part of such a schema.
    Structural(&'a structural::Node),
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
            Node::Structural(schema) => match schema.property(name) {
                Some(field) => Some((Node::Structural(field), true)),
                None => match schema.additional() {
                    Some(item) => Some((Node::Structural(item), false)),
                    None if schema.is_open() => Some((Node::Unknown, false)),
                    None => None,
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
            Node::Structural(schema) => schema.items().map_or(Node::Unknown, Node::Structural),
            _ => Node::Unknown,
        }
    }

    /// What a field is when it is left out, which counts where it is an item's key.
    pub fn default(self) -> Option<Value> {
        match self {
            Node::Field(field) => field.default().and_then(|default| serde_json::from_str(default.json).ok()),
            Node::Structural(schema) => schema.default_value().cloned(),
            _ => None,
        }
    }

    /// What must be there for a value to fit, for messages; None: anything goes or is looked at elsewhere.
    pub fn expected(self) -> Option<&'static str> {
        let shape = match self {
            Node::Struct(_) | Node::Custom(_) => return Some("map"),
            Node::Field(Field { shape, .. }) | Node::Item(shape) => shape,
            Node::Structural(schema) => {
                return schema.of().map(|of| match of {
                    Of::Object => "map",
                    Of::Array => "list",
                    Of::String => "string",
                    Of::Boolean => "boolean",
                    Of::Integer | Of::Number => "numeric (int or float)",
                });
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

fn structural<'a>(schema: &'a structural::Node, value: &Value) -> Layout<'a> {
    match schema.of() {
        Some(Of::Array) => match schema.list_type() {
            ListType::Atomic => Layout::Leaf,
            ListType::Set => Layout::Set,
            ListType::Map(keys) => Layout::Keyed(keys.iter().map(AsRef::as_ref).collect()),
        },
        Some(Of::Object) if !schema.is_atomic() => Layout::Map,
        // Fields that nobody declared: as with no schema at all.
        None if schema.is_open() => Node::Unknown.declared(value),
        _ => Layout::Leaf,
    }
}
