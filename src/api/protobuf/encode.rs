//! JSON text → protobuf, for clients that take nothing else.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::wire::Writer;
use super::{Error, PREFIX};
use crate::api::quantity::Quantity;
use crate::api::schema::table::{self, Form, Shape, Type};
use crate::api::time;

/// What there is of an object or list before its fields are looked at.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    /// Read one by one: a list is never whole in memory but as text.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Writes an object or a list, with its envelope.
///
/// # Errors
/// The type is none of the table's: definitions' own kinds have no protobuf, as upstream.
pub fn encode(json: &[u8]) -> Result<Vec<u8>, Error> {
    let malformed = |_| Error::Malformed { field: "object".to_owned() };
    let head: Head<'_> = serde_json::from_slice(json).map_err(malformed)?;
    let mut raw = Writer::default();
    match &head.items {
        Some(items) => {
            let kind = head.kind.strip_suffix("List").unwrap_or(&head.kind);
            let of = Message::of(&head.api_version, kind)?;
            message(&mut raw, 1, "ListMeta", &head.metadata)?;
            for item in items {
                let item: Map<String, Value> = serde_json::from_str(item.get()).map_err(malformed)?;
                let mut inner = Writer::default();
                of.write(&item, &mut inner)?;
                raw.bytes(2, inner.as_slice());
            }
        }
        None => {
            let of = Message::of(&head.api_version, &head.kind)?;
            let object: Map<String, Value> = serde_json::from_slice(json).map_err(malformed)?;
            of.write(&object, &mut raw)?;
        }
    }
    let mut meta = Writer::default();
    meta.bytes(1, head.api_version.as_bytes());
    meta.bytes(2, head.kind.as_bytes());
    let mut envelope = Writer::default();
    envelope.bytes(1, meta.as_slice());
    envelope.bytes(2, raw.as_slice());
    envelope.bytes(3, b"");
    envelope.bytes(4, b"");
    Ok([PREFIX, envelope.as_slice()].concat())
}

/// One event of a watch, from its line of JSON, with the length that frames it.
pub fn watch_event(line: &[u8]) -> Result<Vec<u8>, Error> {
    #[derive(Deserialize)]
    struct Event<'a> {
        r#type: String,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let event: Event<'_> =
        serde_json::from_slice(line).map_err(|_| Error::Malformed { field: "event".to_owned() })?;
    let mut object = Writer::default();
    object.bytes(1, &encode(event.object.get().as_bytes())?);
    let mut message = Writer::default();
    message.bytes(1, event.r#type.as_bytes());
    message.bytes(2, object.as_slice());
    let length = u32::try_from(message.as_slice().len()).map_err(|_| Error::Overflow)?;
    Ok([&length.to_be_bytes(), message.as_slice()].concat())
}

enum Message {
    Table(Type),
    Metadata,
}

impl Message {
    fn of(api_version: &str, kind: &str) -> Result<Message, Error> {
        let status = || table::find("meta.v1", kind).filter(|_| (api_version, kind) == ("v1", "Status"));
        match (api_version, kind) {
            ("meta.k8s.io/v1" | "meta.k8s.io/v1beta1", "PartialObjectMetadata") => Some(Message::Metadata),
            _ => table::kind(api_version, kind).filter(Type::is_kind).or_else(status).map(Message::Table),
        }
        .ok_or_else(|| Error::Unregistered { api_version: api_version.to_owned(), kind: kind.to_owned() })
    }

    fn write(&self, object: &Map<String, Value>, out: &mut Writer) -> Result<(), Error> {
        match (self, object.get("metadata")) {
            (Message::Table(of), _) => fields(*of, "", object, out),
            (Message::Metadata, Some(Value::Object(metadata))) => message(out, 1, "ObjectMeta", metadata),
            (Message::Metadata, _) => Ok(()),
        }
    }
}

/// A message of one of meta.v1's types.
fn message(out: &mut Writer, number: u32, of: &str, map: &Map<String, Value>) -> Result<(), Error> {
    let mut inner = Writer::default();
    if let Some(of) = table::find("meta.v1", of) {
        fields(of, "", map, &mut inner)?;
    }
    out.bytes(number, inner.as_slice());
    Ok(())
}

/// Writes the fields whose numbers begin with `prefix`.
fn fields(of: Type, prefix: &str, map: &Map<String, Value>, out: &mut Writer) -> Result<(), Error> {
    // The messages that JSON does not have, each written with the first of its fields.
    let mut embedded = BTreeSet::new();
    for field in of.fields() {
        let Some(rest) = field.number().and_then(|number| number.strip_prefix(prefix)) else { continue };
        let Some(value) = map.get(field.name).filter(|value| !value.is_null()) else { continue };
        match rest.split_once('.') {
            Some((head, _)) => {
                let number = head.parse().map_err(|_| Error::Overflow)?;
                if embedded.insert(number) {
                    let mut inner = Writer::default();
                    fields(of, &format!("{prefix}{head}."), map, &mut inner)?;
                    out.bytes(number, inner.as_slice());
                }
            }
            None => {
                let number = rest.parse().map_err(|_| Error::Overflow)?;
                write(field.name, number, field.shape, value, out)?;
            }
        }
    }
    Ok(())
}

/// Writes a field: every item of a list, every entry of a map.
fn write(name: &str, number: u32, shape: Shape, value: &Value, out: &mut Writer) -> Result<(), Error> {
    match (shape.form(), value) {
        (Form::List(item), Value::Array(items)) => {
            items.iter().try_for_each(|value| one(name, number, item, value, out))
        }
        (Form::Map(item), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            let mut entry = Writer::default();
            entry.bytes(1, key.as_bytes());
            one(name, 2, item, value, &mut entry)?;
            out.bytes(number, entry.as_slice());
            Ok(())
        }),
        _ => one(name, number, shape, value, out),
    }
}

