//! Image archives (`docker save`, OCI layout; plain, gzip or zstd) into containerd.

mod error;
mod layout;
mod scan;
#[cfg(test)]
mod tests;
mod zstd;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use smol::channel::{self, Receiver};

pub use self::error::Error;
use self::layout::{Layout, Named};
use self::scan::Piece;
use super::content::{Blob, PIECE};
use super::document::{self, Resolved};
use super::lease::EXPIRY;
use super::{Client, Labels, Platform, StoredImage};

/// Pieces between the thread that reads and the writer: one is read while one is written.
const PIECES: usize = 1;

/// How to import.
#[derive(Clone, Debug)]
pub struct Options {
    pub platform: Platform,
    pub snapshotter: String,
    /// Keep the layers' blobs once they are unpacked. Without them the image takes half the room, and
    /// can't be exported.
    pub keep_layers: bool,
}

/// An image of the archive, and what of it is missing in containerd.
struct Wanted {
    named: Named,
    resolved: Resolved,
    /// Layers from the bottom that need no blob, since they are unpacked.
    unpacked: usize,
}

/// Imports every image of the archive at `path`, unpacks it and creates its image records. Returns
/// their names. What is there already is not written again, and a run that was cut off may be repeated:
/// all of it is held by a lease until the image records, which come last, hold it.
pub async fn archive(client: &Client, path: &Path, options: &Options) -> Result<Vec<String>, Error> {
    let file = path.to_path_buf();
    let layout = smol::unblock(move || {
        let mut scan = scan::scan(&file)?;
        Layout::of(&file, &mut scan)
    })
    .await?;
    let lease = client.create_lease(EXPIRY).await.map_err(Error::Containerd)?;
    let outcome = import(&client.with_lease(&lease.id), path, layout, options).await;
    // The layers' blobs are garbage now, and room on a card is dear.
    let ended = client.delete_lease(&lease, !options.keep_layers).await;
    let names = outcome?;
    ended.map_err(Error::Containerd)?;
    Ok(names)
}

async fn import(
    client: &Client,
    path: &Path,
    mut layout: Layout,
    options: &Options,
) -> Result<Vec<String>, Error> {
    let mut images = Vec::new();
    let mut other_platform = None;
    for named in std::mem::take(&mut layout.images) {
        let name = named.names.first().map(String::as_str).unwrap_or_default();
        match document::resolve(name, &named.target, &options.platform, &layout.documents).await {
            Ok(resolved) => {
                let unpacked = client.unpacked(&resolved.image, &options.snapshotter).await?;
                images.push(Wanted { named, resolved, unpacked });
            }
            // Some archives list one image's platforms at the top.
            Err(error @ super::Error::NoPlatform { .. }) => other_platform = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(error) = other_platform.filter(|_| images.is_empty()) {
        return Err(error.into());
    }
    write_layers(client, path, &layout, &images, options).await?;
    let mut names = Vec::new();
    for image in images {
        client.write_documents(&layout.documents, &image.resolved, options.keep_layers).await?;
        client.ensure_unpacked(&image.resolved.image, &options.snapshotter).await?;
        // Unpacked before, perhaps for another image: this one must hold the layers as well.
        client.hold_snapshot(&image.resolved.image, &options.snapshotter).await?;
        for name in image.named.names {
            let record = StoredImage {
                name,
                target: image.named.target.clone(),
                labels: Labels::new(),
                updated_at: None,
            };
            client.put_image(&record).await?;
            names.push(record.name);
        }
    }
    Ok(names)
}

async fn write_layers(
    client: &Client,
    path: &Path,
    layout: &Layout,
    images: &[Wanted],
    options: &Options,
) -> Result<(), Error> {
    // By path in the archive: images share layers.
    let mut blobs = BTreeMap::new();
    for image in images {
        let skip = if options.keep_layers { 0 } else { image.unpacked };
        for layer in image.resolved.image.layers.iter().skip(skip) {
            blobs.insert(layout.path(&layer.blob.digest), &layer.blob);
        }
    }
    if blobs.is_empty() {
        return Ok(());
    }
    let mut left: BTreeSet<String> = blobs.keys().cloned().collect();
    let (sender, pieces) = channel::bounded(PIECES);
    let (file, wanted) = (path.to_path_buf(), left.clone());
    let reader = smol::unblock(move || scan::stream(&file, &wanted, &sender));
    while let Ok(piece) = pieces.recv().await {
        // Between two files there is nothing but beginnings.
        let Piece::Begin(name) = piece else { continue };
        if let Some(blob) = blobs.get(&name) {
            write_layer(client, Blob { digest: &blob.digest, size: blob.size }, &pieces).await?;
        }
        left.remove(&name);
    }
    reader.await?;
    match left.pop_first() {
        Some(entry) => Err(Error::Missing { path: path.into(), entry }),
        None => Ok(()),
    }
}

/// Writes the file that follows in `pieces`.
async fn write_layer(client: &Client, blob: Blob<'_>, pieces: &Receiver<Piece>) -> Result<(), Error> {
    let mut writer = client.begin_content(blob.digest, Some(blob), &Labels::new()).await?;
    loop {
        match pieces.recv().await {
            Ok(Piece::Data(bytes)) => {
                debug_assert!(bytes.len() <= PIECE);
                if let Some(writer) = &mut writer {
                    writer.write(bytes).await?;
                }
            }
            Ok(Piece::Begin(_) | Piece::End) => break,
            // The reader failed, and its own error says why.
            Err(_) => return Ok(()),
        }
    }
    match writer {
        Some(writer) => Ok(writer.commit(blob, &Labels::new()).await?),
        None => Ok(()),
    }
}
