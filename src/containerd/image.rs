//! Images: from a name to what a container needs of it.

use std::time::SystemTime;

use super::call::{Method, found};
use super::document::{self, Document};
use super::types::{Empty, FieldMask, Timestamp, WireDescriptor};
use super::{Client, Descriptor, Error, Labels, Platform, reference};

/// An image record: a name that points at a manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    pub name: String,
    pub target: Descriptor,
    pub labels: Labels,
    /// When it was made or last pointed elsewhere; containerd's account, not written.
    pub updated_at: Option<SystemTime>,
}

/// An image resolved for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// Digest of what the name points at (index or manifest), `sha256:<hex>`: the one in an image id.
    pub digest: String,
    /// Digest of the manifest for this platform.
    pub manifest_digest: String,
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

impl Image {
    /// What Kubernetes shows as a container's image id: `docker.io/library/busybox@sha256:…`.
    pub fn id(&self) -> String {
        format!("{}@{}", reference::repository(&self.name), self.digest)
    }
}

impl Client {
    /// The image record called `name` (a full reference, see [`super::reference::normalize`]), resolved for
    /// `platform`; `None` when there is no such record or its contents are incomplete.
    pub async fn image(&self, name: &str, platform: &Platform) -> Result<Option<Image>, Error> {
        match self.stored_image(name).await? {
            Some(stored) => self.resolve_image(&stored, platform).await,
            None => Ok(None),
        }
    }

    /// The image record called `name`.
    pub async fn stored_image(&self, name: &str) -> Result<Option<StoredImage>, Error> {
        let request = wire::NameRequest { name: name.into() };
        let answer: Option<wire::ImageMessage> = found(self.unary(wire::GET, &request).await)?;
        Ok(answer.and_then(|answer| answer.image).map(StoredImage::from))
    }

    /// [`Client::image`] for a record at hand.
    pub async fn resolve_image(
        &self,
        stored: &StoredImage,
        platform: &Platform,
    ) -> Result<Option<Image>, Error> {
        let resolved = found(document::resolve(&stored.name, &stored.target, platform, self).await)?;
        Ok(resolved.map(|resolved| resolved.image))
    }

    /// Image records that match one of `filters` (all if empty), for instance `name==docker.io/library/web:1`.
    pub async fn images(&self, filters: &[&str]) -> Result<Vec<StoredImage>, Error> {
        let request =
            wire::ListImagesRequest { filters: filters.iter().map(|filter| filter.to_string()).collect() };
        let answer: wire::ListImagesResponse = self.unary(wire::LIST, &request).await?;
        Ok(answer.images.into_iter().map(StoredImage::from).collect())
    }

    /// Creates the record, or points an existing one at `target`; of that the other labels stay.
    pub async fn put_image(&self, image: &StoredImage) -> Result<(), Error> {
        let labels = image.labels.keys().map(|key| format!("labels.{key}")).collect();
        self.write_image(image, labels).await
    }

    /// [`Client::put_image`], with no other labels.
    pub async fn replace_image(&self, image: &StoredImage) -> Result<(), Error> {
        self.write_image(image, vec!["labels".into()]).await
    }

    async fn write_image(&self, image: &StoredImage, labels: Vec<String>) -> Result<(), Error> {
        let message = wire::Image {
            name: image.name.clone(),
            labels: image.labels.clone(),
            target: Some(WireDescriptor::from(&image.target)),
            updated_at: None,
        };
        let mut request = wire::ImageMessage { image: Some(message), update_mask: None };
        match self.unary::<_, Empty>(wire::CREATE, &request).await {
            Err(error) if error.is_already_exists() => {
                request.update_mask = FieldMask::of(["target".to_string()].into_iter().chain(labels));
                self.unary::<_, Empty>(wire::UPDATE, &request).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Sets these labels on an image record and leaves its other ones.
    pub async fn label_image(&self, name: &str, labels: &Labels) -> Result<(), Error> {
        // Masked out, and yet it must be there: containerd 1.7 and 2.1 crash without it.
        let target = Some(WireDescriptor::default());
        let image = wire::Image { name: name.into(), labels: labels.clone(), target, updated_at: None };
        let request = wire::ImageMessage { image: Some(image), update_mask: FieldMask::labels(labels) };
        self.unary::<_, Empty>(wire::UPDATE, &request).await.map(drop)
    }

    /// Removes the record; one that is gone already is fine. Garbage collection takes the rest.
    pub async fn remove_image(&self, name: &str) -> Result<(), Error> {
        found(self.unary::<_, Empty>(wire::DELETE, &wire::NameRequest { name: name.into() }).await)?;
        Ok(())
    }
}

impl document::Source for Client {
    async fn document(&self, digest: &str) -> Result<Document, Error> {
        Document::parse(digest, &self.read_content(digest, document::LIMIT).await?)
    }
}

impl From<wire::Image> for StoredImage {
    fn from(from: wire::Image) -> StoredImage {
        StoredImage {
            name: from.name,
            target: from.target.unwrap_or_default().into(),
            labels: from.labels,
            updated_at: from.updated_at.and_then(Timestamp::time),
        }
    }
}

mod wire {
    use super::{FieldMask, Labels, Method, Timestamp, WireDescriptor};

    pub const GET: Method = Method("/containerd.services.images.v1.Images/Get");
    pub const LIST: Method = Method("/containerd.services.images.v1.Images/List");
    pub const CREATE: Method = Method("/containerd.services.images.v1.Images/Create");
    pub const UPDATE: Method = Method("/containerd.services.images.v1.Images/Update");
    pub const DELETE: Method = Method("/containerd.services.images.v1.Images/Delete");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Image {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(btree_map = "string, string", tag = "2")]
        pub labels: Labels,
        #[prost(message, optional, tag = "3")]
        pub target: Option<WireDescriptor>,
        #[prost(message, optional, tag = "8")]
        pub updated_at: Option<Timestamp>,
    }

    /// Get and Delete take it.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct NameRequest {
        #[prost(string, tag = "1")]
        pub name: String,
    }

    /// What Get returns, and Create and Update take.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ImageMessage {
        #[prost(message, optional, tag = "1")]
        pub image: Option<Image>,
        #[prost(message, optional, tag = "2")]
        pub update_mask: Option<FieldMask>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListImagesRequest {
        #[prost(string, repeated, tag = "1")]
        pub filters: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListImagesResponse {
        #[prost(message, repeated, tag = "1")]
        pub images: Vec<Image>,
    }
}
