//! The size limits of emptyDirs on disk: one that grows over its limit ends its pod. (In memory the kernel holds it.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::evictions::{Eviction, Evictions};
use crate::agent::wake::Wake;
use crate::plan::eviction::quantity;
use crate::sys::usage;

/// How often the volumes are looked at, if there are any; a volume of many files less often, so that looking
/// takes no more than a twentieth of the time.
const PERIOD: Duration = Duration::from_secs(10);
const SHARE: u32 = 20;

/// The volumes to look at, by pod and name.
pub struct Limits {
    evictions: Evictions,
    watched: Mutex<BTreeMap<(String, String), Watched>>,
    /// There are some.
    wake: Wake,
}

#[derive(Clone)]
struct Watched {
    path: PathBuf,
    limit: u64,
}

impl Limits {
    pub fn new(evictions: Evictions) -> Limits {
        Limits { evictions, watched: Mutex::default(), wake: Wake::default() }
    }

    pub fn watch(&self, uid: &str, name: &str, path: &Path, limit: u64) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert((uid.to_owned(), name.to_owned()), Watched { path: path.into(), limit });
        drop(watched);
        self.wake.wake();
    }

    pub fn forget(&self, uid: &str) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(pod, _), _| pod != uid);
    }

    fn all(&self) -> Vec<((String, String), Watched)> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().map(|(key, watched)| (key.clone(), watched.clone())).collect()
    }

    /// Looks at them for ever; sleeps while there are none.
    pub async fn run(&self) {
        loop {
            let watched = self.all();
            if watched.is_empty() {
                self.wake.wait().await;
                continue;
            }
            let begun = Instant::now();
            for ((uid, name), Watched { path, limit }) in watched {
                let used = smol::unblock(move || usage::used(&path, limit)).await;
                // A volume that is not there yet, or no more.
                if used.is_ok_and(|used| used > limit) {
                    self.evict(uid, &name, limit);
                }
            }
            smol::Timer::after(PERIOD.max(begun.elapsed() * SHARE)).await;
        }
    }

    fn evict(&self, uid: String, name: &str, limit: u64) {
        let message =
            format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{}\". ", quantity(limit));
        self.forget(&uid);
        self.evictions.evict(Eviction { uid, reason: "Evicted", message, grace_seconds: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_over_its_limit_ends_its_pod() {
        let folder = std::env::temp_dir().join(format!("midge-limit-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("small")).unwrap();
        std::fs::create_dir_all(folder.join("large")).unwrap();
        std::fs::write(folder.join("large/file"), vec![1; 100_000]).unwrap();
        let wake = Wake::default();
        let evictions = Evictions::new(wake.clone());
        let limits = Limits::new(evictions.clone());
        for name in ["small", "large", "absent"] {
            limits.watch(name, "data", &folder.join(name), 65_536);
        }
        smol::block_on(smol::future::or(limits.run(), wake.wait()));
        let evicted = evictions.take();
        assert_eq!(evicted.len(), 1);
        assert_eq!(evicted[0].uid, "large");
        assert_eq!(evicted[0].message, "Usage of EmptyDir volume \"data\" exceeds the limit \"64Ki\". ");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
