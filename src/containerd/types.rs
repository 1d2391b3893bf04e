//! Messages that several services share, picked by hand out of containerd's `api/types`: only the
//! fields that are used, by their numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Descriptor, Labels, Mount};

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// `None` for Go's zero time (year 1) and for what the clock can't express.
    pub fn time(self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.seconds).ok()?;
        let nanos = u32::try_from(self.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldMask {
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

impl FieldMask {
    pub fn of(paths: impl IntoIterator<Item = String>) -> Option<FieldMask> {
        Some(FieldMask { paths: paths.into_iter().collect() })
    }

    /// Names each of `labels`, so that an update leaves the other ones.
    pub fn labels(labels: &Labels) -> Option<FieldMask> {
        FieldMask::of(labels.keys().map(|key| format!("labels.{key}")))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WireDescriptor {
    #[prost(string, tag = "1")]
    pub media_type: String,
    #[prost(string, tag = "2")]
    pub digest: String,
    #[prost(int64, tag = "3")]
    pub size: i64,
}

impl From<&Descriptor> for WireDescriptor {
    fn from(from: &Descriptor) -> WireDescriptor {
        WireDescriptor {
            media_type: from.media_type.clone(),
            digest: from.digest.clone(),
            size: i64::try_from(from.size).unwrap_or(i64::MAX),
        }
    }
}

impl From<WireDescriptor> for Descriptor {
    fn from(from: WireDescriptor) -> Descriptor {
        Descriptor {
            media_type: from.media_type,
            digest: from.digest,
            size: u64::try_from(from.size).unwrap_or(0),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WireMount {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

impl From<&Mount> for WireMount {
    fn from(from: &Mount) -> WireMount {
        let Mount { kind, source, target, options } = from.clone();
        WireMount { kind, source, target, options }
    }
}

impl From<WireMount> for Mount {
    fn from(from: WireMount) -> Mount {
        let WireMount { kind, source, target, options } = from;
        Mount { kind, source, target, options }
    }
}
