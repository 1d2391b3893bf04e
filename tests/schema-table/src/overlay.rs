//! Reads `overlay.txt`: which kinds the table starts from, and the facts that are in no crate.

use std::collections::BTreeMap;

use crate::error::Error;

/// One package of the table.
#[derive(Default)]
pub struct Package {
    /// `core.v1`
    pub name: String,
    pub api_version: String,
    /// `io.k8s.api.core.v1`
    pub openapi_prefix: String,
    /// The types that the table starts from.
    pub roots: Vec<String>,
    /// The values of string types; none: any.
    pub strings: BTreeMap<String, String>,
    /// By `PodSpec.restartPolicy`.
    pub fields: BTreeMap<String, Fact>,
}

/// What the overlay says of a field.
#[derive(Default)]
pub struct Fact {
    /// A string type, of this package or `meta.v1.UID`.
    pub string: Option<String>,
    /// An object without it is refused.
    pub is_checked: bool,
    /// `="File"` or `:="File"`.
    pub default: Option<String>,
    /// A pointer in Go.
    pub is_pointer: bool,
    /// `#7`, where k8s-pb is too old.
    pub number: Option<String>,
}

pub fn parse(text: &str) -> Result<Vec<Package>, Error> {
    let mut packages: Vec<Package> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let unreadable = || Error::ReadOverlay { line, text: text.to_owned() };
        let mut words = text.split_whitespace();
        let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        if first == "@" {
            let mut word = || words.next().map(str::to_owned).ok_or_else(unreadable);
            let (name, api_version, openapi_prefix) = (word()?, word()?, word()?);
            packages.push(Package { name, api_version, openapi_prefix, ..Package::default() });
            continue;
        }
        let package = packages.last_mut().ok_or(Error::NoPackage { line })?;
        if first == "roots" {
            package.roots.extend(words.map(str::to_owned));
        } else if let Some(name) = first.strip_prefix('~') {
            package.strings.insert(name.to_owned(), words.collect::<Vec<&str>>().join(" "));
        } else if first.contains('.') {
            let mut fact = Fact::default();
            for word in words {
                match word {
                    "!!" => fact.is_checked = true,
                    "*" => fact.is_pointer = true,
                    _ if word.starts_with('#') => fact.number = Some(word.to_owned()),
                    _ if word.starts_with('=') || word.starts_with(":=") => {
                        fact.default = Some(word.to_owned())
                    }
                    _ => fact.string = Some(word.to_owned()),
                }
            }
            package.fields.insert(first.to_owned(), fact);
        } else {
            return Err(unreadable());
        }
    }
    Ok(packages)
}

/// Adds to `packages` what another file says of their fields: which are pointers, and their numbers.
pub fn add(packages: &mut [Package], wire: Vec<Package>) {
    for (package, fields) in wire.into_iter().map(|package| (package.name, package.fields)) {
        let Some(package) = packages.iter_mut().find(|known| known.name == package) else { continue };
        for (path, fact) in fields {
            let known = package.fields.entry(path).or_default();
            known.is_pointer = fact.is_pointer;
            known.number = fact.number;
        }
    }
}
