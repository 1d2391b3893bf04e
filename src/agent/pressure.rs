//! What the node lacks, and the pods that it ends for it: the kubelet's eviction.
//!
//! Every ten seconds a few files of /proc and the file systems' counts are read. Pods are looked at only when something
//! lacks, or when one has a limit of ephemeral storage.

pub mod threshold;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_lite::future;

use self::threshold::{SIGNALS, Signal, Threshold};
use super::event::Event;
use super::evictions::{Eviction, Evictions};
use super::images::Images;
use super::outbox::Outbox;
use super::stats::figures::{self, Figures, Pod};
use super::stats::{Depth, Stats};
use super::wake::Wake;
use crate::plan::eviction::{self, Candidate, Use};
use crate::sys::cgroup::Cgroups;
use crate::sys::host;

/// As the kubelet's.
const PERIOD: Duration = Duration::from_secs(10);
/// How often containers' files are measured where they have limits: they are walked.
const STORAGE_PERIOD: Duration = Duration::from_secs(30);
/// How often it is asked where images are, as long as there is no container to tell.
const IMAGES_PERIOD: u64 = 30;
/// How long an evicted pod has to be gone before another one is.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an evicted pod's containers have, as upstream: the node can't wait.
const GRACE_SECONDS: u64 = 1;

/// What a node is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// None: the usual thresholds.
    pub hard: Option<Vec<Threshold>>,
    /// How long a condition stays after what it is about has gone, so that pods do not come and go.
    pub transition: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { hard: None, transition: Duration::from_secs(300) }
    }
}

/// What the node's conditions say. Shared by the loop that finds out and those who tell.
#[derive(Clone, Default)]
pub struct Pressure(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lack: Lack,
    /// Evictions by the signal that led to them.
    counts: BTreeMap<&'static str, u64>,
}

/// The resources that the node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lack {
    pub memory: bool,
    pub disk: bool,
    pub processes: bool,
}

impl Lack {
    fn of(signals: impl Iterator<Item = Signal>) -> Lack {
        let mut lack = Lack::default();
        for signal in signals {
            match signal {
                Signal::Memory => lack.memory = true,
                Signal::Processes => lack.processes = true,
                _ => lack.disk = true,
            }
        }
        lack
    }
}

impl Pressure {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lack(&self) -> Lack {
        self.state().lack
    }

    /// Evictions so far, by signal.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.state().counts.iter().map(|(signal, count)| (*signal, *count)).collect()
    }

    fn count(&self, signal: &'static str) {
        *self.state().counts.entry(signal).or_default() += 1;
    }
}

/// The loop.
pub struct Watch {
    pub pressure: Pressure,
    pub stats: Arc<Stats>,
    /// Those that nothing uses go before any pod.
    pub images: Arc<Images>,
    pub evictions: Evictions,
    pub outbox: Outbox,
    pub node_name: String,
    /// Its file system is the node's.
    pub data_dir: PathBuf,
    pub cgroups: Cgroups,
    pub options: Options,
    /// Woken when a condition changes.
    pub changed: Wake,
}

/// How much there is and how much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    available: u64,
    capacity: u64,
}

/// A threshold that is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crossed {
    signal: Signal,
    threshold: u64,
    available: u64,
}

impl Watch {
    /// Looks for ever.
    pub async fn run(self) -> Infallible {
        // Apart: a pod with millions of files must not hide what else the node lacks.
        let limits = async {
            loop {
                smol::Timer::after(STORAGE_PERIOD).await;
                if self.stats.limits_storage().await {
                    self.hold_to_limits().await;
                }
            }
        };
        future::or(self.look(), limits).await
    }

