//! YAML as a small tree of mappings, lists and texts.

use std::fmt;

use saphyr_parser::{Event, Parser, ScanError};

/// Deeper than this is no configuration.
const DEPTH: usize = 8;

#[derive(Debug, PartialEq, Eq)]
pub enum Yaml {
    Scalar(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

#[derive(Debug)]
pub enum Error {
    /// `line` counts from 1.
    Syntax {
        line: usize,
        source: ScanError,
    },
    Shape {
        line: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The scanner's own text ends with what the file holds.
            Error::Syntax { line, source } => write!(f, "line {line}: {}", source.info()),
            Error::Shape { line } => write!(f, "line {line}: only mappings, lists and texts are taken"),
        }
    }
}

impl std::error::Error for Error {}

/// Parses one document; an empty one is an empty text.
pub fn parse(text: &str) -> Result<Yaml, Error> {
    /// What is open: a list, or a mapping with the key whose value comes next.
    enum Open {
        List(Vec<Yaml>),
        Map(Vec<(String, Yaml)>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|source| Error::Syntax { line: source.marker().line(), source })?;
        let shape = || Error::Shape { line: span.start.line() };
        let whole = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Vec::new(), None));
                None
            }
            Event::Scalar(text, ..) => Some(Yaml::Scalar(text.into_owned())),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Yaml::List(list)),
                Some(Open::Map(map, _)) => Some(Yaml::Map(map)),
                None => return Err(shape()),
            },
            Event::Alias(_) => return Err(shape()),
            _ => None,
        };
        if open.len() > DEPTH {
            return Err(shape());
        }
        let Some(whole) = whole else { continue };
        match (open.last_mut(), whole) {
            (Some(Open::List(list)), whole) => list.push(whole),
            (Some(Open::Map(map, key)), whole) => match (key.take(), whole) {
                (Some(key), whole) => map.push((key, whole)),
                (None, Yaml::Scalar(name)) if map.iter().all(|(known, _)| *known != name) => {
                    *key = Some(name)
                }
                _ => return Err(shape()),
            },
            (None, whole) if root.is_none() => root = Some(whole),
            (None, _) => return Err(shape()),
        }
    }
    Ok(root.unwrap_or_else(|| Yaml::Scalar(String::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees() {
        let text = |text: &str| Yaml::Scalar(text.into());
        let parsed = parse("a: {b: [1, \"2\"]}\n\"*\":\n").unwrap();
        let inner = Yaml::Map(vec![("b".into(), Yaml::List(vec![text("1"), text("2")]))]);
        assert_eq!(parsed, Yaml::Map(vec![("a".into(), inner), ("*".into(), text(""))]));
        assert_eq!(parse("# nothing\n").unwrap(), text(""));
        for bad in ["a: &x 1\nb: *x\n", "? [a]\n: b\n", "a: 1\na: 2\n", &"[".repeat(99), "--- a\n--- b\n"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
