//! The folder of image archives, and which of them containerd has.
//!
//! What was imported is written on the image records, as labels: it is true as long as the images are
//! there, and costs no file of our own.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ring::digest::{SHA256, digest};

use crate::chain;
use crate::containerd::{Client, Labels, Platform, import};

/// What archives' names end with. How they are packed is told by their contents.
const ENDS: &[&str] = &[".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

pub struct Archives {
    folder: PathBuf,
    /// By file name; forgotten on restart.
    known: BTreeMap<String, Known>,
    /// What an import left that was cut off in an earlier life of the agent is removed.
    cleared: bool,
}

/// What became of an archive at a stamp.
struct Known {
    stamp: String,
    /// Why it was not imported. It is not tried again before it changes.
    failure: Option<String>,
}

struct Archive {
    name: String,
    path: PathBuf,
    /// Changes with the contents.
    stamp: String,
}

impl Archives {
    pub fn new(folder: &Path) -> Archives {
        Archives { folder: folder.into(), known: BTreeMap::new(), cleared: false }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// File names of archives that could not be imported, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.known.iter().filter_map(|(name, known)| Some((name.as_str(), known.failure.as_deref()?)))
    }

    /// Whether an image with these labels came from an archive that is in the folder still.
    pub fn hold(&self, labels: &Labels) -> bool {
        self.known.iter().any(|(name, known)| known.failure.is_none() && labels.contains_key(&label(name)))
    }

    /// Imports what is new or changed. Returns the names of these images.
    pub async fn import(&mut self, client: &Client, platform: &Platform, snapshotter: &str) -> Vec<String> {
        if !self.cleared {
            match client.delete_abandoned_leases().await {
                Ok(()) => self.cleared = true,
                Err(error) => log::warn!("failed to clear up after earlier imports: {}", chain(&error)),
            }
        }
        let (folder, suffix) = (self.folder.clone(), snapshotter.to_string());
        let found = match smol::unblock(move || list(&folder, &suffix)).await {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                log::warn!("failed to read the image folder `{}`: {error}", self.folder.display());
                return Vec::new();
            }
        };
        self.known.retain(|name, _| found.iter().any(|archive| archive.name == *name));
        let mut names = Vec::new();
        for archive in found {
            let failed = self.known.get(&archive.name).filter(|known| known.stamp == archive.stamp);
            if failed.is_some_and(|known| known.failure.is_some()) {
                continue;
            }
            let failure = match one(client, platform, snapshotter, &archive).await {
                Ok(new) => {
                    names.extend(new);
                    None
                }
                Err(error) => {
                    let text = chain(&error);
                    log::warn!("image archive not imported: {text}");
                    // No fault of the archive: try again next time.
                    if matches!(&error, import::Error::Containerd(error) if error.is_unavailable()) {
                        continue;
                    }
                    Some(text)
                }
            };
            self.known.insert(archive.name, Known { stamp: archive.stamp, failure });
        }
        names
    }
}

/// Imports one archive, unless all its images are there.
async fn one(
    client: &Client,
    platform: &Platform,
    snapshotter: &str,
    archive: &Archive,
) -> Result<Vec<String>, import::Error> {
    let label = label(&archive.name);
    let filter = format!("labels.\"{label}\"~=\"^{} \"", archive.stamp);
    let there = client.images(&[&filter]).await?;
    let count = there.first().and_then(|image| image.labels.get(&label)?.rsplit(' ').next()?.parse().ok());
    if count == Some(there.len()) {
        return Ok(Vec::new());
    }
    log::info!("importing image archive `{}`", archive.path.display());
    let options = import::Options {
        platform: platform.clone(),
        snapshotter: snapshotter.into(),
        // The archive is there still, should they be wanted again.
        keep_layers: false,
    };
    let names = import::archive(client, &archive.path, &options).await?;
    let mut distinct = names.clone();
    distinct.sort();
    distinct.dedup();
    let labels = Labels::from([(label, format!("{} {}", archive.stamp, distinct.len()))]);
    for name in &distinct {
        client.label_image(name, &labels).await?;
        log::info!("image `{name}` is here");
    }
    Ok(distinct)
}

/// Two archives may hold the same image: each has a label of its own on it.
fn label(name: &str) -> String {
    let hash = data_encoding::HEXLOWER.encode(&digest(&SHA256, name.as_bytes()).as_ref()[..8]);
    format!("midge/archive.{hash}")
}

/// The folder's archives in the order of their names.
fn list(folder: &Path, suffix: &str) -> io::Result<Vec<Archive>> {
    let mut archives = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !ENDS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        // Through symbolic links: archives may lie elsewhere. Gone meanwhile or a dead link is not there.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if metadata.is_file() {
            let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
            let stamp = format!("{}-{seconds}-{nanos}-{suffix}", metadata.len());
            archives.push(Archive { name, path: entry.path(), stamp });
        }
    }
    archives.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(archives)
}
