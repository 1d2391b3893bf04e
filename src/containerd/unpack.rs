//! From layers in the content store to a committed snapshot.

use std::time::Duration;

use super::call::Method;
use super::document::chain_ids;
use super::lease::EXPIRY;
use super::types::{WireDescriptor, WireMount};
use super::{Client, Descriptor, Error, Image, Labels, Mount};

/// One layer, in one call without progress: a large one on a slow card.
const APPLY_LIMIT: Duration = Duration::from_secs(3600);

impl Client {
    /// Makes sure that `image`'s layers are unpacked in `snapshotter`, under its chain id.
    pub async fn ensure_unpacked(&self, image: &Image, snapshotter: &str) -> Result<(), Error> {
        if self.unpacked(image, snapshotter).await? == image.layers.len() {
            return Ok(());
        }
        if self.lease().is_some() {
            return self.unpack(image, snapshotter).await;
        }
        let lease = self.create_lease(EXPIRY).await?;
        let outcome = self.with_lease(&lease.id).unpack(image, snapshotter).await;
        self.delete_lease(&lease, false).await?;
        outcome
    }

    /// How many of `image`'s layers, from the bottom, are unpacked.
    pub async fn unpacked(&self, image: &Image, snapshotter: &str) -> Result<usize, Error> {
        for (below, chain_id) in chain(image).iter().enumerate().rev() {
            if self.snapshot(snapshotter, chain_id).await?.is_some() {
                return Ok(below + 1);
            }
        }
        Ok(0)
    }

    async fn unpack(&self, image: &Image, snapshotter: &str) -> Result<(), Error> {
        let chain = chain(image);
        for at in self.unpacked(image, snapshotter).await?..chain.len() {
            let parent = at.checked_sub(1).map_or("", |below| chain[below].as_str());
            let layer = &image.layers[at];
            // Unique with the lease. What a crash leaves is taken by garbage collection when the lease ends.
            let key = format!("midge-unpack-{}-{}", self.lease().unwrap_or_default(), chain[at]);
            let prepared = match self.prepare_snapshot(snapshotter, &key, parent, &Labels::new()).await {
                // Of an earlier attempt under the same lease, which was cut off.
                Err(error) if error.is_already_exists() => {
                    self.remove_snapshot(snapshotter, &key).await?;
                    self.prepare_snapshot(snapshotter, &key, parent, &Labels::new()).await
                }
                other => other,
            };
            let mounts = prepared?;
            let applied = match self.apply(&layer.blob, &mounts).await {
                Ok(applied) if applied.digest == layer.diff_id => {
                    self.commit_snapshot(snapshotter, &chain[at], &key, &Labels::new()).await
                }
                Ok(applied) => Err(Error::WrongLayer {
                    digest: layer.blob.digest.clone(),
                    wanted: layer.diff_id.clone(),
                    found: applied.digest,
                }),
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                let removed = self.remove_snapshot(snapshotter, &key).await;
                // Another one was faster: as good.
                if !error.is_already_exists() {
                    return Err(error);
                }
                removed?;
            }
        }
        self.hold_snapshot(image, snapshotter).await
    }

    /// Ties the unpacked layers to the image's config, so that they live as long as the image.
    pub async fn hold_snapshot(&self, image: &Image, snapshotter: &str) -> Result<(), Error> {
        if image.chain_id.is_empty() {
            return Ok(());
        }
        let label = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
        self.label_content(&image.config_digest, &Labels::from([(label, image.chain_id.clone())])).await
    }

    /// Unpacks a layer onto mounts. Returns the digest and size of the uncompressed layer.
    async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> Result<Descriptor, Error> {
        let request = wire::ApplyRequest {
            layer: Some(WireDescriptor::from(layer)),
            mounts: mounts.iter().map(WireMount::from).collect(),
        };
        let answer: wire::ApplyResponse = self.unary_within(wire::APPLY, &request, APPLY_LIMIT).await?;
        Ok(answer.applied.unwrap_or_default().into())
    }
}

fn chain(image: &Image) -> Vec<String> {
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    chain_ids(&diff_ids)
}

mod wire {
    use super::{Method, WireDescriptor, WireMount};

    pub const APPLY: Method = Method("/containerd.services.diff.v1.Diff/Apply");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ApplyRequest {
        #[prost(message, optional, tag = "1")]
        pub layer: Option<WireDescriptor>,
        #[prost(message, repeated, tag = "2")]
        pub mounts: Vec<WireMount>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ApplyResponse {
        #[prost(message, optional, tag = "1")]
        pub applied: Option<WireDescriptor>,
    }
}
