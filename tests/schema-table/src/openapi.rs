//! Reads k8s-openapi: which fields a type has, their types, which are required, and how it merges lists.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Types by their name in OpenAPI documents: `io.k8s.api.core.v1.Pod`.
pub struct Types {
    /// The newest Kubernetes that the crate has: `1.37`.
    pub version: String,
    folder: PathBuf,
}

/// Fields by their JSON names.
pub type Struct = BTreeMap<String, Field>;

pub struct Field {
    pub shape: Shape,
    pub is_required: bool,
    pub strategy: Option<Strategy>,
}

#[derive(Clone)]
pub enum Shape {
    List(Box<Shape>),
    Map(Box<Shape>),
    /// A word of the table.
    Plain(&'static str),
    /// A struct, by its package and name: `io.k8s.api.core.v1`, `Pod`.
    Struct(String, String),
}

/// What `DeepMerge` does with a list or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    Atomic,
    Set,
    /// By these fields, as [`crate::plain`] writes them.
    Keys(Vec<String>),
    Granular,
}

impl Types {
    pub fn open(source: &Path) -> Result<Types, Error> {
        let folder = source.join("src");
        let entries = fs::read_dir(&folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
        let minors = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("v1_")?.parse::<u32>().ok());
        let minor = minors.max().ok_or(Error::FindVersion { folder: folder.clone() })?;
        Ok(Types { version: format!("1.{minor}"), folder: folder.join(format!("v1_{minor}")) })
    }

    /// Reads the struct `name` of a package: `io.k8s.api.core.v1`.
    pub fn read(&self, package: &str, name: &str) -> Result<Struct, Error> {
        let folder = self.folder.join(crate::package_path(package));
        let entries = fs::read_dir(&folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
        let title = format!("// Generated from definition {package}.{name}\n");
        let file_name = format!("{}.rs", name.to_lowercase());
        for path in entries.flatten().map(|entry| entry.path()) {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            if file.replace('_', "") != file_name {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
            if text.starts_with(&title) {
                return parse(&text, name);
            }
        }
        Err(Error::FindType { name: format!("{package}.{name}") })
    }
}

fn parse(text: &str, name: &str) -> Result<Struct, Error> {
    // The decoder's table of keys tells the JSON name of a field: `"hostIPC" => Field::Key_host_ipc,`.
    let json_names: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" => Field::Key_"))
        .map(|(json, ident)| (ident, json.trim_matches('"')))
        .collect();
    let strategies = strategies(text);
    let body = text.split_once(&format!("pub struct {name} {{\n")).map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}").map_or(body, |(body, _)| body);
    let mut fields = Struct::new();
    for line in body.lines() {
        let Some((ident, text)) = line.strip_prefix("    pub ").and_then(|line| line.split_once(": ")) else {
            continue;
        };
        let text = text.trim_end_matches(',');
        let unreadable =
            || Error::ReadType { of: name.to_owned(), field: ident.to_owned(), text: text.to_owned() };
        let optional = argument(text, "Option<");
        let field = Field {
            shape: shape(optional.unwrap_or(text)).ok_or_else(unreadable)?,
            is_required: optional.is_none(),
            strategy: strategies.get(ident).cloned(),
        };
        fields.insert((*json_names.get(ident).ok_or_else(unreadable)?).to_owned(), field);
    }
    // The type of a kind has no field for these two: they are the type's constants.
    for constant in ["apiVersion", "kind"] {
        if json_names.values().any(|name| *name == constant) && !fields.contains_key(constant) {
            let field = Field { shape: Shape::Plain("string"), is_required: false, strategy: None };
            fields.insert(constant.to_owned(), field);
        }
    }
    Ok(fields)
}

/// What is between `prefix` and the closing `>`.
fn argument<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_suffix('>')
}

fn shape(text: &str) -> Option<Shape> {
    if let Some(item) = argument(text, "std::vec::Vec<") {
        return Some(Shape::List(Box::new(shape(item)?)));
    }
    if let Some(item) = argument(text, "std::collections::BTreeMap<std::string::String, ") {
        return Some(Shape::Map(Box::new(shape(item)?)));
    }
    Some(Shape::Plain(match text {
        "std::string::String" => "string",
        "bool" => "bool",
        "i32" => "int32",
        "i64" => "int64",
        "f64" => "double",
        "crate::ByteString" => "bytes",
        "crate::apimachinery::pkg::apis::meta::v1::Time" => "time",
        "crate::apimachinery::pkg::apis::meta::v1::MicroTime" => "micro",
        "crate::apimachinery::pkg::apis::meta::v1::FieldsV1"
        | "crate::apimachinery::pkg::runtime::RawExtension"
        // A schema is checked by who serves its objects.
        | "crate::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps" => "any",
        "crate::apimachinery::pkg::api::resource::Quantity" => "quantity",
        "crate::apimachinery::pkg::util::intstr::IntOrString" => "intstr",
        _ => {
            let (package, name) = text.strip_prefix("crate::")?.rsplit_once("::")?;
            // Alpha features are off: nothing looks into them.
            if package.contains("alpha") {
                return Some(Shape::Plain("any"));
            }
            // A crate's module has no `-` in its name.
            let package = package.replace("::", ".").replace("apiextensions_apiserver", "apiextensions-apiserver");
            return Some(Shape::Struct(format!("io.k8s.{package}"), name.to_owned()));
        }
    }))
}

/// The calls of `merge_strategies` in the implementation of `DeepMerge`, by the field they merge.
fn strategies(text: &str) -> HashMap<&str, Strategy> {
    let calls = text.split("crate::merge_strategies::").skip(1);
    calls
        .filter_map(|call| {
            let (function, rest) = call.split_once('(')?;
            let ident = rest.split_once("&mut self.")?.1.split_once(',')?.0;
            let strategy = match function {
                "list::atomic" | "map::atomic" => Strategy::Atomic,
                "list::set" => Strategy::Set,
                // The crate's own rule for lists of whole objects; upstream replaces them.
                "list::map" if keys_of(rest).is_some_and(|keys| keys.contains("metadata.name")) => {
                    Strategy::Atomic
                }
                "map::granular" => Strategy::Granular,
                _ => {
                    let keys = keys_of(rest)?;
                    let keys = keys.split("| lhs.").skip(1).filter_map(|key| key.split(' ').next());
                    Strategy::Keys(keys.map(crate::plain).collect())
                }
            };
            Some((ident, strategy))
        })
        .collect()
}

/// The comparisons that tell a list's items apart: `|lhs, rhs| lhs.name == rhs.name`.
fn keys_of(call: &str) -> Option<&str> {
    Some(call.split_once("&[")?.1.split_once(']')?.0)
}
