//! Structural schemas: what a CustomResourceDefinition says of its objects, compiled once and small.
//!
//! A [`Node`] keeps no descriptions. Its walks are bounded by the size of the object and of the schema,
//! both of which are bounded by a request's.

use serde_json::{Map, Value};

mod defaults;
mod format;
mod path;
mod pattern;
mod prune;
mod rules;
mod validate;
mod words;

#[cfg(test)]
mod tests;

pub use path::Path;
use pattern::Pattern;
pub use rules::{check, uses_rules};

/// One schema, compiled from its JSON.
#[derive(Debug, Default)]
pub struct Node {
    of: Option<Of>,
    nullable: bool,
    preserves: bool,
    embedded: bool,
    int_or_string: bool,
    /// Ordered by name.
    properties: Box<[(Box<str>, Node)]>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    default: Option<Box<Value>>,
    rules: Option<Box<Rules>>,
    list: ListType,
    map_atomic: bool,
}

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

const TYPES: &[(&str, Of)] = &[
    ("array", Of::Array),
    ("boolean", Of::Boolean),
    ("integer", Of::Integer),
    ("number", Of::Number),
    ("object", Of::Object),
    ("string", Of::String),
];

impl Of {
    fn parse(text: &str) -> Option<Of> {
        TYPES.iter().find(|row| row.0 == text).map(|row| row.1)
    }

    fn as_str(self) -> &'static str {
        TYPES.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// A list without a type: replaced as a whole.
    #[default]
    Atomic,
    Set,
    /// The keys that tell items apart.
    Map(Box<[Box<str>]>),
}

/// What few schemas have.
#[derive(Debug, Default)]
struct Rules {
    required: Box<[Box<str>]>,
    values: Box<[Value]>,
    pattern: Option<Pattern>,
    format: Option<Box<str>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    /// Length of a string, items of a list, properties of a map.
    at_least: [Option<u64>; 3],
    at_most: [Option<u64>; 3],
    all: Box<[Node]>,
    any: Box<[Node]>,
    one: Box<[Node]>,
    not: Option<Box<Node>>,
}

const AT_LEAST: [&str; 3] = ["minLength", "minItems", "minProperties"];
const AT_MOST: [&str; 3] = ["maxLength", "maxItems", "maxProperties"];

impl Node {
    /// Compiles a schema that [`check`] has nothing against; what is strange in it is left out.
    pub fn compile(schema: &Value) -> Node {
        let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        let child = |key: &str| schema.get(key).filter(|value| value.is_object()).map(Node::compile);
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut properties: Vec<(Box<str>, Node)> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str().into(), Node::compile(schema)))
            .collect();
        properties.sort_by(|left, right| left.0.cmp(&right.0));
        let additional = match schema.get("additionalProperties") {
            // Anything goes.
            Some(Value::Bool(true)) => Some(Node { preserves: true, nullable: true, ..Node::default() }),
            _ => child("additionalProperties"),
        };
        Node {
            of: schema.get("type").and_then(Value::as_str).and_then(Of::parse),
            nullable: flag("nullable"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            properties: properties.into(),
            additional: additional.map(Box::new),
            items: child("items").map(Box::new),
            default: schema.get("default").filter(|value| !value.is_null()).cloned().map(Box::new),
            rules: Rules::compile(schema),
            list: match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(strings(schema.get("x-kubernetes-list-map-keys"))),
                _ => ListType::Atomic,
            },
            map_atomic: schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
        }
    }

    /// The schema of a member, be it named or additional. None: nothing is said of it.
    pub fn member(&self, name: &str) -> Option<&Node> {
        self.property(name).or(self.additional())
    }

    /// The schema of a member that it names.
    pub fn property(&self, name: &str) -> Option<&Node> {
        let found = self.properties.binary_search_by(|row| row.0.as_ref().cmp(name)).ok();
        found.and_then(|index| self.properties.get(index)).map(|row| &row.1)
    }

    /// The schema of all other members.
    pub fn additional(&self) -> Option<&Node> {
        self.additional.as_deref()
    }

    pub fn of(&self) -> Option<Of> {
        self.of
    }

    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_deref()
    }

    /// Whether it takes members of which it says nothing.
    pub fn is_open(&self) -> bool {
        self.preserves || self.embedded
    }

    /// The schema of a list's items.
    pub fn items(&self) -> Option<&Node> {
        self.items.as_deref()
    }

    /// How a list's items are told apart.
    pub fn list_type(&self) -> &ListType {
        &self.list
    }

    /// Whether a map is owned as a whole (`x-kubernetes-map-type: atomic`).
    pub fn is_atomic(&self) -> bool {
        self.map_atomic
    }

    /// Whether anything below has a default, so that objects are looked at when they are read.
    pub fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self.properties.iter().any(|row| row.1.has_defaults())
            || self.additional.iter().chain(&self.items).any(|node| node.has_defaults())
    }
}

impl Rules {
    fn compile(schema: &Value) -> Option<Box<Rules>> {
        const KEYS: &[&str] = &[
            "required",
            "enum",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "multipleOf",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        let map = schema.as_object()?;
        if !KEYS.iter().chain(&AT_LEAST).chain(&AT_MOST).any(|key| map.contains_key(*key)) {
            return None;
        }
        let text = |key: &str| {
            schema.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(Box::from)
        };
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        let list =
            |key: &str| schema.get(key).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        let nodes = |key: &str| list(key).iter().map(Node::compile).collect();
        Some(Box::new(Rules {
            required: strings(schema.get("required")),
            values: list("enum").into(),
            pattern: text("pattern").map(|text: Box<str>| Pattern::new(&text)),
            format: text("format"),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            at_least: AT_LEAST.map(|key| schema.get(key).and_then(Value::as_u64)),
            at_most: AT_MOST.map(|key| schema.get(key).and_then(Value::as_u64)),
            all: nodes("allOf"),
            any: nodes("anyOf"),
            one: nodes("oneOf"),
            not: schema.get("not").filter(|value| value.is_object()).map(|not| Box::new(Node::compile(not))),
        }))
    }
}

fn strings(list: Option<&Value>) -> Box<[Box<str>]> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

/// What every object of a defined kind has whatever its schema says, and every embedded one.
const IMPLIED: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The members of a map that its schema is about: the root's and an embedded object's own are the API's.
fn members(map: &Map<String, Value>, implied: bool) -> impl Iterator<Item = (&String, &Value)> {
    map.iter().filter(move |(name, _)| !implied || !IMPLIED.contains(&name.as_str()))
}
