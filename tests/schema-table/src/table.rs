//! Puts the table together: k8s-openapi's types from the overlay's roots on, with k8s-pb's numbers and
//! markers and the overlay's facts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::error::Error;
use crate::lists;
use crate::openapi::{Field, Shape, Types};
use crate::overlay::Package;
use crate::protobuf::{Markers, Messages};

pub struct Table {
    pub text: String,
    /// Fields that k8s-pb does not have: without a number, with k8s-openapi's strategy as list type.
    pub unnumbered: Vec<String>,
}

struct Builder<'a> {
    packages: &'a [Package],
    types: &'a Types,
    messages: &'a [Messages],
    /// Head and body lines of the structs, by package and name.
    structs: BTreeMap<(usize, String), String>,
    /// The string types in use, by package.
    strings: BTreeSet<(usize, String)>,
    /// What of the overlay was applied, by package.
    applied: BTreeSet<(usize, String)>,
    /// Structs that are still to be read.
    open: Vec<(usize, String)>,
    unnumbered: Vec<String>,
}

/// Makes the table's text from the overlay's packages, and each one's messages.
pub fn build(packages: &[Package], types: &Types, messages: &[Messages]) -> Result<Table, Error> {
    let roots = packages
        .iter()
        .enumerate()
        .flat_map(|(index, package)| package.roots.iter().map(move |name| (index, name.clone())));
    let mut builder = Builder {
        packages,
        types,
        messages,
        structs: BTreeMap::new(),
        strings: BTreeSet::new(),
        applied: BTreeSet::new(),
        open: roots.collect(),
        unnumbered: Vec::new(),
    };
    while let Some((package, name)) = builder.open.pop() {
        if !builder.structs.contains_key(&(package, name.clone())) {
            let lines = builder.lines(package, &name)?;
            builder.structs.insert((package, name), lines);
        }
    }
    builder.check_overlay()?;
    builder.unnumbered.sort();
    Ok(Table { text: builder.text(), unnumbered: builder.unnumbered })
}

