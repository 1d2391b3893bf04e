//! Writes `src/api/schema.txt` from the crates k8s-openapi (types, required fields, merge strategies)
//! and k8s-pb (protobuf numbers, markers), and from `overlay.txt` and `wire.txt`. With `--check`, fails if the file
//! differs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use serde_json::Value;

use error::Error;

mod error;
mod lists;
mod openapi;
mod overlay;
mod protobuf;
mod table;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> ExitCode {
    let is_check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(_) => {
            eprintln!("usage: schema-table [--check]");
            return ExitCode::from(2);
        }
    };
    match run(is_check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                eprint!(": {error}");
                source = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(is_check: bool) -> Result<(), Error> {
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| Error::Read { path, source });
    let metadata = metadata()?;
    let (openapi_source, openapi_version) = find_crate(&metadata, "k8s-openapi")?;
    let (protobuf_source, protobuf_version) = find_crate(&metadata, "k8s-pb")?;
    let types = openapi::Types::open(&openapi_source)?;
    let mut packages = overlay::parse(&read(Path::new(FOLDER).join("overlay.txt"))?)?;
    overlay::add(&mut packages, overlay::parse(&read(Path::new(FOLDER).join("wire.txt"))?)?);
    let messages = packages.iter().map(|package| protobuf::read(&protobuf_source, &package.openapi_prefix));
    let messages = messages.collect::<Result<Vec<_>, Error>>()?;
    let table = table::build(&packages, &types, &messages)?;
    if !table.unnumbered.is_empty() {
        let (count, fields) = (table.unnumbered.len(), table.unnumbered.join(", "));
        eprintln!("note: {count} fields are not in k8s-pb {protobuf_version}, and get no number: {fields}");
    }

    let header = read(Path::new(FOLDER).join("header.txt"))?
        .replace("{kubernetes}", &types.version)
        .replace("{k8s-openapi}", &openapi_version)
        .replace("{k8s-pb}", &protobuf_version);
    let text = header + &table.text;
    let path = Path::new(FOLDER).join("../../src/api/schema.txt");
    if !is_check {
        return fs::write(&path, text).map_err(|source| Error::Write { path, source });
    }
    if read(path.clone())? == text { Ok(()) } else { Err(Error::Stale { path }) }
}

fn metadata() -> Result<Value, Error> {
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(Path::new(FOLDER).join("Cargo.toml"))
        .output()
        .map_err(|source| Error::RunCargo { source })?;
    if !output.status.success() {
        return Err(Error::CargoMetadata { output: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    serde_json::from_slice(&output.stdout).map_err(|source| Error::ParseMetadata { source })
}

/// The folder of a crate's sources, and its version.
fn find_crate(metadata: &Value, name: &'static str) -> Result<(PathBuf, String), Error> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|package| package["name"] == name);
    let text = |key: &str| package.and_then(|package| package[key].as_str()).ok_or(Error::FindCrate { name });
    let manifest = Path::new(text("manifest_path")?);
    Ok((manifest.parent().unwrap_or(manifest).to_owned(), text("version")?.to_owned()))
}

/// Where both crates keep a package's sources: `io.k8s.api.core.v1` in `api/core/v1`.
fn package_path(package: &str) -> PathBuf {
    package.strip_prefix("io.k8s.").unwrap_or(package).replace('-', "_").split('.').collect()
}

/// A field's name as all three spellings have it in common: `hostIPC`, `host_ipc` → `hostipc`.
fn plain(name: &str) -> String {
    name.trim_start_matches("r#").replace('_', "").to_lowercase()
}
