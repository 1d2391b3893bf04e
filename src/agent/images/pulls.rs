//! The pulls of this node: in the background, a few at a time, each for all that ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Task;
use smol::lock::Semaphore;

use super::super::wake::Wake;
use super::failure::Failure;
use super::layers::Layers;
use super::progress::{Progress, Stage};
use super::pull::Puller;
use super::registry::Registry;
use crate::Executor;
use crate::containerd::{Client, Platform};

/// At once: each has a connection and its buffers, and all share one network and one card.
const AT_ONCE: usize = 3;
/// Those who asked have come back long before, or never will.
const KEPT: Duration = Duration::from_secs(600);

/// A container that wants an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub uid: String,
    pub container: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Pulled {
    /// Bytes of the layers.
    pub size: u64,
    pub took: Duration,
}

type Outcome = Result<Pulled, Arc<Failure>>;

/// What became of the pull that somebody waits for.
pub enum Turn {
    /// He waits for none.
    None,
    /// `news` is true when another quarter of it is done.
    Running { stage: Stage, news: bool },
    /// He is told once. `waited` counts from when he asked.
    Done { outcome: Outcome, waited: Duration },
}

/// One pull to start.
pub struct Wanted {
    pub name: String,
    /// Of the name and the credentials: what two askers may share.
    pub key: String,
    pub registries: Vec<Registry>,
}

pub struct Pulls {
    shared: Arc<Shared>,
    executor: Executor,
    wake: Wake,
    list: Mutex<Vec<Pull>>,
}

struct Shared {
    client: Client,
    snapshotter: String,
    platform: Platform,
    layers: Layers,
    places: Semaphore,
}

struct Pull {
    name: String,
    key: String,
    progress: Arc<Progress>,
    outcome: Arc<Mutex<Option<(Outcome, Instant)>>>,
    waiters: Vec<Waiter>,
    _task: Task<()>,
}

struct Waiter {
    asker: Asker,
    since: Instant,
    /// Quarters of the pull that he has heard of.
    quarters: u64,
}

impl Pull {
    fn outcome(&self) -> Option<(Outcome, Instant)> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Pulls {
    pub fn new(
        client: Client,
        snapshotter: String,
        platform: Platform,
        executor: Executor,
        wake: Wake,
    ) -> Pulls {
        let places = Semaphore::new(AT_ONCE);
        let shared = Arc::new(Shared { client, snapshotter, platform, layers: Layers::default(), places });
        Pulls { shared, executor, wake, list: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Pull>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the pull of `name` is that `asker` waits for.
    pub fn turn(&self, asker: &Asker, name: &str) -> Turn {
        let mut list = self.list();
        list.retain(|pull| {
            pull.outcome().is_none_or(|(_, at)| at.elapsed() < KEPT && !pull.waiters.is_empty())
        });
        for pull in list.iter_mut().filter(|pull| pull.name == name) {
            let Some(at) = pull.waiters.iter().position(|waiter| waiter.asker == *asker) else { continue };
            if let Some((outcome, _)) = pull.outcome() {
                let waiter = pull.waiters.swap_remove(at);
                return Turn::Done { outcome, waited: waiter.since.elapsed() };
            }
            let stage = pull.progress.stage();
            let quarters = match stage {
                Stage::Fetching { done, total } if total > 0 => done.saturating_mul(4) / total,
                _ => 0,
            };
            let heard = &mut pull.waiters[at].quarters;
            let news = quarters > *heard;
            *heard = quarters.max(*heard);
            return Turn::Running { stage, news };
        }
        Turn::None
    }

    /// Starts the pull, or joins the one that runs.
    pub fn start(&self, asker: Asker, wanted: Wanted) -> Stage {
        let waiter = Waiter { asker, since: Instant::now(), quarters: 0 };
        let mut list = self.list();
        let running = list.iter_mut().find(|pull| pull.key == wanted.key && pull.outcome().is_none());
        if let Some(pull) = running {
            pull.waiters.push(waiter);
            return pull.progress.stage();
        }
        let progress = Arc::new(Progress::new(self.wake.clone()));
        let outcome = Arc::new(Mutex::new(None));
        let (name, key) = (wanted.name.clone(), wanted.key.clone());
        let (shared, wake) = (self.shared.clone(), self.wake.clone());
        let (of, to) = (progress.clone(), outcome.clone());
        // Boxed: it is large, and few pods pull.
        let task = self.executor.spawn(Box::pin(async move {
            let begun = Instant::now();
            let name = wanted.name.clone();
            let pulled = shared.pull(wanted, &of).await;
            let pulled = pulled.map(|size| Pulled { size, took: begun.elapsed() });
            match &pulled {
                Ok(Pulled { took, .. }) => log::info!("image `{name}` pulled in {:.1} s", took.as_secs_f64()),
                Err(failure) => log::warn!("image `{name}` not pulled: {}", crate::chain(failure)),
            }
            let pulled = pulled.map_err(Arc::new);
            *to.lock().unwrap_or_else(PoisonError::into_inner) = Some((pulled, Instant::now()));
            wake.wake();
        }));
        list.push(Pull { name, key, progress, outcome, waiters: vec![waiter], _task: task });
        Stage::Waiting
    }

    /// Ends all; what they have got so far is kept.
    pub fn stop(&self) {
        self.list().clear();
    }

    /// Names and keys of what is being pulled.
    pub fn running(&self) -> Vec<(String, String)> {
        let list = self.list();
        let running = list.iter().filter(|pull| pull.outcome().is_none());
        running.map(|pull| (pull.name.clone(), pull.key.clone())).collect()
    }
}

impl Shared {
    async fn pull(&self, wanted: Wanted, progress: &Progress) -> Result<u64, Failure> {
        let _place = self.places.acquire().await;
        let puller = Puller {
            client: &self.client,
            snapshotter: &self.snapshotter,
            platform: &self.platform,
            layers: &self.layers,
            progress,
            name: &wanted.name,
            registries: wanted.registries,
            key: &wanted.key,
        };
        Ok(puller.run().await?.size)
    }
}