impl Builder<'_> {
    fn lines(&mut self, package: usize, name: &str) -> Result<String, Error> {
        let mut fields = self.types.read(&self.packages[package].openapi_prefix, name)?;
        let message = self.messages[package].get(&crate::plain(name));
        let json_names: BTreeSet<String> = fields.keys().map(|name| crate::plain(name)).collect();
        let numbered =
            message.map(|message| message.flat(&self.messages[package], &|name| json_names.contains(name)));
        let numbered = numbered.unwrap_or_default();
        let is_kind = ["apiVersion", "kind"].iter().all(|constant| {
            fields.contains_key(*constant)
                && !numbered.iter().any(|field| field.name == crate::plain(constant))
        });
        if is_kind {
            fields.retain(|name, _| name != "apiVersion" && name != "kind");
        }
        let is_atomic = message.is_some_and(|message| message.markers.has("structType=atomic"));
        let mut lines = format!("{name}{}{}\n", mark(is_kind, " kind"), mark(is_atomic, " atomic"));
        for numbered in &numbered {
            let Some(json_name) = fields.keys().find(|name| crate::plain(name) == numbered.name).cloned()
            else {
                continue; // apiVersion or kind
            };
            let Some(field) = fields.remove(&json_name) else { continue };
            let path = format!("{name}.{json_name}");
            lists::check(&path, &field, &numbered.markers)?;
            self.check_default(package, &path, &numbered.markers)?;
            // k8s-openapi calls the metadata of every kind required; the markers know better.
            let is_required = field.is_required && !numbered.markers.has("optional");
            let marks = format!(" #{}{}", numbered.number, mark(is_required, " !"));
            lines += &self.line(package, &path, &field, &marks, &lists::of_markers(&numbered.markers))?;
        }
        for (json_name, field) in &fields {
            let path = format!("{name}.{json_name}");
            let list_type = lists::of_strategy(self.types, field)?;
            lines += &self.line(package, &path, field, mark(field.is_required, " !"), &list_type)?;
            let facts = &self.packages[package].fields;
            if facts.get(&path).is_none_or(|fact| fact.number.is_none()) {
                self.unnumbered.push(path);
            }
        }
        Ok(lines)
    }

    /// One line of the table, from what the crates and the overlay say of a field.
    fn line(
        &mut self,
        package: usize,
        path: &str,
        field: &Field,
        marks: &str,
        list_marks: &str,
    ) -> Result<String, Error> {
        let (_, name) = path.split_once('.').unwrap_or_default();
        let mut shape = self.word(package, path, &field.shape)?;
        let packages = self.packages;
        let Some(fact) = packages[package].fields.get(path) else {
            return Ok(format!(" {name} {shape}{marks}{list_marks}\n"));
        };
        self.applied.insert((package, path.to_owned()));
        if let Some(string) = &fact.string {
            let not_a_string = || Error::NotAString { field: path.to_owned(), shape: shape.clone() };
            let lists = shape.strip_suffix("string").ok_or_else(not_a_string)?;
            shape = format!("{lists}{string}");
            let (of, string_name) = match string.rsplit_once('.') {
                Some((of, name)) => (packages.iter().position(|package| package.name == of), name),
                None => (Some(package), string.as_str()),
            };
            let found = of.filter(|of| packages[*of].strings.contains_key(string_name));
            let missing = || Error::FindStringType { field: path.to_owned(), name: string.clone() };
            self.strings.insert((found.ok_or_else(missing)?, string_name.to_owned()));
        }
        let checked = mark(fact.is_checked, if marks.ends_with('!') { "!" } else { " !!" });
        let default = fact.default.as_ref().map(|default| format!(" {default}")).unwrap_or_default();
        let number = fact.number.as_ref().map(|number| format!(" {number}")).unwrap_or_default();
        let pointer = mark(fact.is_pointer, " *");
        Ok(format!(" {name} {shape}{number}{marks}{checked}{pointer}{list_marks}{default}\n"))
    }

    /// The table's word for a shape; structs in it are put on the list of what is to be read.
    fn word(&mut self, package: usize, path: &str, shape: &Shape) -> Result<String, Error> {
        Ok(match shape {
            Shape::List(item) => format!("[]{}", self.word(package, path, item)?),
            Shape::Map(item) => format!("{{}}{}", self.word(package, path, item)?),
            Shape::Plain(word) => (*word).to_owned(),
            Shape::Struct(of, name) => {
                let found = self.packages.iter().position(|package| package.openapi_prefix == *of);
                let (of, field) = path.split_once('.').unwrap_or_default();
                let index = found.ok_or_else(|| Error::ReadType {
                    of: of.to_owned(),
                    field: field.to_owned(),
                    text: format!("a struct of a package that overlay.txt does not have, {name}"),
                })?;
                self.open.push((index, name.clone()));
                let is_near = index == package;
                if is_near { name.clone() } else { format!("{}.{name}", self.packages[index].name) }
            }
        })
    }

    /// A marked default must be in the overlay, which alone knows whether it replaces an empty value too.
    fn check_default(&self, package: usize, path: &str, markers: &Markers) -> Result<(), Error> {
        let set = self.packages[package].fields.get(path).and_then(|fact| fact.default.as_deref());
        let set = set.map(|default| default.trim_start_matches(':').trim_start_matches('='));
        for marker in markers.values("default") {
            // A string that is left out is "" anyway; `ref(…)` names a constant that no crate has.
            let is_known = set.map_or(marker == "\"\"", |set| set == marker || marker.starts_with("ref("));
            if !is_known {
                return Err(Error::DefaultNotSet { field: path.to_owned(), marker: marker.to_owned() });
            }
        }
        Ok(())
    }

    fn check_overlay(&self) -> Result<(), Error> {
        let mut unused = Vec::new();
        for (index, package) in self.packages.iter().enumerate() {
            let is_unused =
                |set: &BTreeSet<(usize, String)>, name: &str| !set.contains(&(index, name.to_owned()));
            unused.extend(package.fields.keys().filter(|path| is_unused(&self.applied, path)).cloned());
            unused.extend(package.strings.keys().filter(|name| is_unused(&self.strings, name)).cloned());
        }
        if unused.is_empty() { Ok(()) } else { Err(Error::ApplyOverlay { unused }) }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (index, package) in self.packages.iter().enumerate() {
            let _ = writeln!(text, "\n@ {} {} {}", package.name, package.api_version, package.openapi_prefix);
            let structs = self.structs.iter().filter(|((of, _), _)| *of == index);
            structs.for_each(|(_, lines)| text.push_str(lines));
            for (_, name) in self.strings.iter().filter(|(of, _)| *of == index) {
                let line = format!("~{name} {}", package.strings.get(name).map_or("", String::as_str));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }
}

/// The word, or nothing.
pub fn mark(is_set: bool, word: &'static str) -> &'static str {
    if is_set { word } else { "" }
}
