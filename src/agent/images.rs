//! Images of the node: what containerd has, and archives in `<data>/agent/images`.

mod archives;
mod error;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::archives::Archives;
pub use self::error::Error;
use super::configs::Configs;
use super::container::Report;
use super::event::Event;
use crate::api::Object;
use crate::containerd::{self, Client, Image, Platform, reference};

/// A container's wish for its image.
pub struct Ask<'a> {
    pub image: &'a str,
    /// `imagePullPolicy`: `Always`, `IfNotPresent`, `Never`, or empty for the default.
    pub policy: &'a str,
    pub container: &'a str,
    pub pod: &'a Object,
    /// Has the Secrets of `imagePullSecrets`.
    pub configs: &'a Configs,
}

/// What there is of an image.
pub enum Found {
    /// Unpacked.
    Ready(Box<Image>),
    /// It is on its way; the pod loop is woken when there is news. The text says how far it is.
    Pulling { message: String },
}

/// The images of one node.
pub struct Images {
    client: Client,
    snapshotter: String,
    platform: Platform,
    /// One import at a time: they compete for the card, and would do the same work twice.
    archives: smol::lock::Mutex<Archives>,
}

impl Images {
    /// `folder` is where archives are put, `<data>/agent/images`.
    pub fn new(client: Client, folder: &Path, snapshotter: &str, platform: Platform) -> Images {
        let archives = smol::lock::Mutex::new(Archives::new(folder));
        Images { client, snapshotter: snapshotter.into(), platform, archives }
    }

    /// Imports the folder's archives (`*.tar`, `*.tar.gz`, `*.tgz`) that are not imported yet. What fails is logged
    /// and left out. Returns the names of images that are new.
    pub async fn import_folder(&self) -> Vec<String> {
        self.archives.lock().await.import(&self.client, &self.platform, &self.snapshotter).await
    }

    /// The image of a container, and the events about it. An archive that was put into the folder meanwhile is
    /// imported first.
    pub async fn ensure(&self, ask: &Ask<'_>, report: &mut impl Report) -> Result<Found, Error> {
        let image = self.present(ask.image, ask.policy).await?;
        let present = format!("Container image \"{}\" already present on machine", ask.image);
        report.event(Event::normal("Pulled", present).of(ask.container));
        Ok(Found::Ready(Box::new(image)))
    }

    /// [`Images::ensure`] without its events.
    pub async fn present(&self, image: &str, policy: &str) -> Result<Image, Error> {
        let name = reference::normalize(image)
            .map_err(|source| Error::InvalidName { image: image.into(), source })?;
        // The folder stands in for a registry: what is always to be pulled is looked up there first.
        let always = policy == "Always" || policy.is_empty() && reference::is_latest(&name);
        if !always && let Some(found) = self.find(image, &name).await? {
            return Ok(found);
        }
        self.import_folder().await;
        match self.find(image, &name).await? {
            Some(found) => Ok(found),
            None if policy == "Never" => Err(Error::NeverPull { image: image.into() }),
            None => {
                let archives = self.archives.lock().await;
                Err(Error::NoPull {
                    image: image.into(),
                    folder: archives.folder().into(),
                    failed: archives.failures().next().map(|(name, text)| (name.into(), text.into())),
                })
            }
        }
    }

    async fn find(&self, image: &str, name: &str) -> Result<Option<Image>, Error> {
        let found = async {
            let Some(found) = self.look_up(name).await? else { return Ok(None) };
            match self.client.ensure_unpacked(&found, &self.snapshotter).await {
                Ok(()) => Ok(Some(found)),
                // Its layers were dropped after they had been unpacked elsewhere: as good as not there.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        };
        found.await.map_err(|source| Error::Inspect { image: image.into(), source })
    }

    async fn look_up(&self, name: &str) -> Result<Option<Image>, containerd::Error> {
        if let Some(found) = self.client.image(name, &self.platform).await? {
            return Ok(Some(found));
        }
        // `repository@digest` is there under a tag's name as well.
        let Some(digest) = reference::digest(name) else { return Ok(None) };
        let repository = reference::repository(name);
        for stored in self.client.images(&[&format!("target.digest=={digest}")]).await? {
            if reference::repository(&stored.name) == repository {
                return self.client.resolve_image(&stored, &self.platform).await;
            }
        }
        Ok(None)
    }
}
