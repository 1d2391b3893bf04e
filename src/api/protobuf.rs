//! Kubernetes' protobuf: `k8s\0`, then a `runtime.Unknown` that says what its `raw` is. The schema table has
//! the field numbers: there is no code for any type.

use std::fmt;

mod decode;
mod wire;

#[cfg(test)]
mod tests;

pub use decode::decode;

/// The media type.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const PREFIX: &[u8] = b"k8s\0";

/// Why bytes are no object, worded as upstream.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Empty,
    Prefix,
    UnexpectedEnd,
    Overflow,
    /// A field number that is 0 or too large, or a wire type that is none.
    Tag {
        number: u64,
        wire: u64,
    },
    /// A field is not written as its type is.
    Mismatch {
        field: String,
    },
    /// Text that is not UTF-8, or embedded JSON that is none.
    Malformed {
        field: String,
    },
    Encoding(String),
    NoKind,
    Unregistered {
        api_version: String,
        kind: String,
    },
    /// A type that is understood as JSON only.
    JsonOnly {
        field: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Empty => f.write_str("empty data"),
            Error::Prefix => write!(
                f,
                "provided data does not appear to be a protobuf message, expected prefix {PREFIX:?}"
            ),
            Error::UnexpectedEnd => f.write_str("unexpected EOF"),
            Error::Overflow => f.write_str("proto: integer overflow"),
            Error::Tag { number, wire } => write!(f, "proto: illegal tag {number} (wire type {wire})"),
            Error::Mismatch { field } => write!(f, "proto: wrong wireType for field {field}"),
            Error::Malformed { field } => write!(f, "proto: field {field} contains invalid data"),
            Error::Encoding(encoding) => write!(f, "content encoding {encoding:?} is not supported"),
            Error::NoKind => f.write_str("Object 'Kind' is missing"),
            Error::Unregistered { api_version, kind } => {
                write!(f, "no kind {kind:?} is registered for version {api_version:?}")
            }
            Error::JsonOnly { field } => write!(f, "{field} is taken as JSON or YAML only"),
        }
    }
}

impl std::error::Error for Error {}
