//! What can go wrong with the network of a pod.

use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub enum Error {
    ReadFolder { path: PathBuf, source: io::Error },
}
