//! Which of an index's manifests runs here.

use std::fmt;

/// An operating system and processor, in the names of the OCI image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// For instance `v7` on arm; may be empty.
    pub variant: String,
}

impl Platform {
    /// The machine this program runs on.
    pub fn host() -> Platform {
        todo!()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}
