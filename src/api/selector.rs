//! Label and field selectors, as they come in `labelSelector=` and `fieldSelector=`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Kind, Object, Status};

mod format;
mod label;

pub use format::{format, format_labels};
pub use label::LabelSelector;

/// A parsed field selector for one kind; the empty one matches everything.
#[derive(Debug, Clone, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    label: String,
    read: Read,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Of(for<'a> fn(&'a Object) -> Cow<'a, str>),
    /// Of a defined kind: the label is the path.
    Path,
}

impl Term {
    fn value<'a>(&self, object: &'a Object) -> Cow<'a, str> {
        let Read::Of(read) = self.read else {
            let found = self.label.split('.').try_fold(object.as_value(), |value, name| value.get(name));
            return match found {
                Some(Value::String(text)) => text.as_str().into(),
                None | Some(Value::Null) => "".into(),
                Some(other) => other.to_string().into(),
            };
        };
        read(object)
    }
}

impl FieldSelector {
    /// `metadata.name=x,status.phase!=y`; `\` escapes `,`, `=` and itself in values. A field that the
    /// kind can't be selected by is a 400.
    pub fn parse(kind: &Kind, text: &str) -> Result<FieldSelector, Status> {
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|part| !part.is_empty()) {
            let Some((label, equal, value)) = split_term(part) else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            terms.push(Term {
                label: label.to_owned(),
                read: field(kind, label)?,
                equal,
                value: unescape(value),
            });
        }
        Ok(FieldSelector { terms })
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.terms.iter().all(|term| (term.value(object) == term.value.as_str()) == term.equal)
    }

    /// The name that a match must have (`metadata.name=x`), so that a list can be a single look-up.
    pub fn name(&self) -> Option<&str> {
        self.equal_to("metadata.name")
    }

    /// The value that a match must have in a field, where the selector says so.
    pub fn equal_to(&self, label: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.label == label).map(|term| term.value.as_str())
    }
}

fn field(kind: &Kind, label: &str) -> Result<Read, Status> {
    match label {
        "metadata.name" => Ok(Read::Of(|object| object.name().into())),
        "metadata.namespace" if kind.namespaced => Ok(Read::Of(|object| object.namespace().into())),
        _ if kind.definition.is_some_and(|definition| definition.selectable.contains(&label)) => {
            Ok(Read::Path)
        }
        _ if kind.definition.is_some() => {
            Err(Status::bad_request(format!("field label not supported: {label}")))
        }
        _ => match kind.fields.iter().find(|field| field.label == label) {
            Some(field) => Ok(Read::Of(field.value)),
            None if kind.fields.is_empty() => Err(Status::bad_request(format!(
                "\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ))),
            None => Err(Status::bad_request(format!("field label not supported: {label}"))),
        },
    }
}

/// At commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        if byte == b',' && !escaped {
            parts.push(&text[start..index]);
            start = index + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// Label, whether it must be equal, value.
fn split_term(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find('=')?;
    let (left, right) = (&part[..at], &part[at + 1..]);
    match left.strip_suffix('!') {
        Some(label) => Some((label, false, right)),
        None => Some((left, true, right.strip_prefix('=').unwrap_or(right))),
    }
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        text.push(c);
    }
    text
}

/// A label's value in a map of labels.
fn label_in<'a>(labels: Option<&'a Map<String, Value>>, key: &str) -> Option<&'a str> {
    labels?.get(key)?.as_str()
}

#[cfg(test)]
mod tests;
