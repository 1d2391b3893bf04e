//! YAML as JSON text: what YAML says more than JSON (anchors, styles, YAML 1.1's many words) ends here, and
//! all that reads JSON, down to the search for duplicate keys, reads YAML.
//!
//! Scalars are read as upstream's parser (`sigs.k8s.io/yaml`, YAML 1.1) reads them: `yes` is true, `0644`
//! is 420. Written event by event: there is no tree, and aliases are bounded by what they write.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

mod scalar;

#[cfg(test)]
mod tests;

/// Deeper than this no object is; JSON's parser goes a little further.
const DEPTH: usize = 100;

/// Why a text can't be read; `line` counts from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    line: usize,
    what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error converting YAML to JSON: yaml: line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Error {}

/// The documents of a text as JSON, in order; empty ones are left out. All together are at most `limit`
/// bytes.
pub fn documents(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
    let mut documents = Vec::new();
    let mut writer = Writer::default();
    let mut left = limit;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| Error { line: error.marker().line(), what: error.info().to_owned() })?;
        let failed = |what: &str| Error { line: span.start.line(), what: what.to_owned() };
        if event == Event::DocumentEnd {
            let writer = std::mem::take(&mut writer);
            left = left.saturating_sub(writer.json.len());
            if !writer.is_empty {
                documents.push(writer.json);
            }
            continue;
        }
        writer.take(event).map_err(failed)?;
        if writer.json.len() > left {
            return Err(failed("document contains excessive aliasing, or is too large"));
        }
        if writer.open.len() > DEPTH {
            return Err(failed("exceeded max depth"));
        }
    }
    Ok(documents)
}

/// The one document of a text as JSON, `null` for none, at most `limit` bytes.
pub fn to_json(text: &str, limit: usize) -> Result<Vec<u8>, Error> {
    let mut documents = documents(text, limit)?.into_iter();
    let first = documents.next().unwrap_or_else(|| b"null".to_vec());
    match documents.next() {
        None => Ok(first),
        Some(_) => Err(Error { line: 1, what: "more than one document".to_owned() }),
    }
}

struct Writer {
    json: Vec<u8>,
    open: Vec<Open>,
    /// Where the nodes with an anchor stand in the JSON.
    anchors: BTreeMap<usize, Range<usize>>,
    /// Whether nothing or null was written.
    is_empty: bool,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { json: Vec::new(), open: Vec::new(), anchors: BTreeMap::new(), is_empty: true }
    }
}

/// A list or map that has begun.
struct Open {
    start: usize,
    anchor: usize,
    is_map: bool,
    /// Nodes so far: in a map, keys and values.
    nodes: usize,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::SequenceStart(anchor, _) => self.begin(false, anchor),
            Event::MappingStart(anchor, _) => self.begin(true, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Err("did not find expected node content") };
                self.json.push(if open.is_map { b'}' } else { b']' });
                self.anchored(open.anchor, open.start);
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_key = self.next()?;
                let start = self.json.len();
                let plain = style == ScalarStyle::Plain && !tag.as_deref().is_some_and(is_string);
                match if plain { scalar::plain(&text) } else { scalar::quoted(&text) } {
                    _ if is_key && plain && text == "<<" => return Err("merge keys (<<) are not supported"),
                    json if is_key => self.key(&json)?,
                    json => {
                        self.is_empty &= json == "null" && self.open.is_empty();
                        self.json.extend_from_slice(json.as_bytes());
                    }
                }
                self.anchored(anchor, start);
                if is_key {
                    self.json.push(b':');
                }
                Ok(())
            }
            Event::Alias(anchor) => {
                let is_key = self.next()?;
                let range = self.anchors.get(&anchor).cloned().ok_or("anchor value contains itself")?;
                if is_key {
                    let json = self.json.get(range).map(String::from_utf8_lossy).unwrap_or_default();
                    let json = json.into_owned();
                    self.key(&json)?;
                    self.json.push(b':');
                } else {
                    self.json.extend_from_within(range);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, is_map: bool, anchor: usize) -> Result<(), &'static str> {
        if self.next()? {
            return Err("invalid map key");
        }
        self.is_empty = false;
        self.open.push(Open { start: self.json.len(), anchor, is_map, nodes: 0 });
        self.json.push(if is_map { b'{' } else { b'[' });
        Ok(())
    }

    /// Writes what comes before a node, and says whether that is a key.
    fn next(&mut self) -> Result<bool, &'static str> {
        let Some(open) = self.open.last_mut() else { return Ok(false) };
        let is_key = open.is_map && open.nodes % 2 == 0;
        if open.nodes > 0 && (is_key || !open.is_map) {
            self.json.push(b',');
        }
        open.nodes += 1;
        Ok(is_key)
    }

    /// A scalar as a key: a number or a truth value becomes text.
    fn key(&mut self, json: &str) -> Result<(), &'static str> {
        match json.as_bytes().first() {
            Some(b'"') => self.json.extend_from_slice(json.as_bytes()),
            Some(b'{' | b'[') | None => return Err("invalid map key"),
            Some(_) if json == "null" => return Err("unsupported map key of type: nil"),
            Some(_) => self.json.extend_from_slice(format!("\"{json}\"").as_bytes()),
        }
        Ok(())
    }

    fn anchored(&mut self, anchor: usize, start: usize) {
        // 0 stands for no anchor.
        if anchor > 0 {
            self.anchors.insert(anchor, start..self.json.len());
        }
    }
}

/// `!!str` and `!`.
fn is_string(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str") || (tag.handle.is_empty() && tag.suffix == "!")
}
