//! Images of the node: what containerd has, archives in `<data>/agent/images`, and registries.

mod archives;
mod auth;
mod collect;
mod credentials;
mod error;
mod failure;
mod inventory;
mod layers;
mod place;
mod progress;
mod proxy;
mod pull;
mod pulls;
mod registries;
mod registry;
#[cfg(test)]
mod tests;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_lite::future;
use ring::digest::{Context, SHA256};

use self::archives::Archives;
use self::collect::Uses;
use self::credentials::{Credentials, Keyring};
pub use self::error::Error;
use self::failure::Failure;
use self::inventory::Inventory;
pub use self::inventory::Listed;
use self::progress::Stage;
use self::pulls::{Asker, Pulls, Turn, Wanted};
use self::registries::Registries;
use self::registry::Registry;
use super::configs::Configs;
use super::container::Report;
use super::event::Event;
use super::wake::Wake;
use crate::Executor;
use crate::api::Object;
use crate::containerd::{self, Client, Image, Platform, reference};
use crate::sys::{file, folder};

/// Waits before the folder is made again that somebody has removed.
const FOLDER_RETRY: Duration = Duration::from_secs(5);

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

/// What the command line says about images.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `/etc/midge/registries.yaml`; it may be missing, and is read for each pull.
    pub registries: PathBuf,
    /// Percent of the disk in use above which unused images are removed, and at which that ends.
    pub gc_high: u8,
    pub gc_low: u8,
    /// An image used since then stays.
    pub gc_age: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            registries: PathBuf::from("/etc/midge/registries.yaml"),
            gc_high: 85,
            gc_low: 80,
            gc_age: Duration::from_secs(120),
        }
    }
}

/// What [`Images`] works with.
pub struct Parts<'a> {
    pub client: Client,
    /// Where archives are put, `<data>/agent/images`.
    pub folder: &'a Path,
    /// `<data>/agent/pods`: what the node's pods name is in use, whether it runs just now or not.
    pub pods_folder: PathBuf,
    pub snapshotter: &'a str,
    pub platform: Platform,
    pub settings: Settings,
    pub executor: Executor,
    /// Woken when a pull has news.
    pub wake: Wake,
}

/// The images of one node.
pub struct Images {
    client: Client,
    pods_folder: PathBuf,
    snapshotter: String,
    platform: Platform,
    settings: Settings,
    executor: Executor,
    /// One import at a time: they compete for the card, and would do the same work twice.
    archives: smol::lock::Mutex<Archives>,
    folder: PathBuf,
    /// Something has come from there that the pod loop has not heard of.
    archived: AtomicBool,
    wake: Wake,
    pulls: Pulls,
    uses: Uses,
    inventory: Inventory,
}

impl Images {
    pub fn new(parts: Parts<'_>) -> Images {
        let Parts { client, folder, pods_folder, snapshotter, platform, settings, executor, wake } = parts;
        let archives = smol::lock::Mutex::new(Archives::new(folder));
        let snapshotter = snapshotter.to_owned();
        let (archived, news) = (AtomicBool::new(false), wake.clone());
        let pulls = Pulls::new(client.clone(), snapshotter.clone(), platform.clone(), executor.clone(), news);
        Images {
            client,
            pods_folder,
            snapshotter,
            platform,
            settings,
            executor,
            archives,
            folder: folder.into(),
            archived,
            wake,
            pulls,
            uses: Uses::default(),
            inventory: Inventory::default(),
        }
    }

    /// Imports the folder's archives (`*.tar`, `*.tar.gz`, `*.tgz`, `*.tar.zst`) that are not imported yet. What fails is logged
    /// and left out. Returns the names of images that are new.
    pub async fn import_folder(&self) -> Vec<String> {
        self.archives.lock().await.import(&self.client, &self.platform, &self.snapshotter).await
    }

    /// Imports what is in the folder, and what comes into it, for ever. One that is still being written is told of
    /// once it is closed.
    pub async fn watch_folder(&self) {
        loop {
            let made = file::create_private_folder(&self.folder);
            // Before the first look: nothing that comes after it is missed.
            let changes = made.and_then(|()| folder::changes(&self.folder));
            loop {
                if !self.import_folder().await.is_empty() {
                    self.archived.store(true, Ordering::SeqCst);
                    self.wake.wake();
                }
                match &changes {
                    Ok(changes) if changes.next().await.is_ok() => {}
                    Ok(_) => break,
                    Err(error) => {
                        let folder = self.folder.display();
                        log::warn!(
                            "failed to listen to `{folder}` ({error}): archives wait for who needs them"
                        );
                        return future::pending().await;
                    }
                }
            }
            smol::Timer::after(FOLDER_RETRY).await;
        }
    }

    /// Ends what is being pulled.
    pub fn stop(&self) {
        self.pulls.stop();
    }

