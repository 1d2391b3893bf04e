//! Objects as a client wants them: plain, as a Table, or their metadata alone.
//!
//! Plain objects are never parsed: their stored text is copied, with the resourceVersion spliced in.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::ACCEPT;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::accept::{self, Shape};
use super::query::Query;
use super::registry::{Item, List};
use super::reply::JSON;
use crate::api::table::{self, IncludeObject};
use crate::api::{Kind, Object, Status, schema};

/// How one request's objects are written.
#[derive(Clone, Copy)]
pub struct Rendering {
    pub kind: &'static Kind,
    pub shape: Shape,
    /// The `apiVersion` of tables and partial metadata.
    meta: &'static str,
    include: IncludeObject,
    now: SystemTime,
}

impl Rendering {
    /// Chooses by the request's `Accept` header, and `includeObject` for tables.
    ///
    /// # Errors
    /// 406 when nothing fits, 400 for another `includeObject`.
    pub fn negotiate(kind: &'static Kind, headers: &HeaderMap, query: &Query<'_>) -> Result<Self, Status> {
        let (shape, meta) = negotiated(headers, accept::READ)?;
        let include = match query.text("includeObject") {
            None | Some("Metadata") => IncludeObject::Metadata,
            Some("None") => IncludeObject::None,
            Some("Object") => IncludeObject::Object,
            Some(other) => {
                return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}")));
            }
        };
        Ok(Self { kind, shape, meta, include, now: SystemTime::now() })
    }

    /// The same for a later moment, which ages in tables are told at.
    pub fn now(self) -> Self {
        Self { now: SystemTime::now(), ..self }
    }

    /// One stored object. `headers`: whether a table names its columns.
    pub fn item(&self, item: &Item, headers: bool) -> Result<Vec<u8>, Status> {
        match self.shape {
            Shape::Table => Ok(self.table(&self.parsed(item)?, headers)),
            Shape::Metadata => self.metadata_only(item),
            Shape::Plain | Shape::Discovery => match self.stored_text(item) {
                Some(text) => Ok(text),
                None => Ok(self.parsed(item)?.to_vec()),
            },
        }
    }

    /// What is shown of a stored object, where that is its text.
    pub fn stored_text(&self, item: &Item) -> Option<Vec<u8>> {
        let is_plain = matches!(self.shape, Shape::Plain | Shape::Discovery);
        (is_plain && !self.converts()).then(|| item.json())
    }

    /// Whether stored objects may differ from what is shown of them.
    fn converts(&self) -> bool {
        self.kind.view_of.is_some()
            || self.kind.definition.is_some_and(|definition| definition.now().converts)
    }

    fn parsed(&self, item: &Item) -> Result<Object, Status> {
        let mut object = item.object()?;
        // Tables are made of what is stored.
        if self.shape != Shape::Table || self.kind.view_of.is_none() {
            schema::convert(self.kind, &mut object);
        }
        Ok(object)
    }

    /// One object at hand, with its resourceVersion.
    pub fn object(&self, object: &Object, headers: bool) -> Vec<u8> {
        match self.shape {
            Shape::Table => self.table(object, headers),
            Shape::Metadata => {
                let metadata = object.at("/metadata").cloned().unwrap_or_default();
                self.partial(&metadata.to_string()).into_bytes()
            }
            Shape::Plain | Shape::Discovery if self.kind.view_of.is_some() => {
                let mut object = object.clone();
                schema::convert(self.kind, &mut object);
                object.to_vec()
            }
            Shape::Plain | Shape::Discovery => object.to_vec(),
        }
    }

    /// A list of objects at hand, which has no resourceVersion.
    pub fn objects(&self, objects: &[Object]) -> Vec<u8> {
        let mut text = self.head(&List::default());
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            match self.shape {
                Shape::Table => {
                    let row = table::row(self.kind, object, self.now, self.include);
                    text.extend(row.to_string().into_bytes());
                }
                _ => text.extend(self.object(object, false)),
            }
        }
        text.extend_from_slice(b"]}\n");
        text
    }

    fn table(&self, object: &Object, headers: bool) -> Vec<u8> {
        let metadata = json!({"resourceVersion": object.str_at("/metadata/resourceVersion")});
        let objects = std::slice::from_ref(object);
        let mut table = table::render(self.kind, objects, self.now, self.include, metadata, headers);
        self.spell(&mut table);
        table.to_string().into_bytes()
    }

    /// The text of a list up to its first item. What follows are [`Rendering::row`]s with commas, and `]}`.
    pub fn head(&self, list: &List) -> Vec<u8> {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".to_owned(), list.revision.to_string().into());
        if let Some(token) = &list.token {
            metadata.insert("continue".to_owned(), token.as_str().into());
        }
        if let Some(remaining) = list.remaining.filter(|_| list.token.is_some()) {
            metadata.insert("remainingItemCount".to_owned(), remaining.into());
        }
        let (kind, version, items, mut rest) = match self.shape {
            Shape::Table => {
                let Value::Object(mut table) =
                    table::render(self.kind, &[], self.now, self.include, Value::Null, true)
                else {
                    return Vec::new();
                };
                table.retain(|key, _| key == "columnDefinitions");
                ("Table", self.meta.into(), "rows", table)
            }
            Shape::Metadata => ("PartialObjectMetadataList", self.meta.into(), "items", Map::new()),
            Shape::Plain | Shape::Discovery => {
                (self.kind.list_kind, self.kind.api_version(), "items", Map::new())
            }
        };
        rest.insert("kind".to_owned(), kind.into());
        rest.insert("apiVersion".to_owned(), version.into());
        rest.insert("metadata".to_owned(), Value::Object(metadata));
        let mut text = Value::Object(rest).to_string();
        text.pop();
        text.push_str(",\"");
        text.push_str(items);
        text.push_str("\":[");
        text.into_bytes()
    }

    /// One item of a list.
    pub fn row(&self, item: &Item) -> Result<Vec<u8>, Status> {
        if self.shape != Shape::Table {
            return self.item(item, false);
        }
        let objects = [self.parsed(item)?];
        let mut table = table::render(self.kind, &objects, self.now, self.include, Value::Null, false);
        self.spell(&mut table);
        let row = table.pointer_mut("/rows/0").map(Value::take).unwrap_or_default();
        Ok(row.to_string().into_bytes())
    }
}

