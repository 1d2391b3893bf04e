//! Who may use the API: whoever holds the admin's bearer token.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::sys::file;
use crate::token::{RandomError, random_hex, same_secret, sha256};

/// The admin's credential: its hash. The secret itself is in its file and in the kubeconfig.
pub struct Admin {
    hash: [u8; 32],
}

/// What a request's `Authorization` header amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted,
    /// No bearer token at all.
    Anonymous,
    /// One that is not the admin's: an attempt that counts.
    Wrong,
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

    /// Judges a request by its headers, in a time that tells nothing about the secret.
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        let Some(header) = headers.get(AUTHORIZATION) else { return Verdict::Anonymous };
        let Some((scheme, secret)) = header.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Verdict::Wrong;
        };
        let presented = sha256(secret.trim().as_bytes());
        match scheme.eq_ignore_ascii_case("bearer") && same_secret(&presented, &self.hash) {
            true => Verdict::Admitted,
            false => Verdict::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn verdicts() {
        let admin = Admin::new("s3cret");
        let judge = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
            admin.judge(&headers)
        };
        assert_eq!(judge("Bearer s3cret"), Verdict::Admitted);
        assert_eq!(judge("bearer  s3cret"), Verdict::Admitted);
        for wrong in ["Bearer s3cre", "Bearer", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert_eq!(judge(wrong), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(admin.judge(&HeaderMap::new()), Verdict::Anonymous);
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
