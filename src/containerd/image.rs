//! Images: from a name to what a container needs of it.

use super::{Client, Descriptor, Error, Labels, Platform};

/// An image record: a name that points at a manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    pub name: String,
    pub target: Descriptor,
    pub labels: Labels,
}

/// An image resolved for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// Digest of what the name points at (index or manifest), `sha256:<hex>`: the one in an image id.
    pub digest: String,
    /// Digest of the config blob.
    pub config_digest: String,
    /// Sum of the layers' sizes, bytes, as they are stored.
    pub size: u64,
    /// Bottom layer first.
    pub layers: Vec<Layer>,
    /// Name of the unpacked image's snapshot, the parent of a container's; empty for no layers.
    pub chain_id: String,
    pub config: ImageConfig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub blob: Descriptor,
    /// Digest of the uncompressed layer.
    pub diff_id: String,
}

/// The part of an image's config that says how to run it (OCI image specification, `config.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, … or empty.
    pub user: String,
    /// For instance `SIGTERM`, or empty.
    pub stop_signal: String,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
}

impl Client {
    /// The image record called `name` (a full reference, see [`super::reference::normalize`]), resolved for
    /// `platform`; `None` when there is no such record or its contents are incomplete.
    pub async fn image(&self, _name: &str, _platform: &Platform) -> Result<Option<Image>, Error> {
        todo!()
    }

    /// Image records that match one of `filters` (all if empty), for instance `name==docker.io/library/web:1`.
    pub async fn images(&self, _filters: &[&str]) -> Result<Vec<StoredImage>, Error> {
        todo!()
    }

    /// Creates the record, or points an existing one at `target`.
    pub async fn put_image(&self, _image: &StoredImage) -> Result<(), Error> {
        todo!()
    }

    /// Removes the record; one that is gone already is fine. Garbage collection takes the rest.
    pub async fn remove_image(&self, _name: &str) -> Result<(), Error> {
        todo!()
    }
}
