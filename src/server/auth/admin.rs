//! The admin's bearer token: made once, kept in a file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::file;
use crate::token::{RandomError, random_hex, same_secret, sha256};

/// The admin's credential: its hash. The secret itself is in its file and in the kubeconfig.
pub struct Admin {
    hash: [u8; 32],
}

/// The admin's credential could not be had.
#[derive(Debug)]
pub enum Error {
    Read { path: PathBuf, source: io::Error },
    Write { path: PathBuf, source: io::Error },
    Random { source: RandomError },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::Write { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Self::Random { .. } => f.write_str("failed to make the admin's credential"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Random { source } => Some(source),
        }
    }
}

/// Reads the secret in `path`, or makes one of 256 random bits there, 0600. An empty file is made anew.
pub fn open_or_create(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    }
    let secret = random_hex::<32>().map_err(|source| Error::Random { source })?;
    file::write_atomic(path, secret.as_bytes(), 0o600)
        .map_err(|source| Error::Write { path: path.to_owned(), source })?;
    Ok(secret)
}

impl Admin {
    pub fn new(secret: &str) -> Self {
        Self { hash: sha256(secret.as_bytes()) }
    }

    /// Whether the secret is the admin's, in a time that tells nothing about it.
    pub fn is(&self, secret: &str) -> bool {
        same_secret(&sha256(secret.as_bytes()), &self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_is_the_admins() {
        let admin = Admin::new("s3cret");
        assert!(admin.is("s3cret"));
        for wrong in ["s3cre", "s3cret1", "", "S3cret"] {
            assert!(!admin.is(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_secret_stays() {
        let path = std::env::temp_dir().join(format!("midge-admin-{}", std::process::id()));
        let first = open_or_create(&path).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(open_or_create(&path).unwrap(), first);
        std::fs::remove_file(&path).unwrap();
    }
}