    /// Whether archives have come since the last call.
    pub fn take_archived(&self) -> bool {
        self.archived.swap(false, Ordering::SeqCst)
    }

    /// The image of a container, and the events about it. An archive that was put into the folder meanwhile is
    /// imported first; after that the image is pulled in the background, once for all that ask for it.
    pub async fn ensure(&self, ask: &Ask<'_>, report: &mut impl Report) -> Result<Found, Error> {
        let image = ask.image;
        let name = normalize(image)?;
        self.uses.note(&name);
        let asker = Asker { uid: ask.pod.uid().to_owned(), container: ask.container.to_owned() };
        match self.pulls.turn(&asker, &name) {
            Turn::Running { stage, news } => {
                if news {
                    report.event(Event::normal("Pulling", message(image, stage)).of(ask.container));
                }
                return Ok(Found::Pulling { message: message(image, stage) });
            }
            Turn::Done { outcome: Err(failure), .. } => return Err(self.failed(image, failure).await),
            Turn::Done { outcome: Ok(pulled), waited } => {
                // Collected meanwhile, in the worst case: then from the beginning.
                if let Some(found) = self.find(image, &name).await? {
                    let (took, waited) = (pulled.took.as_secs_f64(), waited.as_secs_f64());
                    let text = format!(
                        "Successfully pulled image \"{image}\" in {took:.3}s ({waited:.3}s including waiting). Image \
                         size: {} bytes.",
                        pulled.size
                    );
                    report.event(Event::normal("Pulled", text).of(ask.container));
                    return Ok(Found::Ready(Box::new(found)));
                }
            }
            Turn::None => {}
        }
        if let Some(found) = self.present(image, ask.policy).await? {
            let present = format!("Container image \"{image}\" already present on machine");
            report.event(Event::normal("Pulled", present).of(ask.container));
            return Ok(Found::Ready(Box::new(found)));
        }
        let ring = Keyring::of(ask.pod, ask.configs);
        if !ring.missing.is_empty() {
            let text = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                ring.missing.join(", ")
            );
            report.event(Event::warning("FailedToRetrieveImagePullSecret", text));
        }
        let secrets = ring.matching(reference::repository(&name));
        let path = self.settings.registries.clone();
        let registries = match smol::unblock(move || Registries::read(&path)).await {
            Ok(registries) => registries,
            Err(error) => return Err(self.failed(image, Failure::Registries(error).into()).await),
        };
        self.collect_if_full().await;
        report.event(Event::normal("Pulling", format!("Pulling image \"{image}\"")).of(ask.container));
        let endpoints = registries.endpoints(reference::repository(&name)).into_iter();
        let registries =
            endpoints.map(|endpoint| Registry::new(endpoint, &secrets, &self.executor)).collect();
        let key = fingerprint(&name, &secrets);
        let stage = self.pulls.start(asker, Wanted { name, key, registries });
        Ok(Found::Pulling { message: message(image, stage) })
    }

    /// The image if it is here, in containerd or in the folder; `None` is to be pulled.
    pub async fn present(&self, image: &str, policy: &str) -> Result<Option<Image>, Error> {
        let name = normalize(image)?;
        let always = policy == "Always" || policy.is_empty() && reference::is_latest(&name);
        if !always && let Some(found) = self.find(image, &name).await? {
            return Ok(Some(found));
        }
        // The folder stands in for a registry: what is always to be pulled comes from there first.
        self.import_folder().await;
        match self.find(image, &name).await? {
            Some(found) if !always || self.is_archived(&name).await => Ok(Some(found)),
            None if policy == "Never" => Err(Error::NeverPull { image: image.into() }),
            _ => Ok(None),
        }
    }

    /// It came from an archive that is in the folder still.
    async fn is_archived(&self, name: &str) -> bool {
        match self.client.stored_image(name).await {
            Ok(Some(stored)) => self.archives.lock().await.hold(&stored.labels),
            _ => false,
        }
    }

    async fn failed(&self, image: &str, source: std::sync::Arc<Failure>) -> Error {
        let archives = self.archives.lock().await;
        let archive = archives.failures().next().map(|(name, text)| (name.into(), text.into()));
        Error::Pull { image: image.into(), source, folder: archives.folder().into(), archive }
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

fn normalize(image: &str) -> Result<String, Error> {
    reference::normalize(image).map_err(|source| Error::InvalidName { image: image.into(), source })
}

fn message(image: &str, stage: Stage) -> String {
    format!("Pulling image \"{image}\": {stage}")
}

/// What two askers share: the name, and who they are to the registry.
fn fingerprint(name: &str, secrets: &[Credentials]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    for credentials in secrets {
        credentials.feed(&mut |text| {
            context.update(&[0]);
            context.update(text.as_bytes());
        });
    }
    data_encoding::HEXLOWER.encode(&context.finish().as_ref()[..8])
}
