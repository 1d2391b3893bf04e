//! A pod's volumes on the node: set up before its first container, bound into containers, kept up to date,
//! taken down with the pod.
//!
//! ```text
//! pods/<uid>/volumes/<name>                        emptyDir, configMap; with a tmpfs on it: secret, downwardAPI, projected,
//!                                                  emptyDir in memory
//! pods/<uid>/volumes/<name> -> storage/…           the folder of a persistent volume
//! pods/<uid>/volume-subpaths/<name>/<container>/N  a subPath of mount N, bound
//! ```
//! A volume that is there is set up: its folder appears by a rename, its tmpfs by one mount, its files by the rename
//! of a link ([`files`]).

pub mod claim;
mod downward;
mod error;
mod files;
mod host_path;
pub mod limit;
mod mounts;
mod payload;
pub mod tokens;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::error::{Error, Problem};
use self::limit::Limits;
pub use self::mounts::root_propagation;
use self::tokens::Tokens;
use super::configs::Configs;
use super::evictions::Evictions;
use super::node::Resources;
use crate::api::Object;
use crate::api::quantity::Quantity;
use crate::chain;
use crate::sys::{file, mount};

/// How long a pod's start waits for its tokens. The server answers within milliseconds, if it is there.
const TOKEN_PATIENCE: Duration = Duration::from_secs(2);

/// What a pod's folder has of them.
pub const FOLDERS: [&str; 2] = ["volume-subpaths", "volumes"];

/// One bind mount of a container (`mounts` of the runtime-spec).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub destination: String,
    pub source: PathBuf,
    /// `rbind`, `ro`, `rslave` …
    pub options: Vec<String>,
}

/// The volumes of all pods of this node.
#[derive(Clone)]
pub struct Volumes {
    pub configs: Configs,
    /// `<data>/agent/pods`: volumes are in `<uid>/volumes/<name>`.
    pub pods_folder: PathBuf,
    /// Folders of persistent volumes that midge made.
    storage: PathBuf,
    /// What emptyDirs may hold.
    pub limits: Arc<Limits>,
    pub tokens: Tokens,
    /// What the node has for pods.
    allocatable: Resources,
}

impl Volumes {
    pub fn new(
        configs: Configs,
        pods_folder: PathBuf,
        storage: PathBuf,
        evictions: Evictions,
        tokens: Tokens,
        allocatable: Resources,
    ) -> Volumes {
        let limits = Arc::new(Limits::new(evictions));
        Volumes { configs, pods_folder, storage, limits, tokens, allocatable }
    }

    /// Makes all of the pod's volumes; one at a time for each pod, as [`Volumes::refresh`]. Idempotent, and cheap when
    /// it is done. An error is the event FailedMount; the pod's containers stay ContainerCreating.
    pub async fn set_up(&self, pod: &Object) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let made = self.each(pod, |maker, volume| maker.set_up(volume)).await;
            let awaits_token = matches!(&made, Err(error) if matches!(error.problem, Problem::Token(_)));
            let Some(left) = TOKEN_PATIENCE.checked_sub(begun.elapsed()).filter(|_| awaits_token) else {
                return made;
            };
            if !self.tokens.are_awaited(pod.uid()) {
                return made;
            }
            self.tokens.news(pod.uid(), left).await;
        }
    }

    /// What to bind into one container. `env` is what `subPathExpr` is expanded by. An error is the waiting
    /// reason CreateContainerConfigError.
    pub async fn mounts(
        &self,
        pod: &Object,
        container: &Value,
        env: &[(String, String)],
    ) -> Result<Vec<Mount>, Error> {
        if list(container, "volumeMounts").is_empty() {
            return Ok(Vec::new());
        }
        let (folder, pod, container, env) =
            (self.pods_folder.join(pod.uid()), pod.clone(), container.clone(), env.to_vec());
        smol::unblock(move || mounts::mounts(&folder, &pod, &container, &env)).await
    }

    /// Brings the files of a running pod up to date with its ConfigMaps, Secrets and own metadata. What fails is
    /// left as it was: the pod runs on with it.
    pub async fn refresh(&self, pod: &Object) {
        let refreshed = self.each(pod, |maker, volume| {
            maker.refresh(volume);
            Ok(())
        });
        let _never_fails = refreshed.await;
    }

    /// Unmounts all that is mounted for the pod. Goes on past failures and returns all of them. Its folder is
    /// removed afterwards by [`super::work::remove_folder`].
    pub async fn tear_down(&self, uid: &str) -> Result<(), Vec<Error>> {
        self.limits.forget(uid);
        self.tokens.forget(uid);
        let folder = self.pods_folder.join(uid);
        let errors = smol::unblock(move || unmount_all(&folder)).await;
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    async fn each(
        &self,
        pod: &Object,
        make: impl Fn(&Maker, &Value) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        if pod.array_at("/spec/volumes").is_empty() {
            return Ok(());
        }
        let maker = Maker {
            configs: self.configs.clone(),
            limits: Arc::clone(&self.limits),
            tokens: self.tokens.clone(),
            folder: self.pods_folder.join(pod.uid()).join("volumes"),
            storage: self.storage.clone(),
            fs_group: fs_group(pod),
            allocatable: self.allocatable,
            pod: pod.clone(),
        };
        smol::unblock(move || {
            maker.pod.array_at("/spec/volumes").iter().try_for_each(|volume| make(&maker, volume))
        })
        .await
    }
}