    async fn look(&self) -> Infallible {
        if let Some(message) = self.cgroups.missing() {
            self.event(&Event::warning("CgroupControllersMissing", message));
        }
        let memory = figures::memory_total(&self.cgroups).unwrap_or(0);
        let thresholds = self.options.hard.clone().unwrap_or_else(|| threshold::defaults(memory));
        let mut seen: BTreeMap<&'static str, (Signal, Instant)> = BTreeMap::new();
        let mut evicted: Option<(String, Instant)> = None;
        for pass in 0_u64.. {
            if pass % IMAGES_PERIOD == 1 {
                self.stats.find_images().await;
            }
            let crossed = self.crossed(&thresholds);
            let now = Instant::now();
            seen.extend(crossed.iter().map(|each| (each.signal.name(), (each.signal, now))));
            seen.retain(|_, (_, at)| now.duration_since(*at) < self.options.transition || *at == now);
            self.say(Lack::of(seen.values().map(|(signal, _)| *signal)));
            // The first look only tells: pods that are just being found again are not judged.
            if pass > 0 {
                let waiting =
                    evicted.as_ref().filter(|(_, at)| at.elapsed() < PATIENCE).map(|(uid, _)| uid.clone());
                if let Some(first) = crossed.first() {
                    if let Some(uid) = self.reclaim(first, waiting.as_deref()).await {
                        evicted = Some((uid, Instant::now()));
                    }
                }
            }
            smol::Timer::after(PERIOD).await;
        }
        future::pending().await
    }

    fn crossed(&self, thresholds: &[Threshold]) -> Vec<Crossed> {
        let crossed = |signal: Signal| {
            let threshold = thresholds.iter().find(|threshold| threshold.signal == signal)?;
            let reading = self.read(signal)?;
            let threshold = threshold.of(reading.capacity);
            (reading.available < threshold).then_some(Crossed {
                signal,
                threshold,
                available: reading.available,
            })
        };
        SIGNALS.iter().filter_map(|signal| crossed(*signal)).collect()
    }

    fn read(&self, signal: Signal) -> Option<Reading> {
        let disk = |path: PathBuf| figures::disk(&path);
        let bytes = |disk: figures::Disk| Reading { available: disk.available, capacity: disk.capacity };
        let inodes =
            |disk: figures::Disk| disk.inodes.map(|(capacity, available)| Reading { available, capacity });
        match signal {
            Signal::Memory => Some(Reading {
                available: figures::memory_available(&self.cgroups)?,
                capacity: figures::memory_total(&self.cgroups)?,
            }),
            Signal::NodeDisk => disk(self.data_dir.clone()).map(bytes),
            Signal::NodeInodes => disk(self.data_dir.clone()).and_then(inodes),
            Signal::ImageDisk => disk(self.images()?).map(bytes),
            Signal::ImageInodes => disk(self.images()?).and_then(inodes),
            Signal::Processes => {
                let capacity = host::pid_max()?;
                Some(Reading { available: capacity.saturating_sub(host::threads()?), capacity })
            }
        }
    }

    /// Where images are, if that is a file system of their own: otherwise the node's thresholds are theirs.
    fn images(&self) -> Option<PathBuf> {
        let device = |path: &PathBuf| std::fs::metadata(path).ok().map(|facts| facts.dev());
        let images = self.stats.images()?;
        (device(&images)? != device(&self.data_dir)?).then_some(images)
    }

