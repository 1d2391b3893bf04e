//! One container's life in containerd: observe, start, signal, clear.

pub mod files;
mod live;
pub(super) mod signal;
pub mod stdio;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use futures_lite::future;
use serde_json::Value;

use super::env::{self, Facts};
use super::event::Event;
use super::images::{self, Images};
use super::pod::image_of;
use super::record::{Attempt, Stamp};
use super::sandbox::Sandbox;
use super::spec::{self, Machine};
use super::users::Users;
use super::volumes::Volumes;
use crate::api::Object;
use crate::chain;
use crate::containerd::{self, Client, ContainerSpec, Labels};
use crate::token;

const RUNTIME: &str = "io.containerd.runc.v2";

/// The labels that a container is found by.
pub(super) mod label {
    pub const UID: &str = "midge.pod.uid";
    pub const NAMESPACE: &str = "midge.pod.namespace";
    pub const POD: &str = "midge.pod.name";
    pub const NAME: &str = "midge.container.name";
    pub const ATTEMPT: &str = "midge.container.attempt";
    pub const STOP_SIGNAL: &str = "midge.container.stop-signal";
    pub const IMAGE_ID: &str = "midge.container.image-id";
    /// The image as its pod names it.
    pub const IMAGE_ASKED: &str = "midge.container.image-asked";
}

pub use self::live::{Live, observe, was_oom_killed};
pub(super) use self::signal::SIGTERM;
pub(super) const SIGKILL: u32 = 9;

/// What starting and clearing containers needs beside the pod.
pub struct Runtime {
    pub client: Client,
    pub images: Arc<Images>,
    pub snapshotter: String,
    pub machine: Machine,
    pub users: Users,
    pub volumes: Volumes,
    /// `<data>/agent/pods`.
    pub pods_folder: PathBuf,
    pub stdio: stdio::Options,
}

/// Why a container does not start.
#[derive(Debug)]
pub enum Failure {
    /// containerd can't be reached: no verdict about the container.
    Unavailable(containerd::Error),
    /// The container waits for this reason (ErrImagePull, CreateContainerError …).
    Waits { reason: &'static str, message: String },
    /// The pod's volumes can't be made.
    Volumes { message: String },
    /// Its image is being pulled. The loop is woken when that has news.
    Pulling { message: String },
    /// Its sandbox has no network: whoever makes that knows why.
    NoNetwork,
    /// It was created and its program did not start: counts as an exit.
    NotStarted { attempt: Box<Attempt>, message: String },
}

/// What a start has to say on the way.
pub trait Report {
    fn event(&mut self, event: Event);
}

/// A container with its task, or why there is none.
struct Created {
    attempt: Attempt,
    task: Result<u32, containerd::Error>,
}

/// One container to be started.
pub struct Start<'a> {
    pub pod: &'a Object,
    pub name: &'a str,
    pub attempt: u32,
    pub sandbox: &'a Sandbox,
    pub host_ips: &'a [IpAddr],
    /// Where the API is.
    pub server: &'a str,
}

/// A new container's id: 32 random hex digits, and 32 that its pod's containers share.
fn id(uid: &str) -> Result<String, token::RandomError> {
    let pod = HEXLOWER.encode(&token::sha256(uid.as_bytes())[..16]);
    Ok(token::random_hex::<16>()? + &pod)
}

/// What an id has in common with those of its pod's other containers.
pub(super) fn pod_part(id: &str) -> &str {
    id.get(32..).unwrap_or(id)
}

/// What the pod's specification says of the container `name`, of whichever kind.
pub fn declared<'a>(pod: &'a Object, name: &str) -> Option<&'a Value> {
    let named = |container: &&Value| container.get("name").and_then(Value::as_str) == Some(name);
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    lists.iter().find_map(|list| pod.array_at(list).iter().find(named))
}

impl Runtime {
    pub fn pod_folder(&self, uid: &str) -> PathBuf {
        self.pods_folder.join(uid)
    }

