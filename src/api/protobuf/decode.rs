//! Protobuf → Object.
//!
//! Go writes a field that is no pointer even where it is empty, and reads it back as if it was left out; a
//! pointer to something empty says something. The schema table tells the two apart (`Field::is_pointer`).

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Number, Value};

use super::wire::{Reader, Wire};
use super::{Error, PREFIX};
use crate::api::schema::table::{self, Field, Form, Shape, Type};
use crate::api::{Object, time};

/// Reads a body. Fields that Kubernetes does not have are skipped, as upstream skips them.
pub fn decode(body: &[u8]) -> Result<Object, Error> {
    if body.is_empty() {
        return Err(Error::Empty);
    }
    let envelope = Envelope::read(body.strip_prefix(PREFIX).ok_or(Error::Prefix)?)?;
    let of = envelope.of()?;
    let mut map = Map::new();
    fields(of, "", envelope.raw, &mut map)?;
    map.insert("apiVersion".to_owned(), envelope.api_version.into());
    map.insert("kind".to_owned(), envelope.kind.into());
    Object::from_value(Value::Object(map)).map_err(|_| Error::Malformed { field: "metadata".to_owned() })
}

/// A `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(message: &'a [u8]) -> Result<Envelope<'a>, Error> {
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(message);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => {
                    let mut reader = Reader::new(wire.bytes("TypeMeta")?);
                    while let Some((number, wire)) = reader.field()? {
                        match number {
                            1 => envelope.api_version = wire.text("APIVersion")?,
                            2 => envelope.kind = wire.text("Kind")?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = wire.bytes("Raw")?,
                3 => match wire.text("ContentEncoding")? {
                    "" => {}
                    encoding => return Err(Error::Encoding(encoding.to_owned())),
                },
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn of(&self) -> Result<Type, Error> {
        if self.kind.is_empty() {
            return Err(Error::NoKind);
        }
        // Every group has the options.
        let options = || table::find("meta.v1", self.kind).filter(|_| self.kind == "DeleteOptions");
        table::kind(self.api_version, self.kind).filter(Type::is_kind).or_else(options).ok_or_else(|| {
            Error::Unregistered { api_version: self.api_version.to_owned(), kind: self.kind.to_owned() }
        })
    }
}

/// Reads a message of type `of` into `map`. `prefix` is of the messages that JSON does not have: `1.`
/// within a container's probe, whose handler is a message of its own.
fn fields(of: Type, prefix: &str, message: &[u8], map: &mut Map<String, Value>) -> Result<(), Error> {
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field()? {
        let number = format!("{prefix}{number}");
        let mut embedded = false;
        let found = of.fields().find(|field| {
            let rest = field.number().and_then(|own| own.strip_prefix(number.as_str()));
            embedded |= rest.is_some_and(|rest| rest.starts_with('.'));
            rest == Some("")
        });
        match found {
            Some(field) => set(&field, wire, map)?,
            None if embedded => fields(of, &format!("{number}."), wire.bytes(of.name())?, map)?,
            None => {}
        }
    }
    Ok(())
}

/// Sets or adds to one field.
fn set(field: &Field, wire: Wire<'_>, map: &mut Map<String, Value>) -> Result<(), Error> {
    let name = field.name;
    match field.shape.form() {
        Form::List(item) => {
            let list = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                add(name, item, wire, items)?;
            }
        }
        Form::Map(item) => {
            let whole = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = whole {
                let (key, value) = entry(name, item, wire)?;
                entries.insert(key, value);
            }
        }
        Form::Struct(of) => {
            let whole = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = whole {
                fields(of, "", wire.bytes(name)?, inner)?;
            }
        }
        _ => {
            let value = value(name, field.shape, wire)?;
            if says_something(field, &value) {
                map.insert(name.to_owned(), value);
            } else {
                map.remove(name);
            }
        }
    }
    Ok(())
}

fn says_something(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) if text.is_empty() => field.is_pointer(),
        Value::Bool(false) => field.is_pointer(),
        Value::Number(number) if number.as_f64() == Some(0.0) => {
            field.is_pointer() || matches!(field.shape.form(), Form::IntOrString)
        }
        _ => true,
    }
}

fn add(name: &str, item: Shape, wire: Wire<'_>, items: &mut Vec<Value>) -> Result<(), Error> {
    let is_number = matches!(item.form(), Form::Bool | Form::Int32 | Form::Int64);
    match wire {
        Wire::Bytes(packed) if is_number => {
            let mut reader = Reader::new(packed);
            while let Some(number) = reader.packed()? {
                items.push(value(name, item, Wire::Varint(number))?);
            }
        }
        wire => items.push(value(name, item, wire)?),
    }
    Ok(())
}

