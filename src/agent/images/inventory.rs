//! Which images the node has, for its status: the scheduler prefers a node that need not pull.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_lite::future;

use super::{Images, reference};
use crate::agent::wake::Wake;
use crate::chain;
use crate::containerd::{self, StoredImage};

/// The kubelet's nodeStatusMaxImages, and how many names it says of each.
const MAX_IMAGES: usize = 50;
const MAX_NAMES: usize = 5;
/// What the names may have together: the server takes 64 KiB of a node, and names may be long.
const MAX_BYTES: usize = 24 << 10;
/// What comes together is told of together: each change of a node is one for everybody who watches it.
const GATHER: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(60);

/// One image, as `status.images` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// By digest, then by tags.
    pub names: Vec<String>,
    /// Of the layers as they are stored.
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Inventory {
    /// None until containerd was asked.
    list: Mutex<Option<Arc<[Listed]>>>,
    changes: Wake,
}

impl Images {
    /// None: not known yet.
    pub fn listed(&self) -> Option<Arc<[Listed]>> {
        self.inventory.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// To be woken when containerd's images may be others.
    pub fn changes(&self) -> Wake {
        self.inventory.changes.clone()
    }

    /// Keeps the list, for ever, and wakes `describe` when it is another.
    pub async fn list(&self, describe: &Wake) {
        let mut sizes = BTreeMap::new();
        loop {
            let timer = match self.look(&mut sizes).await {
                Ok(list) => {
                    if self.listed().as_deref() != Some(&list) {
                        let mut known = self.inventory.list.lock().unwrap_or_else(PoisonError::into_inner);
                        *known = Some(list.into());
                        drop(known);
                        describe.wake();
                    }
                    None
                }
                // Whoever runs the pods says so loudly.
                Err(error) => {
                    log::debug!("failed to list the images: {}", chain(&error));
                    Some(RETRY)
                }
            };
            let late = async {
                match timer {
                    Some(pause) => drop(smol::Timer::after(pause).await),
                    None => future::pending().await,
                }
            };
            future::or(self.inventory.changes.wait(), late).await;
            smol::Timer::after(GATHER).await;
        }
    }

    /// `sizes`, by digest, are known from the last look.
    async fn look(&self, sizes: &mut BTreeMap<String, u64>) -> Result<Vec<Listed>, containerd::Error> {
        let mut images = self.client.images(&[]).await?;
        sizes.retain(|digest, _| images.iter().any(|image| image.target.digest == *digest));
        for image in &images {
            if !sizes.contains_key(&image.target.digest) {
                match self.client.resolve_image(image, &self.platform).await {
                    Ok(Some(found)) => drop(sizes.insert(found.digest, found.size)),
                    Err(error) if error.is_unavailable() => return Err(error),
                    // It is not all there, or for other machines: no pod can have it.
                    _ => {}
                }
            }
        }
        images.retain(|image| sizes.contains_key(&image.target.digest));
        Ok(listed(&images, sizes))
    }
}

/// The largest first.
fn listed(images: &[StoredImage], sizes: &BTreeMap<String, u64>) -> Vec<Listed> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for StoredImage { name, target, .. } in images {
        // containerd's CRI plugin has names that are digests only.
        if !name.contains('/') {
            continue;
        }
        let names = found.entry(&target.digest).or_default();
        let by_digest = format!("{}@{}", reference::repository(name), target.digest);
        for name in [&by_digest, name] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let bytes = |digest: &str| sizes.get(digest).copied().unwrap_or(0);
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(digest, _)| std::cmp::Reverse((bytes(digest), *digest)));
    let mut room = MAX_BYTES;
    let mut list = Vec::new();
    for (digest, mut names) in found.into_iter().take(MAX_IMAGES) {
        names.sort_by_key(|name| !name.contains('@'));
        names.truncate(MAX_NAMES);
        let Some(left) = room.checked_sub(names.iter().map(String::len).sum()) else { break };
        room = left;
        list.push(Listed { names, bytes: bytes(digest) });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::{Descriptor, Labels};

    fn image(name: &str, digest: &str) -> StoredImage {
        let target = Descriptor { digest: digest.into(), media_type: String::new(), size: 1 };
        StoredImage { name: name.into(), target, labels: Labels::new(), updated_at: None }
    }

    #[test]
    fn largest_first_with_all_names() {
        let sizes = BTreeMap::from([("sha256:a".to_owned(), 10), ("sha256:b".to_owned(), 20)]);
        let images = [
            image("x.org/a:1", "sha256:a"),
            image("x.org/a:2", "sha256:a"),
            image("sha256:c", "sha256:a"),
            image("y.org:5000/b:1", "sha256:b"),
            image("y.org:5000/b@sha256:b", "sha256:b"),
        ];
        let listed = |names: &[&str], bytes| Listed {
            names: names.iter().map(|name| name.to_string()).collect(),
            bytes,
        };
        assert_eq!(
            super::listed(&images, &sizes),
            [
                listed(&["y.org:5000/b@sha256:b", "y.org:5000/b:1"], 20),
                listed(&["x.org/a@sha256:a", "x.org/a:1", "x.org/a:2"], 10),
            ]
        );
    }

    #[test]
    fn as_many_as_a_node_may_say() {
        let many = |length: usize| -> Vec<StoredImage> {
            let named = |index| image(&format!("x.org/{index:0length$}:1"), &format!("sha256:{index:064}"));
            (0..60).map(named).collect()
        };
        assert_eq!(listed(&many(10), &BTreeMap::new()).len(), MAX_IMAGES);
        let long = listed(&many(240), &BTreeMap::new());
        let bytes: usize = long.iter().flat_map(|image| &image.names).map(String::len).sum();
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
        let tags: Vec<_> = (0..9).map(|tag| image(&format!("x.org/a:{tag}"), "sha256:a")).collect();
        assert_eq!(listed(&tags, &BTreeMap::new())[0].names.len(), MAX_NAMES);
    }
}