    /// Creates a container and starts it once `connected` says that its sandbox has a network, which it does
    /// meanwhile. What a failed start made is cleared again.
    pub async fn start(
        &self,
        start: &Start<'_>,
        connected: impl Future<Output = bool>,
        report: &mut impl Report,
    ) -> Result<Attempt, Failure> {
        let (created, is_connected) = future::zip(self.create(start, report), connected).await;
        let Created { mut attempt, task } = created?;
        let started = match task {
            Ok(_) if !is_connected => {
                self.clear_failed(&attempt.id).await;
                return Err(Failure::NoNetwork);
            }
            Ok(_) => {
                // Without the note, a run that begins and ends while midge is away is not counted.
                if let Err(error) = self.stdio.note_start(&attempt.id) {
                    log::warn!("failed to note the start of container {}: {error}", attempt.id);
                }
                self.client.start_task(&attempt.id).await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(_) => {
                attempt.started = Some(Stamp(SystemTime::now()));
                report.event(
                    Event::normal("Started", format!("Started container {}", start.name)).of(start.name),
                );
                Ok(attempt)
            }
            Err(error) => {
                self.clear_failed(&attempt.id).await;
                if error.is_unavailable() {
                    return Err(Failure::Unavailable(error));
                }
                let message = chain(&error);
                report.event(Event::warning("Failed", format!("Error: {message}")).of(start.name));
                Err(Failure::NotStarted { attempt: Box::new(attempt), message })
            }
        }
    }

    /// All of a start but the start.
    async fn create(&self, start: &Start<'_>, report: &mut impl Report) -> Result<Created, Failure> {
        let Some(container) = declared(start.pod, start.name) else {
            let message = format!("the pod has no container {}", start.name);
            return Err(Failure::Waits { reason: "CreateContainerConfigError", message });
        };
        let text = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or("");
        let image_name = text("image");
        let ask = images::Ask {
            image: image_name,
            policy: text("imagePullPolicy"),
            container: start.name,
            pod: start.pod,
            configs: &self.volumes.configs,
        };
        let image = match self.images.ensure(&ask, report).await {
            Ok(images::Found::Ready(image)) => *image,
            Ok(images::Found::Pulling { message }) => return Err(Failure::Pulling { message }),
            Err(error) => return Err(image_failure(error, image_name, start.name, report)),
        };

        let uid = start.pod.uid();
        // The namespace is held until the container is in it.
        let (sandbox, _held) = match text("targetContainerName") {
            "" => (start.sandbox.clone(), None),
            target => self.beside(start, target).await.map(|(sandbox, held)| (sandbox, Some(held)))?,
        };
        let folder = self.pod_folder(uid);
        let termination_log = files::termination_log(&folder, start.name);
        let fail = |report: &mut dyn Report, reason: &'static str, message: String| {
            report.event(Event::warning("Failed", format!("Error: {message}")).of(start.name));
            Failure::Waits { reason, message }
        };
        // A new one for every try: containerd may still undo what an agent had asked for that was killed meanwhile, and
        // takes away whatever has that id.
        let id = id(uid).map_err(|error| fail(report, "CreateContainerError", error.to_string()))?;
        let facts = Facts {
            pod_ips: if start.sandbox.ips.is_empty() { start.host_ips } else { &start.sandbox.ips },
            host_ips: start.host_ips,
            server: start.server,
            configs: &self.volumes.configs,
            allocatable: self.machine.allocatable,
        };
        let env = env::env(start.pod, container, &facts)
            .map_err(|error| fail(report, "CreateContainerConfigError", error.to_string()))?;
        if let Err(error) = self.volumes.set_up(start.pod).await {
            let message = chain(&error);
            report.event(Event::warning("FailedMount", message.clone()));
            return Err(Failure::Volumes { message });
        }
        let volumes = self.volumes.mounts(start.pod, container, &env).await;
        let volumes = volumes.map_err(|error| fail(report, "CreateContainerConfigError", chain(&error)))?;
        let user = self.users.user(start.pod, container, &image, &id).await;
        let user = user.map_err(|error| fail(report, error.reason(), chain(&error)))?;
        let spec = spec::spec(&spec::Inputs {
            pod: start.pod,
            container,
            image: &image.config,
            sandbox: &sandbox,
            machine: &self.machine,
            user: &user,
            folder: &folder,
            termination_log: &termination_log,
            id: &id,
            env: &env,
            volumes: &volumes,
        });
        let spec = spec.map_err(|error| fail(report, error.reason(), chain(&error)))?;
        for warning in spec.warnings {
            report.event(Event::warning("LimitNotEnforced", warning).of(start.name));
        }
        let log = files::log_path(&folder, start.name, start.attempt);
        files::prepare(&log, &termination_log, start.attempt).map_err(|error| {
            fail(report, "CreateContainerError", format!("failed to prepare `{}`: {error}", folder.display()))
        })?;

        let own = container.pointer("/lifecycle/stopSignal").and_then(Value::as_str);
        let stop_signal = signal::number(own.unwrap_or(&image.config.stop_signal));
        let image_id = image.digest.clone();
        let labels = Labels::from(
            [
                (label::UID, uid),
                (label::NAMESPACE, start.pod.namespace()),
                (label::POD, start.pod.name()),
                (label::NAME, start.name),
                (label::ATTEMPT, &start.attempt.to_string()),
                (label::STOP_SIGNAL, &stop_signal.to_string()),
                (label::IMAGE_ID, &image_id),
                (label::IMAGE_ASKED, image_of(start.pod, start.name)),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let record = ContainerSpec {
            id: id.clone(),
            image: image.name.clone(),
            snapshotter: self.snapshotter.clone(),
            snapshot_key: id.clone(),
            runtime: RUNTIME.to_owned(),
            options: None,
            spec: spec.json,
            labels,
        };
        let mounts = match self.create_container(record, &image.chain_id).await {
            Ok(mounts) => mounts,
            Err(error) => {
                self.clear_failed(&id).await;
                return Err(match error.is_unavailable() {
                    true => Failure::Unavailable(error),
                    false => fail(report, "CreateContainerError", chain(&error)),
                });
            }
        };
        report.event(Event::normal("Created", format!("Created container: {}", start.name)).of(start.name));

        let stdio = self.stdio.set_up(&id, container, &log).map_err(|error| {
            fail(
                report,
                "CreateContainerError",
                format!("failed to prepare the container's streams: {error}"),
            )
        });
        let stdio = match stdio {
            Ok(stdio) => stdio,
            Err(failure) => {
                self.clear_failed(&id).await;
                return Err(failure);
            }
        };
        let task = self.client.create_task(&id, &mounts, &stdio, stdio::has_terminal(container)).await;
        let (number, image) = (start.attempt, image.name);
        let attempt = Attempt { number, id, image, image_id, stop_signal, started: None, exit: None };
        Ok(Created { attempt, task })
    }

    /// The sandbox with the processes of the container `target` in sight, for one that looks into it.
    async fn beside(&self, start: &Start<'_>, target: &str) -> Result<(Sandbox, File), Failure> {
        let gone = || Failure::Waits {
            reason: "CreateContainerConfigError",
            message: format!("target container {target} does not run"),
        };
        let process = async || {
            let pods = observe(&self.client).await.map_err(Failure::Unavailable)?;
            let mut live = pods.get(start.pod.uid()).into_iter().flatten();
            let task =
                live.find(|live| live.name == target && live.runs()).and_then(|live| live.task.as_ref());
            task.map(|task| task.pid).ok_or_else(gone)
        };
        let id = process().await?;
        let held = File::open(format!("/proc/{id}/ns/pid")).map_err(|_| gone())?;
        // Its number may have become another process's before that.
        if process().await? != id {
            return Err(gone());
        }
        let pid = format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
        Ok((Sandbox { pid: Some(pid.into()), ..start.sandbox.clone() }, held))
    }

    async fn create_container(
        &self,
        record: ContainerSpec,
        parent: &str,
    ) -> Result<Vec<containerd::Mount>, containerd::Error> {
        let id = record.id.clone();
        self.client.create_container(record).await?;
        self.client.prepare_snapshot(&self.snapshotter, &id, parent, &Labels::new()).await
    }

    async fn clear_failed(&self, id: &str) {
        for error in self.clear(id).await.err().unwrap_or_default() {
            log::warn!("container {id}: {}", chain(&error));
        }
    }

    /// Sends the stop signal to the container's first process.
    pub async fn terminate(&self, id: &str, signal: u32) -> Result<(), containerd::Error> {
        self.client.kill_task(id, signal, false).await
    }

    /// Sends SIGKILL to all of its processes.
    pub async fn kill(&self, id: &str) -> Result<(), containerd::Error> {
        self.client.kill_task(id, SIGKILL, true).await
    }

    /// Deletes the ended task, the container and its snapshot. Goes on past failures and returns all of
    /// them. Fine when there is nothing.
    pub async fn clear(&self, id: &str) -> Result<(), Vec<containerd::Error>> {
        let mut errors = Vec::new();
        let task = self.client.delete_task(id).await;
        let task_is_gone = task.is_ok();
        errors.extend(task.err());
        // The container goes last, and only after the others: by it they are found again.
        if task_is_gone {
            errors.extend(self.client.remove_snapshot(&self.snapshotter, id).await.err());
        }
        if errors.is_empty() {
            errors.extend(self.client.delete_container(id).await.err());
            self.stdio.remove(id);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn image_failure(error: images::Error, image: &str, name: &str, report: &mut impl Report) -> Failure {
    let (reason, message) = (error.reason(), chain(&error));
    if let images::Error::Inspect { source, .. } = error {
        if source.is_unavailable() {
            return Failure::Unavailable(source);
        }
    }
    let first = match reason {
        "ErrImageNeverPull" => Event::warning(
            "ErrImageNeverPull",
            format!("Container image \"{image}\" is not present with pull policy of Never"),
        ),
        "InvalidImageName" => Event::warning("InspectFailed", message.clone()),
        _ => Event::warning("Failed", message.replacen("failed", "Failed", 1)),
    };
    report.event(first.of(name));
    report.event(Event::warning("Failed", format!("Error: {reason}")).of(name));
    Failure::Waits { reason, message }
}

/// The wait after a failed start or removal: doubles from `first` to `most`.
pub fn next_delay(delay: Duration, first: Duration, most: Duration) -> Duration {
    if delay.is_zero() { first } else { (delay * 2).min(most) }
}