/// Writes one value. What is not of the table's type was stored before it was checked: it is left out.
fn one(name: &str, number: u32, shape: Shape, value: &Value, out: &mut Writer) -> Result<(), Error> {
    let mut inner = Writer::default();
    match (shape.form(), value) {
        (Form::String | Form::Named(_), Value::String(text)) => {
            out.bytes(number, text.as_bytes());
            return Ok(());
        }
        (Form::Bytes, Value::String(text)) => {
            let bytes = data_encoding::BASE64.decode(text.as_bytes());
            out.bytes(number, &bytes.map_err(|_| Error::Malformed { field: name.to_owned() })?);
            return Ok(());
        }
        (Form::Bool, Value::Bool(is_set)) => {
            out.varint(number, u64::from(*is_set));
            return Ok(());
        }
        (Form::Int32 | Form::Int64, Value::Number(value)) => {
            out.varint(number, value.as_i64().unwrap_or(0) as u64);
            return Ok(());
        }
        (Form::Double, Value::Number(value)) => {
            out.fixed64(number, value.as_f64().unwrap_or(0.0).to_bits());
            return Ok(());
        }
        (Form::Time | Form::MicroTime, Value::String(text)) => {
            let Some(moment) = time::parse(text) else { return Ok(()) };
            let (seconds, nanos) = time::unix(moment);
            inner.varint(1, seconds as u64);
            inner.varint(2, u64::from(nanos));
        }
        (Form::Quantity, value) => {
            let Ok(quantity) = Quantity::from_json(value) else { return Ok(()) };
            inner.bytes(1, quantity.to_string().as_bytes());
        }
        (Form::IntOrString, Value::Number(value)) => {
            inner.varint(1, 0);
            inner.varint(2, value.as_i64().unwrap_or(0) as u64);
        }
        (Form::IntOrString, Value::String(text)) => {
            inner.varint(1, 1);
            inner.bytes(3, text.as_bytes());
        }
        (Form::Any, _) if name == "openAPIV3Schema" => {
            return Err(Error::JsonOnly { field: name.to_owned() });
        }
        (Form::Any, value) => inner.bytes(1, value.to_string().as_bytes()),
        (Form::Struct(of), Value::Object(map)) => fields(of, "", map, &mut inner)?,
        (Form::List(item), Value::Array(items)) => {
            items.iter().try_for_each(|value| one(name, 1, item, value, &mut inner))?;
        }
        _ => return Ok(()),
    }
    out.bytes(number, inner.as_slice());
    Ok(())
}
