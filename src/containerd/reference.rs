//! Image references: from what people write to the names of containerd's image records.

use std::fmt;

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    Empty,
    TooLong,
    UpperCase,
    Format,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Empty => "image reference is empty",
            Invalid::TooLong => "image name is longer than 255 characters",
            Invalid::UpperCase => "repository name must be lowercase",
            Invalid::Format => "invalid reference format",
        })
    }
}

impl std::error::Error for Invalid {}

/// `busybox` → `docker.io/library/busybox:latest`; `x.org/a/b@sha256:…` and full names stay as they are.
pub fn normalize(_reference: &str) -> Result<String, Invalid> {
    todo!()
}

/// The tag is `latest`, written or implied, and no digest is given: pulled anew by default.
pub fn is_latest(_normalized: &str) -> bool {
    todo!()
}

/// A normalised reference without tag and digest.
pub fn repository(_normalized: &str) -> &str {
    todo!()
}