/// Chooses one of `offered` by the request's `Accept` headers.
pub fn shape(headers: &HeaderMap, offered: &[Shape]) -> Result<Shape, Status> {
    negotiated(headers, offered).map(|(shape, _)| shape)
}

/// [`shape`], and its version.
fn negotiated(headers: &HeaderMap, offered: &[Shape]) -> Result<(Shape, &'static str), Status> {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let first = accepted.next();
    // Several header lines are one list (RFC 9110 section 5.3); clients send one.
    let joined = accepted.next().map(|second| {
        let rest: String = accepted.map(|more| format!(",{more}")).collect();
        format!("{},{second}{rest}", first.unwrap_or(""))
    });
    accept::negotiate(joined.as_deref().or(first), offered).ok_or_else(|| Status::not_acceptable(&[JSON]))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Rendering {
    fn metadata_only(&self, item: &Item) -> Result<Vec<u8>, Status> {
        let text = item.json();
        let envelope: Envelope<'_> = serde_json::from_slice(&text).map_err(Status::internal)?;
        Ok(self.partial(envelope.metadata.get()).into_bytes())
    }

    fn partial(&self, metadata: &str) -> String {
        let meta = self.meta;
        format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{meta}\",\"metadata\":{metadata}}}")
    }

    /// Gives a table and the metadata in its rows the version that was asked for.
    fn spell(&self, table: &mut Value) {
        if self.meta != accept::META {
            table["apiVersion"] = self.meta.into();
            for row in table["rows"].as_array_mut().into_iter().flatten() {
                if row["object"]["kind"] == "PartialObjectMetadata" {
                    row["object"]["apiVersion"] = self.meta.into();
                }
            }
        }
    }
}