/// Unmounts all volumes in a pod's folder, innermost first. What somebody else has mounted beside them stays.
pub fn unmount_all(folder: &Path) -> Vec<Error> {
    FOLDERS.iter().flat_map(|name| unmount_below(&folder.join(name))).collect()
}

fn unmount_below(folder: &Path) -> Vec<Error> {
    let failed = |problem| Error { volume: String::new(), problem };
    let points = match folder.canonicalize().and_then(|folder| mount::below(&folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => return vec![failed(Problem::io("look for mounts in", folder, source))],
        Ok(points) => points,
    };
    let unmount = |point: PathBuf| {
        mount::unmount(&point).err().map(|source| failed(Problem::io("unmount", &point, source)))
    };
    points.into_iter().filter_map(unmount).collect()
}

/// One pod's volumes being made; blocking.
struct Maker {
    configs: Configs,
    limits: Arc<Limits>,
    tokens: Tokens,
    pod: Object,
    /// `pods/<uid>/volumes`.
    folder: PathBuf,
    storage: PathBuf,
    fs_group: Option<u32>,
    allocatable: Resources,
}

impl Maker {
    fn set_up(&self, volume: &Value) -> Result<(), Error> {
        let name = text(volume, "name");
        self.make(name, volume).map_err(|problem| Error { volume: name.to_owned(), problem })
    }

    fn make(&self, name: &str, volume: &Value) -> Result<(), Problem> {
        // The server has checked it; here it becomes a part of a path.
        if crate::api::names::is_dns_label(name).is_err() {
            return Err(Problem::Name);
        }
        let path = self.folder.join(name);
        if let Some(source) = volume.get("hostPath").filter(|source| !source.is_null()) {
            return host_path::check(source);
        }
        if let Some(source) = volume.get("emptyDir").filter(|source| !source.is_null()) {
            return self.empty_dir(name, &path, source);
        }
        if let Some(source) = volume.get("persistentVolumeClaim").filter(|source| !source.is_null()) {
            return claim::set_up(&self.configs, &self.storage, &self.pod, source, &path, self.fs_group);
        }
        let Some(keeps_in_memory) = payload::keeps_in_memory(volume) else {
            let map = volume.as_object().into_iter().flatten();
            let source = map.map(|(key, _)| key).find(|key| *key != "name");
            return Err(Problem::Unsupported(source.cloned().unwrap_or_default()));
        };
        let is_there = path.join(files::CURRENT).exists();
        let payload = match self.payload(volume, true) {
            Ok(payload) => payload,
            // The containers that run have it; the others get the same.
            Err(problem) if is_there => {
                log::warn!("volume {name} of pod {} is not brought up to date: {problem}", self.pod.uid());
                return Ok(());
            }
            // Without the server there is nothing to use it for: pods that ran before run again, and get it later.
            Err(Problem::Token(_)) if !self.tokens.are_linked() => self.payload(volume, false)?,
            Err(problem) => return Err(problem),
        };
        if keeps_in_memory {
            self.tmpfs(&path, 0o777, None)?;
        } else {
            self.folder(&path)?;
        }
        self.write(&path, &payload)
    }

    /// `with_tokens`: an error if there is one missing, else without it.
    fn payload(&self, volume: &Value, with_tokens: bool) -> Result<payload::Payload, Problem> {
        let sources = payload::Sources {
            configs: &self.configs,
            tokens: &self.tokens,
            with_tokens,
            allocatable: &self.allocatable,
        };
        payload::payload(&self.pod, volume, sources, self.fs_group)
    }

    fn write(&self, path: &Path, payload: &payload::Payload) -> Result<(), Problem> {
        files::write(path, payload, self.fs_group).map_err(|source| Problem::io("write", path, source))
    }

    /// Only what was set up, and is still mounted: the rest is the next set-up's.
    fn refresh(&self, volume: &Value) {
        let name = text(volume, "name");
        if let Some(limit) = volume.get("emptyDir").and_then(size_limit) {
            self.limits.watch(self.pod.uid(), name, &self.folder.join(name), limit);
        }
        let path = self.folder.join(name);
        if payload::keeps_in_memory(volume).is_none() || !path.join(files::CURRENT).exists() {
            return;
        }
        let written = self.payload(volume, true).and_then(|payload| self.write(&path, &payload));
        // A token that is on its way comes with a refresh of its own.
        if let Err(problem) = written.or_else(|problem| match problem {
            Problem::Token(_) => Ok(()),
            other => Err(other),
        }) {
            log::warn!(
                "volume {name} of pod {} is not brought up to date: {}",
                self.pod.uid(),
                chain(&problem)
            );
        }
    }

    fn empty_dir(&self, name: &str, path: &Path, source: &Value) -> Result<(), Problem> {
        let limit = size_limit(source);
        match text(source, "medium") {
            "" => {
                self.folder(path)?;
                if let Some(limit) = limit {
                    self.limits.watch(self.pod.uid(), name, path, limit);
                }
                Ok(())
            }
            "Memory" => {
                let most = [limit, memory_limit(&self.pod), Some(self.allocatable.memory)];
                self.tmpfs(path, 0o777, most.into_iter().flatten().filter(|bytes| *bytes > 0).min())
            }
            medium if medium.starts_with("HugePages") => {
                let size = page_size(&self.pod, medium).map_err(Problem::Field)?;
                let failed = |source| Problem::io("mount huge pages on", path, source);
                file::create_private_folder(path).map_err(failed)?;
                match is_mounted(path).map_err(failed)? {
                    true => Ok(()),
                    false => {
                        mount::hugetlbfs(path, size, 0o777, self.fs_group).map_err(failed)?;
                        // As an option it takes no set-group-id bit.
                        fs::set_permissions(path, fs::Permissions::from_mode(self.mode(0o777)))
                            .map_err(failed)
                    }
                }
            }
            other => Err(Problem::Unsupported(format!("emptyDir.medium {other}"))),
        }
    }

    /// A folder that any user may write, and that belongs to the pod's group if it has one.
    fn folder(&self, path: &Path) -> Result<(), Problem> {
        if path.exists() {
            return Ok(()); // a container may have changed its mode since
        }
        let new = self.folder.join(format!(".{}", file_name(path)));
        let made = || {
            file::create_private_folder(&new)?;
            if let Some(group) = self.fs_group {
                std::os::unix::fs::chown(&new, None, Some(group))?;
            }
            fs::set_permissions(&new, fs::Permissions::from_mode(self.mode(0o777)))?;
            fs::rename(&new, path)
        };
        made().map_err(|source| Problem::io("create", path, source))
    }

    fn mode(&self, mode: u32) -> u32 {
        if self.fs_group.is_some() { mode | 0o2000 } else { mode }
    }

    fn tmpfs(&self, path: &Path, mode: u32, size: Option<u64>) -> Result<(), Problem> {
        let failed = |source| Problem::io("mount a tmpfs on", path, source);
        file::create_private_folder(path).map_err(failed)?;
        if is_mounted(path).map_err(failed)? {
            return Ok(());
        }
        mount::tmpfs_of(path, self.mode(mode), size, self.fs_group).map_err(failed)
    }
}

/// Bytes of a page of `HugePages-<size>`, or for `HugePages` of the one size that the pod asks for.
fn page_size(pod: &Object, medium: &str) -> Result<u64, String> {
    let parse = |text: &str| Quantity::parse(text).ok().map(Quantity::value);
    let wanted = medium.strip_prefix("HugePages-").map(parse);
    let containers = ["/spec/containers", "/spec/initContainers"];
    let containers = containers.into_iter().flat_map(|list| pod.array_at(list));
    let requests = containers.filter_map(|container| container.pointer("/resources/requests")?.as_object());
    let names = requests.flat_map(|requests| requests.keys());
    let sizes = names.filter_map(|name| parse(name.strip_prefix("hugepages-")?));
    let mut found = None;
    for size in sizes.filter(|size| wanted.is_none_or(|wanted| wanted == Some(*size))) {
        if found.replace(size).is_some_and(|other| other != size) {
            return Err(format!(
                "medium: {medium} can't be used if container requests multiple huge page sizes"
            ));
        }
    }
    found.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| {
        format!(
            "medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )
    })
}

/// Whether a file system of its own is mounted there.
fn is_mounted(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(path.symlink_metadata()?.dev() != parent.metadata()?.dev())
}

fn fs_group(pod: &Object) -> Option<u32> {
    pod.i64_at("/spec/securityContext/fsGroup").and_then(|group| u32::try_from(group).ok())
}

/// Bytes; 0 is no limit.
fn size_limit(empty_dir: &Value) -> Option<u64> {
    let limit = empty_dir.get("sizeLimit").and_then(|limit| Quantity::from_json(limit).ok())?;
    u64::try_from(limit.value()).ok().filter(|bytes| *bytes > 0)
}

/// What all containers of the pod may use together, if each has a limit.
fn memory_limit(pod: &Object) -> Option<u64> {
    let containers = pod.array_at("/spec/containers").iter();
    let limits = containers.map(|container| {
        let limit = Quantity::from_json(container.pointer("/resources/limits/memory")?).ok()?;
        u64::try_from(limit.value()).ok().filter(|bytes| *bytes > 0)
    });
    limits.sum()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A member of a map as text; "" when absent.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// A member of a map as a list; empty when absent.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
