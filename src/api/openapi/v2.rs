//! `/openapi/v2`, for kubectl before 1.27 and for tools that learn the types from it: JSON, or gnostic's
//! protobuf of it (`openapi.v2.Document`). Made of version 3's pieces.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{members, paths, schemas};
use crate::api::kinds::Catalogue;
use crate::api::protobuf::wire::Writer;
use crate::api::schema::table;

/// The `Content-Type` of the protobuf. Clients spell it `v2@v1.0` in `Accept`, and fail on an answer
/// that does: `@` is not allowed in a media type.
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Protobuf,
}

/// The document in chunks.
pub fn document_v2(kinds: &Catalogue, format: Format) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let kinds = kinds.stored();
    let types: BTreeMap<String, table::Type> =
        table::packages().iter().flat_map(schemas::reachable).map(|of| (of.openapi_name(), of)).collect();
    let lists = kinds.clone().into_iter().filter_map(schemas::list);
    let builtins = [
        (schemas::QUANTITY.to_owned(), json!({"type": "string"})),
        (schemas::INT_OR_STRING.to_owned(), json!({"type": "string", "format": "int-or-string"})),
    ];
    let paths = kinds.into_iter().flat_map(paths::of).map(|(name, item)| (name, path_item(item)));
    let definitions = types.into_iter().map(|(name, of)| (name, schemas::of(of)));
    let definitions = definitions.chain(lists).map(|(name, of)| (name, schema(of))).chain(builtins);
    let paths = section(format, PATHS, paths);
    let definitions = section(format, DEFINITIONS, definitions);
    let (head, between, end) = match format {
        Format::Json => (
            br#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"v1.37.0"},"paths":{"#.to_vec(),
            br#"},"definitions":{"#.to_vec(),
            b"}}".to_vec(),
        ),
        Format::Protobuf => (head(), Vec::new(), Vec::new()),
    };
    let around = |chunk: Vec<u8>| std::iter::once(chunk).filter(|chunk| !chunk.is_empty());
    around(head).chain(paths).chain(around(between)).chain(definitions).chain(around(end))
}

/// Where the document's maps are, and how their values are written.
type Section = (u32, u32, fn(&Value) -> Writer);
const PATHS: Section = (8, 2, write_path_item);
const DEFINITIONS: Section = (9, 1, write_schema);

fn section(
    format: Format,
    (map, entry, write): Section,
    entries: impl Iterator<Item = (String, Value)>,
) -> impl Iterator<Item = Vec<u8>> {
    entries.enumerate().map(move |(index, (name, value))| {
        let mut chunk = Vec::new();
        if format == Format::Json {
            chunk.extend_from_slice(if index > 0 { b"," } else { b"" });
            members(&mut chunk, [(name, value)]);
            return chunk;
        }
        // A message that comes in parts is their sum.
        let mut inner = Writer::default();
        inner.bytes(entry, named(&name, &write(&value)).as_slice());
        let mut part = Writer::default();
        part.bytes(map, inner.as_slice());
        part.as_slice().to_vec()
    })
}

fn head() -> Vec<u8> {
    let mut info = Writer::default();
    info.bytes(1, b"Kubernetes");
    info.bytes(2, b"v1.37.0");
    let mut document = Writer::default();
    document.bytes(1, b"2.0");
    document.bytes(2, info.as_slice());
    document.as_slice().to_vec()
}

