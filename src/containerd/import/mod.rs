//! Image archives (`docker save`, OCI layout; plain or gzip) into containerd.

use std::path::{Path, PathBuf};

use super::{Client, Labels, Platform};

/// How to import.
#[derive(Clone, Debug)]
pub struct Options {
    pub platform: Platform,
    pub snapshotter: String,
    /// Labels for the image records.
    pub labels: Labels,
    /// Keep the layers' blobs once they are unpacked. Without them the image takes half the room, and
    /// can't be exported.
    pub keep_layers: bool,
}

/// Why an archive was not imported.
#[derive(Debug)]
pub enum Error {
    Open { path: PathBuf, source: std::io::Error },
}

/// Imports every image of the archive at `path`, unpacks it and creates its image records. Returns
/// their names. What is there already is not written again, and a run that was cut off may be repeated.
pub async fn archive(_client: &Client, _path: &Path, _options: &Options) -> Result<Vec<String>, Error> {
    todo!()
}