/// A map's entry: a message with a key and a value, both of which may be left out when empty.
fn entry(name: &str, item: Shape, wire: Wire<'_>) -> Result<(String, Value), Error> {
    let mut reader = Reader::new(wire.bytes(name)?);
    let mut key = String::new();
    let mut found = None;
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = wire.text(name)?.to_owned(),
            2 => found = Some(value(name, item, wire)?),
            _ => {}
        }
    }
    let absent = || match item.form() {
        Form::Struct(_) => Value::Object(Map::new()),
        Form::List(_) => Value::Array(Vec::new()),
        Form::Quantity => "0".into(),
        _ => "".into(),
    };
    Ok((key, found.unwrap_or_else(absent)))
}

/// A value of its own: an item of a list, a map's value, a field.
fn value(name: &str, shape: Shape, wire: Wire<'_>) -> Result<Value, Error> {
    Ok(match shape.form() {
        Form::String | Form::Named(_) => wire.text(name)?.into(),
        Form::Bool => (wire.varint(name)? != 0).into(),
        // Negative numbers come as 64 bits, of which Go takes the lower half.
        Form::Int32 => (wire.varint(name)? as i32).into(),
        Form::Int64 => (wire.varint(name)? as i64).into(),
        Form::Double => match wire {
            Wire::Fixed64(bits) => Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number),
            _ => return Err(Error::Mismatch { field: name.to_owned() }),
        },
        Form::Bytes => data_encoding::BASE64.encode(wire.bytes(name)?).into(),
        Form::Time => moment(name, wire)?.map_or(Value::Null, |moment| time::format(moment).into()),
        Form::MicroTime => {
            moment(name, wire)?.map_or(Value::Null, |moment| time::format_micro(moment).into())
        }
        Form::Quantity => first(name, wire)?.map_or(Ok(""), |wire| wire.text(name))?.into(),
        Form::IntOrString => int_or_string(name, wire)?,
        // Not embedded JSON: a message of a type that the table does not have.
        Form::Any if name == "openAPIV3Schema" => return Err(Error::JsonOnly { field: name.to_owned() }),
        Form::Any => match first(name, wire)?.map_or(Ok(&[][..]), |wire| wire.bytes(name))? {
            [] => Value::Null,
            raw => serde_json::from_slice(raw).map_err(|_| Error::Malformed { field: name.to_owned() })?,
        },
        Form::Struct(of) => {
            let mut map = Map::new();
            fields(of, "", wire.bytes(name)?, &mut map)?;
            Value::Object(map)
        }
        // A list within a list or a map is a message with one field.
        Form::List(item) => {
            let mut items = Vec::new();
            let mut reader = Reader::new(wire.bytes(name)?);
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    add(name, item, wire, &mut items)?;
                }
            }
            Value::Array(items)
        }
        Form::Map(_) => return Err(Error::JsonOnly { field: name.to_owned() }),
    })
}

/// Field 1 of a message.
fn first<'a>(name: &str, wire: Wire<'a>) -> Result<Option<Wire<'a>>, Error> {
    let mut reader = Reader::new(wire.bytes(name)?);
    let mut found = None;
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            found = Some(wire);
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds since 1970; none for Go's zero time.
fn moment(name: &str, wire: Wire<'_>) -> Result<Option<std::time::SystemTime>, Error> {
    let (mut seconds, mut nanos) = (0_i64, 0_u32);
    let mut reader = Reader::new(wire.bytes(name)?);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => seconds = wire.varint(name)? as i64,
            2 => nanos = (wire.varint(name)? as u32).min(999_999_999),
            _ => {}
        }
    }
    if (seconds, nanos) == (0, 0) {
        return Ok(None);
    }
    // The years 1 to 9999, which JSON has four digits for.
    const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
    if !YEARS.contains(&seconds) {
        return Err(Error::Malformed { field: name.to_owned() });
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    Ok(start.and_then(|start| start.checked_add(Duration::from_nanos(nanos.into()))))
}

fn int_or_string(name: &str, wire: Wire<'_>) -> Result<Value, Error> {
    let (mut is_text, mut number, mut text) = (false, 0_i32, "");
    let mut reader = Reader::new(wire.bytes(name)?);
    while let Some((tag, wire)) = reader.field()? {
        match tag {
            1 => is_text = wire.varint(name)? == 1,
            2 => number = wire.varint(name)? as i32,
            3 => text = wire.text(name)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}