    fn say(&self, lack: Lack) {
        let before = std::mem::replace(&mut self.pressure.state().lack, lack);
        if before == lack {
            return;
        }
        for (was, is, bad, good) in [
            (before.memory, lack.memory, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
            (before.disk, lack.disk, "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
            (before.processes, lack.processes, "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ] {
            if was != is {
                let reason = if is { bad } else { good };
                log::warn!("{reason}");
                let message = format!("Node {} status is now: {reason}", self.node_name);
                self.event(&Event::normal(reason, message));
            }
        }
        self.changed.wake();
    }

    fn event(&self, event: &Event) {
        self.outbox.event(event.of_node(&self.node_name, SystemTime::now()));
    }

    /// Ends one pod for what lacks, unless the one before, `waiting`, is still there. Returns its uid.
    async fn reclaim(&self, crossed: &Crossed, waiting: Option<&str>) -> Option<String> {
        let depth = match crossed.signal {
            Signal::Memory | Signal::Processes => Depth::Usage,
            _ => Depth::Disks,
        };
        if depth == Depth::Disks {
            self.images.collect_if_full().await;
            if self.read(crossed.signal).is_some_and(|now| now.available >= crossed.threshold) {
                return None;
            }
        }
        let figures = match self.stats.figures(depth).await {
            Ok(figures) => figures,
            Err(status) => {
                log::error!("no pod can be chosen to be evicted: {}", status.message);
                return None;
            }
        };
        if figures.pods.iter().any(|pod| Some(&*pod.desired.reference.uid) == waiting) {
            return None;
        }
        let resource = crossed.signal.resource();
        self.event(&Event::warning("EvictionThresholdMet", format!("Attempting to reclaim {resource}")));
        let chosen = eviction::first(candidates(&figures, crossed.signal))?;
        let pod = figures.pods.iter().find(|pod| pod.desired.reference.uid == chosen.uid)?;
        let object = pod.desired.object().ok()?;
        let uses = pod.containers.iter().map(|container| Use {
            name: &container.name,
            usage: match crossed.signal {
                Signal::Memory => container.usage.memory.map_or(0, |memory| memory.working_set),
                Signal::NodeDisk | Signal::ImageDisk => container.disk().bytes,
                // Upstream has no word of a container's part in these.
                _ => 0,
            },
            request: eviction::container_request(&object, &container.name, resource),
        });
        let uses: Vec<Use<'_>> = uses.collect();
        let message = eviction::message(resource, crossed.threshold, crossed.available, &uses);
        self.evict(pod, crossed.signal.name(), message);
        Some(chosen.uid)
    }

    /// Ends pods that take more of the disk than their limits allow.
    async fn hold_to_limits(&self) {
        let Ok(figures) = self.stats.figures(Depth::Disks).await else { return };
        for pod in figures.pods.iter().filter(|pod| pod.desired.grace_seconds.is_none()) {
            let Ok(object) = pod.desired.object() else { continue };
            let containers: Vec<(&str, u64)> =
                pod.containers.iter().map(|each| (&*each.name, each.disk().bytes)).collect();
            if let Some(message) = eviction::over_limit(&object, &containers, pod.disk().bytes) {
                self.evict(pod, "ephemeralcontainerfs.limit", message);
            }
        }
    }

    fn evict(&self, pod: &Pod, signal: &'static str, message: String) {
        let reference = &pod.desired.reference;
        log::warn!("pod {}/{} is evicted: {message}", reference.namespace, reference.name);
        self.pressure.count(signal);
        self.evictions.evict(Eviction {
            uid: reference.uid.clone(),
            reason: "Evicted",
            message,
            grace_seconds: GRACE_SECONDS,
        });
    }
}

/// Those that may go: not what is ending anyway, nor what the system needs.
fn candidates(figures: &Figures, signal: Signal) -> Vec<Candidate> {
    let candidate = |pod: &Pod| {
        let object = pod.desired.object().ok()?;
        if pod.desired.grace_seconds.is_some() || eviction::is_critical(&object) {
            return None;
        }
        let usage = match signal {
            Signal::Memory => pod.usage.memory.map_or(0, |memory| memory.working_set),
            Signal::NodeDisk | Signal::ImageDisk => pod.disk().bytes,
            Signal::NodeInodes | Signal::ImageInodes => pod.disk().inodes,
            Signal::Processes => pod.usage.processes.unwrap_or(0),
        };
        let request = eviction::request(&object, signal.resource());
        let uid = pod.desired.reference.uid.clone();
        Some(Candidate { uid, priority: eviction::priority(&object), usage, request })
    };
    figures.pods.iter().filter_map(candidate).collect()
}