/// A schema of version 3 as version 2 has it.
fn schema(value: Value) -> Value {
    match value {
        Value::Object(mut map) => {
            // Beside a `$ref`, version 2 has what version 3 must put around it.
            if let Some(Value::Array(all)) = map.remove("allOf") {
                all.into_iter().for_each(|part| match part {
                    Value::Object(part) => map.extend(part),
                    _ => {}
                });
            }
            Value::Object(map.into_iter().map(|(key, value)| (key, schema(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(schema).collect(),
        Value::String(text) => text.replace("#/components/schemas/", "#/definitions/").into(),
        other => other,
    }
}

fn path_item(value: Value) -> Value {
    let Value::Object(mut item) = value else { return value };
    for (name, value) in &mut item {
        if name == "parameters" {
            *value = parameters(value.take());
        } else if let Value::Object(operation) = value {
            convert(operation);
        }
    }
    Value::Object(item)
}

/// An operation's parameters, body and answers.
fn convert(operation: &mut Map<String, Value>) {
    let mut parameters = parameters(operation.remove("parameters").unwrap_or_default());
    if let Some(mut body) = operation.remove("requestBody") {
        let content = content(&mut body);
        operation.insert("consumes".to_owned(), content.keys().map(String::as_str).collect());
        let of = content.into_iter().next().map(|(_, mut media)| schema(media["schema"].take()));
        if let Value::Array(parameters) = &mut parameters {
            parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": of}));
        }
    }
    operation.insert("parameters".to_owned(), parameters);
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for response in responses.values_mut() {
            let of =
                content(response).into_iter().next().map(|(_, mut media)| schema(media["schema"].take()));
            *response = json!({"description": "OK", "schema": of});
        }
    }
    operation.insert("produces".to_owned(), json!(["application/json"]));
}

/// The media types of a body or an answer, and their schemas.
fn content(of: &mut Value) -> Map<String, Value> {
    match of.get_mut("content").map(Value::take) {
        Some(Value::Object(content)) => content,
        _ => Map::new(),
    }
}

/// What version 3 says in a parameter's schema, version 2 says in the parameter.
fn parameters(value: Value) -> Value {
    let Value::Array(mut parameters) = value else { return json!([]) };
    for parameter in &mut parameters {
        if let Value::Object(parameter) = parameter
            && let Some(Value::Object(of)) = parameter.remove("schema")
        {
            parameter.extend(of);
        }
    }
    Value::Array(parameters)
}

fn named(name: &str, value: &Writer) -> Writer {
    let mut out = Writer::default();
    out.bytes(1, name.as_bytes());
    out.bytes(2, value.as_slice());
    out
}

/// `openapi.v2.Any`: YAML, as which JSON does.
fn any(value: &Value) -> Writer {
    let mut out = Writer::default();
    out.bytes(2, value.to_string().as_bytes());
    out
}

/// One field that is a message with one field, or a text.
fn wrapped(out: &mut Writer, number: u32, inner: u32, bytes: &[u8]) {
    let mut wrapper = Writer::default();
    wrapper.bytes(inner, bytes);
    out.bytes(number, wrapper.as_slice());
}

fn write_schema(value: &Value) -> Writer {
    let mut out = Writer::default();
    for (key, value) in value.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("$ref", Value::String(text)) => out.bytes(1, text.as_bytes()),
            ("format", Value::String(text)) => out.bytes(2, text.as_bytes()),
            ("description", Value::String(text)) => out.bytes(4, text.as_bytes()),
            ("default", value) => out.bytes(5, any(value).as_slice()),
            ("required", Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).for_each(|name| out.bytes(19, name.as_bytes()));
            }
            ("enum", Value::Array(values)) => {
                values.iter().for_each(|value| out.bytes(20, any(value).as_slice()))
            }
            ("additionalProperties", of) => wrapped(&mut out, 21, 1, write_schema(of).as_slice()),
            ("type", Value::String(text)) => wrapped(&mut out, 22, 1, text.as_bytes()),
            ("items", of) => wrapped(&mut out, 23, 1, write_schema(of).as_slice()),
            ("properties", Value::Object(properties)) => {
                let mut all = Writer::default();
                for (name, of) in properties {
                    all.bytes(1, named(name, &write_schema(of)).as_slice());
                }
                out.bytes(25, all.as_slice());
            }
            (key, value) if key.starts_with("x-") => out.bytes(31, named(key, &any(value)).as_slice()),
            _ => {}
        }
    }
    out
}

/// Methods, their parameters in path and query, and what Kubernetes adds: bodies and answers are in the
/// JSON only.
fn write_path_item(value: &Value) -> Writer {
    const METHODS: &[(&str, u32)] = &[("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)];
    let mut out = Writer::default();
    for (method, number) in METHODS {
        let Some(operation) = value.get(method) else { continue };
        let mut inner = Writer::default();
        write_parameters(&mut inner, 8, operation);
        for (key, value) in operation.as_object().into_iter().flatten() {
            if key.starts_with("x-") {
                inner.bytes(13, named(key, &any(value)).as_slice());
            }
        }
        out.bytes(*number, inner.as_slice());
    }
    write_parameters(&mut out, 9, value);
    out
}

fn write_parameters(out: &mut Writer, number: u32, of: &Value) {
    for parameter in of.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or("").as_bytes();
        let (place, type_number) = match text("in") {
            b"query" => (3, 6),
            b"path" => (4, 5),
            _ => continue,
        };
        let mut inner = Writer::default();
        inner.varint(1, u64::from(place == 4));
        inner.bytes(2, text("in"));
        inner.bytes(4, text("name"));
        inner.bytes(type_number, text("type"));
        let mut plain = Writer::default();
        wrapped(&mut plain, 2, place, inner.as_slice());
        wrapped(out, number, 1, plain.as_slice());
    }
}
