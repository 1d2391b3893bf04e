//! The content store: blobs by digest.

use super::{Client, Error, Labels};

/// A pointer to a blob, as in the OCI image specification's `descriptor.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    pub digest: String,
    pub size: u64,
    pub labels: Labels,
}

impl Client {
    /// `None` when the store does not have it.
    pub async fn content_info(&self, _digest: &str) -> Result<Option<ContentInfo>, Error> {
        todo!()
    }

    /// The whole blob, which must not be larger than `limit` bytes.
    pub async fn read_content(&self, _digest: &str, _limit: usize) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// Stores a small blob; one that exists already is fine, and gets the labels all the same.
    pub async fn write_content(&self, _digest: &str, _bytes: &[u8], _labels: &Labels) -> Result<(), Error> {
        todo!()
    }

    /// Sets these labels on a blob and leaves its other ones.
    pub async fn label_content(&self, _digest: &str, _labels: &Labels) -> Result<(), Error> {
        todo!()
    }
}
