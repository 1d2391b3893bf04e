use std::path::PathBuf;
use std::{fmt, io};

use crate::openapi::Strategy;

/// Why the table can't be written.
#[derive(Debug)]
pub enum Error {
    RunCargo { source: io::Error },
    CargoMetadata { output: String },
    ParseMetadata { source: serde_json::Error },
    FindCrate { name: &'static str },
    FindVersion { folder: PathBuf },
    Read { path: PathBuf, source: io::Error },
    Write { path: PathBuf, source: io::Error },
    FindType { name: String },
    ReadType { of: String, field: String, text: String },
    ReadOverlay { line: usize, text: String },
    NoPackage { line: usize },
    ApplyOverlay { unused: Vec<String> },
    NotAString { field: String, shape: String },
    FindStringType { field: String, name: String },
    MergeStrategy { field: String, marked: Strategy, merged: Option<Strategy> },
    DefaultNotSet { field: String, marker: String },
    Stale { path: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::RunCargo { .. } => f.write_str("failed to run `cargo metadata`"),
            Error::CargoMetadata { output } => write!(f, "`cargo metadata` failed: {}", output.trim_end()),
            Error::ParseMetadata { .. } => f.write_str("`cargo metadata` wrote no JSON"),
            Error::FindCrate { name } => write!(f, "no crate `{name}` among the dependencies"),
            Error::FindVersion { folder } => write!(f, "no folder v1_… in `{}`", folder.display()),
            Error::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Write { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Error::FindType { name } => write!(f, "k8s-openapi has no type `{name}`"),
            Error::ReadType { of, field, text } => {
                write!(f, "the table has no word for the type of `{of}.{field}`: `{text}`")
            }
            Error::ReadOverlay { line, text } => write!(f, "overlay.txt:{line}: can't read `{text}`"),
            Error::NoPackage { line } => write!(f, "overlay.txt:{line}: comes before the first `@` line"),
            Error::ApplyOverlay { unused } => {
                write!(f, "overlay.txt speaks of what the crates do not have: {}", unused.join(", "))
            }
            Error::NotAString { field, shape } => {
                write!(f, "overlay.txt gives `{field}` a string type, but it is `{shape}`")
            }
            Error::FindStringType { field, name } => {
                write!(f, "overlay.txt gives `{field}` the type `{name}`, and has no line `~{name}`")
            }
            Error::MergeStrategy { field, marked, merged } => {
                write!(f, "`{field}` merges as {marked:?} by k8s-pb's markers, as {merged:?} by k8s-openapi")
            }
            Error::DefaultNotSet { field, marker } => {
                write!(f, "`{field}` has the marker `+default={marker}`, which overlay.txt does not set")
            }
            Error::Stale { path } => write!(
                f,
                "`{}` is not what the crates say: run cargo run --manifest-path tests/schema-table/Cargo.toml",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::RunCargo { source } | Error::Read { source, .. } | Error::Write { source, .. } => {
                Some(source)
            }
            Error::ParseMetadata { source } => Some(source),
            _ => None,
        }
    }
}
