//! `/etc/midge/config.yaml`: a flat mapping of flag names (without dashes) to a scalar or a list of
//! scalars, as k3s has it.

use super::error::Error;
use saphyr_parser::{Event, Parser};
use std::path::{Path, PathBuf};

/// A file larger than this is not a configuration.
const MAX_BYTES: u64 = 256 * 1024;

/// The settings of one file, in its order.
pub struct ConfigFile {
    path: PathBuf,
    settings: Vec<(String, Vec<String>)>,
}

impl ConfigFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|(key, _)| key.as_str())
    }

    /// The values of `key`: none, one, or those of a list.
    pub fn values(&self, key: &str) -> &[String] {
        self.settings.iter().find(|(known, _)| known == key).map_or(&[], |(_, values)| values)
    }
}

/// Reads the file at `path`. One that is not `required` may be missing.
pub fn read(path: &Path, required: bool) -> Result<ConfigFile, Error> {
    let read = std::fs::metadata(path).and_then(|metadata| {
        if metadata.len() > MAX_BYTES {
            return Err(std::io::Error::other("larger than 256 kB"));
        }
        std::fs::read_to_string(path)
    });
    match read {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => parse(path, ""),
        Err(source) => Err(Error::ReadFile { path: path.to_path_buf(), source }),
    }
}

/// Parses `text`; `path` is for error messages.
pub fn parse(path: &Path, text: &str) -> Result<ConfigFile, Error> {
    let malformed =
        |line: usize, what: &str| Error::Malformed { path: path.to_path_buf(), line, what: what.to_string() };
    let mut settings: Vec<(String, Vec<String>)> = Vec::new();
    let mut place = Place::Outside;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| malformed(error.marker().line(), error.info()))?;
        let line = span.start.line();
        place = match (place, event) {
            (
                place,
                Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing,
            ) => place,
            (Place::Outside, Event::MappingStart(..)) if settings.is_empty() => Place::Key,
            // An empty document is one null scalar.
            (Place::Outside, Event::Scalar(text, ..)) if text.is_empty() || text == "~" => Place::Outside,
            (Place::Key, Event::MappingEnd) => Place::Outside,
            (Place::Key, Event::Scalar(key, ..)) => {
                if settings.iter().any(|(known, _)| *known == key) {
                    return Err(malformed(line, &format!("`{key}` is set twice")));
                }
                settings.push((key.into_owned(), Vec::new()));
                Place::Value
            }
            (Place::Value, Event::Scalar(value, ..)) => {
                push(&mut settings, value.into_owned());
                Place::Key
            }
            (Place::Value, Event::SequenceStart(..)) => Place::List,
            (Place::List, Event::Scalar(value, ..)) => {
                push(&mut settings, value.into_owned());
                Place::List
            }
            (Place::List, Event::SequenceEnd) => Place::Key,
            _ => return Err(malformed(line, "expected `flag: value` or `flag: [value, …]`")),
        };
    }
    Ok(ConfigFile { path: path.to_path_buf(), settings })
}

enum Place {
    Outside,
    Key,
    Value,
    List,
}

fn push(settings: &mut [(String, Vec<String>)], value: String) {
    if let Some((_, values)) = settings.last_mut() {
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        parse(Path::new("c.yaml"), text).map(|file| file.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn scalars_and_lists() {
        let settings =
            parsed("# comment\nnode-name: \"pi-1\"\nnode-label:\n  - a=b\n  - c=d\ndebug: true\n").unwrap();
        let keys: Vec<_> = settings.iter().map(|(key, values)| (key.as_str(), values.join(","))).collect();
        assert_eq!(
            keys,
            [("node-name", "pi-1".into()), ("node-label", "a=b,c=d".into()), ("debug", "true".into())]
        );
        assert!(parsed("").unwrap().is_empty());
        assert!(parsed("# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_the_line() {
        assert!(parsed("a: 1\nb: {c: d}\n").unwrap_err().contains("c.yaml:2"));
        assert!(parsed("a: 1\na: 2\n").unwrap_err().contains("set twice"));
        assert!(parsed("- a\n").is_err());
        assert!(parsed("a: [1\n").is_err());
    }
}
