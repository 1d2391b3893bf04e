//! Reads k8s-pb: the protobuf numbers of fields, and the `+markers` in their comments.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::Error;

/// The messages of one package, by name as [`crate::plain`] writes it: prost makes `RbdVolumeSource` of
/// `RBDVolumeSource`.
pub type Messages = BTreeMap<String, Message>;

#[derive(Default)]
pub struct Message {
    pub markers: Markers,
    pub fields: Vec<Field>,
}

#[derive(Clone)]
pub struct Field {
    /// As [`crate::plain`] writes it.
    pub name: String,
    /// `2.5`: field 5 of the message that field 2 embeds.
    pub number: String,
    pub markers: Markers,
    /// Its type, if it is one of the package's messages (or none of ours: then no message has the name).
    pub message: Option<String>,
}

/// The words of a comment's lines that start with `+`: `listType=map`.
#[derive(Clone, Default)]
pub struct Markers(Vec<String>);

impl Markers {
    pub fn has(&self, marker: &str) -> bool {
        self.0.iter().any(|found| found == marker)
    }

    /// The values of `name=value`, in their order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter_map(|marker| marker.strip_prefix(name)?.strip_prefix('=')).collect()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }
}

/// Reads the messages of `package` (`io.k8s.api.core.v1`) from the crate's sources.
pub fn read(source: &Path, package: &str) -> Result<Messages, Error> {
    let path = source.join("src").join(crate::package_path(package)).join("mod.rs");
    let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
    let mut messages = Messages::new();
    let mut markers = Markers::default();
    let mut number = "";
    let mut open: Option<(String, Message)> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim();
        if let Some(marker) = code.strip_prefix("/// +") {
            markers.0.push(marker.to_owned());
        } else if code.starts_with("#[prost(") {
            number = code.split_once("tag = \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or("");
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            let name = crate::plain(name.trim_end_matches(['{', '}', ' ']));
            let message = Message { markers: std::mem::take(&mut markers), fields: Vec::new() };
            if line.ends_with('}') {
                messages.insert(name, message);
            } else {
                open = Some((name, message));
            }
        } else if let (Some((name, mut of)), Some((_, message))) =
            (code.strip_prefix("pub ").and_then(|code| code.split_once(':')), &mut open)
        {
            if of.is_empty() {
                of = lines.next().unwrap_or_default(); // a long type has a line of its own
            }
            message.fields.push(Field {
                name: crate::plain(name),
                number: number.to_owned(),
                markers: std::mem::take(&mut markers),
                message: of
                    .split_once("Option<")
                    .map(|(_, of)| crate::plain(of.trim_end_matches(['>', ',']))),
            });
        } else if line == "}" {
            messages.extend(open.take());
            markers = Markers::default();
        }
    }
    Ok(messages)
}

impl Message {
    /// The fields, those of embedded messages among them: a message whose name JSON does not have, but
    /// the names of all its fields.
    pub fn flat(&self, messages: &Messages, is_json_name: &dyn Fn(&str) -> bool) -> Vec<Field> {
        let mut flat = Vec::new();
        for field in &self.fields {
            let embedded = field.message.as_ref().and_then(|name| messages.get(name));
            match embedded {
                _ if is_json_name(&field.name) => flat.push(field.clone()),
                Some(message) => {
                    let inner = message.flat(messages, is_json_name);
                    if inner.len() >= message.fields.len() {
                        flat.extend(inner.into_iter().map(|inner| Field {
                            number: format!("{}.{}", field.number, inner.number),
                            ..inner
                        }));
                    }
                }
                None => {} // removed since k8s-pb's version
            }
        }
        flat
    }
}
