//! The node's figures, read when they are asked for: `stats/summary`, `metrics`, `metrics/resource`.

pub mod figures;
mod metrics;
mod summary;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use smol::lock::Mutex;

use self::figures::{Container, Figures, Pod, Storage};
use super::container::{self, Live};
use super::desired;
use super::pressure::Pressure;
use super::record::Record;
use super::sandbox::groups::{Class, Groups};
use crate::api::{Object, Status};
use crate::chain;
use crate::containerd::Client;
use crate::link::{ReadRequest, Stream, StreamError};
use crate::sys::cgroup::Cgroups;
use crate::sys::cgroup::usage::Usage;
use crate::sys::usage::{self, Used};
use crate::sys::{host, traffic};

/// The channel of the link's stream that the document is sent on.
const CHANNEL: u8 = 1;
/// A rate of processor time is taken over at least and at most so long.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// What reading takes.
pub struct Options {
    pub client: Client,
    pub snapshotter: String,
    pub cgroups: Cgroups,
    /// `/midge`.
    pub cgroup_parent: String,
    /// `<data>/agent/pods`.
    pub pods_folder: PathBuf,
    pub node_name: String,
}

/// Reads the node's figures. Of earlier readings it keeps the last one's processor times: there is no rate without.
pub struct Stats {
    options: Options,
    pressure: Pressure,
    last: Mutex<Option<Sample>>,
    /// Where containerd keeps the layers of images, once a container told.
    images: OnceLock<PathBuf>,
}

/// Processor times by what they are of: a container's id, a pod's uid, "" for the node.
struct Sample {
    at: Instant,
    cpu_nanos: BTreeMap<String, u64>,
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Files of /proc and of control groups.
    Usage,
    /// Rates of processor time too: the first reading takes [`WINDOW`]'s least.
    Rates,
    /// And disks: containers' and volumes' files are walked.
    Disks,
}

impl Stats {
    pub fn new(options: Options, pressure: Pressure) -> Stats {
        Stats { options, pressure, last: Mutex::default(), images: OnceLock::new() }
    }

    /// Answers a Read stream and ends it.
    pub async fn serve(&self, request: &ReadRequest, stream: Stream) -> Result<(), StreamError> {
        match self.read(&request.path).await {
            Ok(text) => {
                stream.write(CHANNEL, text.as_bytes()).await?;
                stream.end(b"").await
            }
            Err(status) => stream.end(&status.to_vec()).await,
        }
    }

