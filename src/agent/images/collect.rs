//! Room on the disk: images that nothing uses go when it runs short, as the kubelet's go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::progress::Bytes;
use super::pull::LEASES;
use super::{Images, reference};
use crate::agent::desired;
use crate::chain;
use crate::containerd::{self, StoredImage};
use crate::sys::host;

/// How often the disk is looked at: one system call.
const PERIOD: Duration = Duration::from_secs(300);

/// When images were used last, by name, as far as this process has seen it.
#[derive(Default)]
pub struct Uses(Mutex<BTreeMap<String, SystemTime>>);

impl Uses {
    pub fn note(&self, name: &str) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.insert(name.to_owned(), SystemTime::now());
    }

    fn last(&self, image: &StoredImage) -> SystemTime {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = uses.get(&image.name).copied();
        seen.max(image.updated_at).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Forgets what is not there.
    fn keep(&self, images: &[StoredImage]) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.retain(|name, _| images.iter().any(|image| image.name == *name));
    }
}

impl Images {
    /// Keeps room on the disk, for ever.
    pub async fn tend(&self) {
        loop {
            smol::Timer::after(PERIOD).await;
            self.collect_if_full().await;
        }
    }

    /// Above the high threshold, removes images until the low one is reached.
    pub async fn collect_if_full(&self) {
        let root = match self.root().await {
            Ok(Some(root)) => root,
            Ok(None) => return,
            Err(error) => return log::warn!("failed to find containerd's folder: {}", chain(&error)),
        };
        match used_percent(&root) {
            Some(used) if used >= self.settings.gc_high && self.settings.gc_high < 100 => {
                log::info!(
                    "the disk of `{}` is {used} % full: removing images that nothing uses",
                    root.display()
                );
                if let Err(error) = self.collect(&root).await {
                    log::warn!("failed to remove unused images: {}", chain(&error));
                }
            }
            _ => {}
        }
    }

    /// The folder of the snapshotter, whose disk counts; `None` if it is not seen from here.
    async fn root(&self) -> Result<Option<PathBuf>, containerd::Error> {
        let root = self.client.snapshotter_root(&self.snapshotter).await?;
        Ok(root.filter(|root| root.exists()))
    }

    async fn collect(&self, root: &std::path::Path) -> Result<(), containerd::Error> {
        let is_enough = || used_percent(root).is_none_or(|used| used <= self.settings.gc_low);
        // What failed pulls left, first: nobody runs it.
        let running = self.pulls.running();
        for lease in self.client.leases().await? {
            let Some(rest) = lease.id.strip_prefix(LEASES) else { continue };
            if !running.iter().any(|(_, key)| rest.starts_with(key.as_str())) {
                self.client.delete_lease(&lease, false).await?;
            }
        }
        self.client.collect_garbage().await?;
        let images = self.client.images(&[]).await?;
        let mut used: BTreeSet<String> = running.into_iter().map(|(name, _)| name).collect();
        for container in self.client.containers(&[]).await? {
            used.extend(reference::normalize(&container.image));
        }
        // A container that crashed, or an init container, is wanted again and is not there meanwhile.
        let folder = self.pods_folder.clone();
        let Ok(loaded) = smol::unblock(move || desired::load(&folder)).await else { return Ok(()) };
        for pod in loaded.pods.iter().filter_map(|pod| pod.object().ok()) {
            for list in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
                let images =
                    pod.array_at(list).iter().filter_map(|container| container.get("image")?.as_str());
                used.extend(images.filter_map(|image| reference::normalize(image).ok()));
            }
        }
        // Another name of what is in use frees nothing.
        let digests: BTreeSet<&str> = images
            .iter()
            .filter(|image| used.contains(&image.name))
            .map(|image| image.target.digest.as_str())
            .collect();
        let archives = self.archives.lock().await;
        let candidates = images.iter().filter(|image| {
            // An archive's image would be imported again at once.
            !digests.contains(image.target.digest.as_str()) && !archives.hold(&image.labels)
        });
        self.uses.keep(&images);
        let candidates = candidates.map(|image| (self.uses.last(image), image.name.as_str())).collect();
        for name in oldest(candidates, SystemTime::now(), self.settings.gc_age) {
            if is_enough() {
                break;
            }
            log::info!("removing image `{name}`");
            self.client.remove_image(name).await?;
            self.client.collect_garbage().await?;
        }
        if !is_enough() {
            let left = host::disk(root).map(|disk| disk.available).unwrap_or(0);
            log::warn!(
                "{} are left on the disk of `{}`, and no image that nothing uses",
                Bytes(left),
                root.display()
            );
        }
        Ok(())
    }
}

/// Those not used for `age`, the one that has not been used for longest first.
fn oldest(mut candidates: Vec<(SystemTime, &str)>, now: SystemTime, age: Duration) -> Vec<&str> {
    candidates.retain(|(used, _)| now.duration_since(*used).is_ok_and(|unused| unused >= age));
    candidates.sort();
    candidates.into_iter().map(|(_, name)| name).collect()
}

fn used_percent(root: &std::path::Path) -> Option<u8> {
    let disk = host::disk(root).ok()?;
    // As the kubelet reckons: what only root may take counts as used.
    let free = disk.available.saturating_mul(100).checked_div(disk.total)?;
    u8::try_from(100 - free.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let images = vec![
            (at(300), "b"),
            (at(100), "a"),
            (at(881), "young"),
            (at(2_000), "of the future"),
            (at(300), "c"),
        ];
        assert_eq!(oldest(images, at(1_000), Duration::from_secs(120)), ["a", "b", "c"]);
        assert!(used_percent(std::path::Path::new("/")).is_some_and(|used| used <= 100));
        assert_eq!(used_percent(std::path::Path::new("/nonexistent")), None);
    }
}
