//! An image's documents into the content store.

use std::collections::BTreeMap;

use super::document::{Document, Resolved};
use super::{Client, Error, Labels};

impl Client {
    /// Writes config, manifest and indexes of `resolved` out of `documents` (by digest), each with labels that
    /// hold what it refers to. Layers' blobs are held if they are to be kept.
    pub async fn write_documents(
        &self,
        documents: &BTreeMap<String, Vec<u8>>,
        resolved: &Resolved,
        keep_layers: bool,
    ) -> Result<(), Error> {
        let Resolved { image, indexes } = resolved;
        for digest in [&image.config_digest, &image.manifest_digest].into_iter().chain(indexes.iter().rev()) {
            let bytes = documents.get(digest).ok_or_else(|| Error::Missing { digest: digest.clone() })?;
            let labels = match Document::parse(digest, bytes)? {
                Document::Config(_) => Labels::new(),
                Document::Manifest { config, layers } => {
                    let layers = layers.iter().enumerate().filter(|_| keep_layers);
                    let layers = layers.map(|(at, layer)| (format!("l.{at}"), &layer.digest));
                    references(layers.chain([("config".into(), &config.digest)]))
                }
                // What is for other platforms is not here.
                Document::Index(manifests) => {
                    let here = |digest: &String| *digest == image.manifest_digest || indexes.contains(digest);
                    let manifests =
                        manifests.iter().enumerate().filter(|(_, manifest)| here(&manifest.digest));
                    references(manifests.map(|(at, manifest)| (format!("m.{at}"), &manifest.digest)))
                }
            };
            self.write_content(digest, bytes, &labels).await?;
        }
        Ok(())
    }
}

/// Labels that garbage collection follows (containerd, `docs/garbage-collection.md`).
fn references<'a>(to: impl Iterator<Item = (String, &'a String)>) -> Labels {
    to.map(|(name, digest)| (format!("containerd.io/gc.ref.content.{name}"), digest.clone())).collect()
}