    /// The document at a kubelet's path.
    async fn read(&self, path: &str) -> Result<String, Status> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match path.trim_matches('/') {
            "stats/summary" => {
                let light = query.split('&').any(|pair| pair == "only_cpu_and_memory=true");
                let depth = if light { Depth::Rates } else { Depth::Disks };
                Ok(summary::summary(&self.figures(depth).await?, &self.options.node_name).to_string())
            }
            "metrics" => {
                Ok(metrics::all(&self.figures(Depth::Usage).await?, &self.pressure, &self.options.node_name))
            }
            "metrics/resource" => Ok(metrics::resource(&self.figures(Depth::Usage).await?)),
            _ => Err(Status::no_such_resource()),
        }
    }

    /// Everything as it is now.
    pub async fn figures(&self, depth: Depth) -> Result<Figures, Status> {
        if depth == Depth::Usage {
            return self.look(depth).await;
        }
        // Held while it reads: two readers at once would halve each other's windows.
        let mut last = self.last.lock().await;
        let age = last.as_ref().map(|sample| sample.at.elapsed());
        if age.is_none_or(|age| age > WINDOW.1) {
            *last = Some(Sample::of(&self.look(Depth::Usage).await?));
        }
        let age = last.as_ref().map_or(Duration::ZERO, |sample| sample.at.elapsed());
        if let Some(short) = WINDOW.0.checked_sub(age) {
            smol::Timer::after(short).await;
        }
        let mut figures = self.look(Depth::Rates).await?;
        let before = last.replace(Sample::of(&figures));
        drop(last);
        // Walking disks takes its time, and keeps nobody from the rates.
        if depth == Depth::Disks {
            figures = self.look(depth).await?;
        }
        if let Some(before) = before {
            before.rate(&mut figures);
        }
        Ok(figures)
    }

    async fn look(&self, depth: Depth) -> Result<Figures, Status> {
        let seen = container::observe(&self.options.client).await;
        let seen = seen.map_err(|error| Status::internal(chain(&error)))?;
        let folder = self.options.pods_folder.clone();
        let loaded = smol::unblock(move || desired::load(&folder)).await;
        let loaded = loaded.map_err(|error| Status::internal(chain(&error)))?;
        let at = Instant::now();
        let mut pods = Vec::new();
        for pod in loaded.pods {
            let live = seen.get(&pod.reference.uid).map(Vec::as_slice).unwrap_or_default();
            let live: Vec<&Live> = live.iter().filter(|live| live.runs()).collect();
            if !live.is_empty() {
                pods.push(self.pod(pod, &live, depth).await);
            }
        }
        let node = figures::node(&self.options.cgroups, &self.options.cgroup_parent);
        let storage = match depth {
            Depth::Disks => self.storage().await,
            _ => None,
        };
        Ok(Figures { at, time: SystemTime::now(), node, pods, storage })
    }

    async fn pod(&self, desired: desired::Pod, live: &[&Live], depth: Depth) -> Pod {
        let uid = &desired.reference.uid;
        let group = self.group(uid);
        let process =
            live.iter().find_map(|live| live.task.as_ref()).map(|task| task.pid).filter(|pid| *pid > 0);
        let folder = self.options.pods_folder.join(uid);
        let mut containers = Vec::new();
        for live in live {
            let mut container = Container {
                name: live.name.clone(),
                id: live.id.clone(),
                started: live.created_at,
                usage: self.options.cgroups.usage(&format!("{group}/{}", live.id)),
                cpu_rate: None,
                rootfs: None,
                logs: None,
            };
            if depth == Depth::Disks {
                let rootfs = self.options.client.snapshot_usage(&self.options.snapshotter, &live.id).await;
                container.rootfs = rootfs.ok().flatten().map(|usage| Used {
                    bytes: u64::try_from(usage.size).unwrap_or(0),
                    inodes: u64::try_from(usage.inodes).unwrap_or(0),
                });
                let logs = folder.join("logs").join(&live.name);
                container.logs =
                    Some(smol::unblock(move || usage::measure(&logs, u64::MAX).unwrap_or_default()).await);
            }
            containers.push(container);
        }
        let volumes = match (depth, desired.object()) {
            (Depth::Disks, Ok(object)) => figures::volumes(&object, folder.join("volumes")).await,
            _ => Vec::new(),
        };
        Pod {
            started: Record::load(&folder).ok().and_then(|record| record.start_time).map(|stamp| stamp.0),
            usage: self.options.cgroups.usage(&group),
            cpu_rate: None,
            // What a pod on the host's network carries is the host's.
            network: match process {
                Some(process) if !desired.host_network => traffic::of(Some(process)),
                _ => Vec::new(),
            },
            containers,
            volumes,
            desired,
        }
    }

    /// The pod's control group: below its class's, where those have groups of their own.
    fn group(&self, uid: &str) -> String {
        Groups::new(self.options.cgroups.clone(), &self.options.cgroup_parent).of(uid, Class::Guaranteed)
    }

    /// The file systems of the node and of its images.
    async fn storage(&self) -> Option<Storage> {
        self.find_images().await;
        let node = figures::disk(&self.options.pods_folder)?;
        let images = self.images().and_then(|path| figures::disk(&path));
        Some(Storage { node, images: images.unwrap_or(node) })
    }

    /// A folder on the images' file system; None until it is known.
    pub fn images(&self) -> Option<PathBuf> {
        self.images.get().cloned()
    }

    /// Looks for it. containerd does not say where it keeps images: a container's mount does.
    pub async fn find_images(&self) {
        if self.images.get().is_some() {
            return;
        }
        let Options { client, snapshotter, .. } = &self.options;
        let active = client.snapshots(snapshotter, &["kind==active"]).await.unwrap_or_default();
        let Some(container) = active.first() else { return };
        let mounts = client.snapshot_mounts(snapshotter, &container.name).await.unwrap_or_default();
        let mut options = mounts.iter().flat_map(|mount| &mount.options);
        // `…/snapshots/7/fs`: that one goes with its container.
        let upper = options.find_map(|option| {
            PathBuf::from(option.strip_prefix("upperdir=")?).parent()?.parent().map(PathBuf::from)
        });
        if let Some(path) = upper {
            let _ = self.images.set(path);
        }
    }

    /// Whether any pod says anything of ephemeral storage: a limit, perhaps.
    pub async fn limits_storage(&self) -> bool {
        let folder = self.options.pods_folder.clone();
        smol::unblock(move || {
            std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
                let text = std::fs::read(entry.path().join("pod.json")).unwrap_or_default();
                let Ok(pod) = Object::from_slice(&text) else { return false };
                let limits =
                    |container: &Value| container.pointer("/resources/limits/ephemeral-storage").is_some();
                pod.array_at("/spec/containers").iter().any(limits)
            })
        })
        .await
    }
}

impl Sample {
    fn of(figures: &Figures) -> Sample {
        let mut cpu_nanos = BTreeMap::new();
        let mut add = |key: &str, usage: &Usage| {
            cpu_nanos.extend(usage.cpu_nanos.map(|nanos| (key.to_owned(), nanos)));
        };
        add("", &figures.node.usage);
        for pod in &figures.pods {
            add(&pod.desired.reference.uid, &pod.usage);
            pod.containers.iter().for_each(|container| add(&container.id, &container.usage));
        }
        Sample { at: figures.at, cpu_nanos }
    }

    /// Says how fast processor time was used between this sample and `figures`.
    fn rate(&self, figures: &mut Figures) {
        let window = figures.at.duration_since(self.at).as_nanos().max(1);
        let now = figures.time;
        let rate = |key: &str, usage: &Usage, started: Option<SystemTime>| {
            let (since, window) = match (self.cpu_nanos.get(key), started) {
                (Some(before), _) => (*before, window),
                // It was started since.
                (None, Some(started)) => (0, now.duration_since(started).ok()?.as_nanos().max(1)),
                (None, None) => return None,
            };
            let used = u128::from(usage.cpu_nanos?.saturating_sub(since));
            u64::try_from(used * 1_000_000_000 / window).ok()
        };
        figures.node.cpu_rate = rate("", &figures.node.usage, host::boot_time());
        for pod in &mut figures.pods {
            pod.cpu_rate = rate(&pod.desired.reference.uid, &pod.usage, pod.started);
            for container in &mut pod.containers {
                container.cpu_rate = rate(&container.id, &container.usage, container.started);
            }
        }
    }
}
