//! Applies a pod's plan. It runs as a task of its own, so that a slow pod holds up no other; what it did
//! comes back to the loop as outcomes, one by one.

pub mod hooks;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use smol::channel::Sender;

use super::container::{self, Failure, Report, Runtime, Start};
use super::event::Event;
use super::handler::Handlers;
use super::outbox::Cluster;
use super::pod::image_of;
use super::record::Attempt;
use super::sandbox::{Sandbox, SandboxSpec, Sandboxes};
use super::wake::Wake;
use super::{env, etc, volumes};
use crate::api::Object;
use crate::chain;
use crate::plan::pod::Action;
use crate::sys::{file, mount};

/// What one action came to.
#[derive(Debug)]
pub enum Outcome {
    Event(Event),
    Killed {
        id: String,
    },
    /// The stop signal was sent, after the container's preStop hook; or could not be.
    Stopped {
        id: String,
        error: Option<String>,
    },
    /// The container's postStart hook has ended.
    PostStart {
        id: String,
        failed: bool,
    },
    SandboxReady(Sandbox),
    SandboxFailed {
        message: String,
    },
    SandboxRemoved,
    Started {
        name: String,
        attempt: Attempt,
        /// Its image as the specification has it.
        asked: String,
        back_off: Duration,
    },
    NotStarted {
        name: String,
        attempt: Attempt,
        asked: String,
        message: String,
        back_off: Duration,
    },
    Waits {
        name: String,
        reason: &'static str,
        message: String,
    },
    /// Its image is on its way.
    Pulling {
        name: String,
        message: String,
    },
    /// A removal failed, or containerd can't be reached.
    Failed {
        message: String,
    },
    TornDown,
    /// The last one of each piece of work; `failed` if one of the others was [`Outcome::Failed`].
    Done {
        failed: bool,
    },
}

/// What all work of the agent shares.
pub struct Context {
    pub runtime: Runtime,
    pub sandboxes: Sandboxes,
    pub handlers: Handlers,
    pub resolv_conf: PathBuf,
    pub outcomes: Sender<(String, Outcome)>,
    pub wake: Wake,
}

/// One pod's actions with what they need of the pod.
pub struct Work {
    pub context: Arc<Context>,
    pub uid: String,
    pub actions: Vec<Action>,
    /// None: nobody wants the pod; only removals are planned.
    pub pod: Option<Object>,
    pub sandbox: Option<Sandbox>,
    /// Id and name of containers that nothing was said of yet: their end is news.
    pub containers: Vec<(String, String)>,
    /// The pod's files are to be brought up to date.
    pub refresh: bool,
    pub host_ips: Vec<IpAddr>,
    pub cluster: Cluster,
    pub has_failed: bool,
    /// The volumes could not be made: no container starts.
    pub lacks_volumes: bool,
}

impl Report for Work {
    fn event(&mut self, event: Event) {
        self.say(Outcome::Event(event));
    }
}

impl Work {
    fn say(&self, outcome: Outcome) {
        // The loop lives longer than its work, and the channel is unbounded: a plan bounds it.
        let is_event = matches!(outcome, Outcome::Event(_));
        let _ = self.context.outcomes.try_send((self.uid.clone(), outcome));
        // An event goes with what it is about, which follows: each wake looks at everything.
        if !is_event {
            self.context.wake.wake();
        }
    }

    /// Applies the actions in their order. A failed removal does not keep the ones after it from being
    /// tried, but the folder, by which the pod is found again, stays. A failed sandbox ends it.
    pub async fn run(mut self) {
        let mut removed = true;
        let mut actions = std::mem::take(&mut self.actions).into_iter().peekable();
        while let Some(action) = actions.next() {
            match action {
                // The loop does it: a hook may take long.
                Action::Terminate { .. } => {}
                Action::Kill { id } => removed &= self.kill(&id).await,
                Action::Clear { id } => {
                    for error in self.context.runtime.clear(&id).await.err().unwrap_or_default() {
                        self.failed(chain(&error));
                        removed = false;
                    }
                }
                Action::RemoveSandbox => {
                    // The pod has ended: its volumes take room. The sandbox goes last, since it is what is observed.
                    if self.remove_volumes().await && self.remove_sandbox().await {
                        self.say(Outcome::SandboxRemoved);
                    } else {
                        removed = false;
                    }
                }
                Action::TearDown => self.tear_down(removed).await,
                Action::CreateSandbox => {
                    let first = actions.next_if(|next| removed && self.needs_no_address(next));
                    if !self.create_sandbox(first).await {
                        break;
                    }
                }
                // What could not be cleared may be in the way of its successor.
                Action::Start { .. } if !removed || self.lacks_volumes => {}
                Action::Start { .. } => {
                    let (Some(pod), Some(sandbox)) = (self.pod.clone(), self.sandbox.clone()) else {
                        continue;
                    };
                    let outcome = self.start(&pod, &sandbox, action, async { true }).await;
                    outcome.into_iter().for_each(|outcome| self.say(outcome));
                }
            }
        }
        if let Some(pod) = self.pod.as_ref().filter(|_| self.refresh) {
            self.context.runtime.volumes.refresh(pod).await;
        }
        self.say(Outcome::Done { failed: self.has_failed });
    }

    fn failed(&mut self, message: String) {
        self.has_failed = true;
        log::warn!("pod {}: {message}", self.uid);
        self.say(Outcome::Failed { message });
    }

    async fn kill(&mut self, id: &str) -> bool {
        if let Some((_, name)) = self.containers.iter().find(|(known, _)| known == id).cloned() {
            self.event(Event::normal("Killing", format!("Stopping container {name}")).of(&name));
        }
        match self.context.runtime.kill(id).await {
            Ok(()) => self.say(Outcome::Killed { id: id.to_owned() }),
            Err(error) => {
                self.failed(chain(&error));
                return false;
            }
        }
        true
    }

    async fn remove_sandbox(&mut self) -> bool {
        let errors = self.context.sandboxes.remove(&self.uid).await.err().unwrap_or_default();
        for error in &errors {
            self.failed(chain(error));
        }
        errors.is_empty()
    }

    async fn tear_down(&mut self, cleared: bool) {
        let sandbox_removed = self.remove_sandbox().await;
        if !(cleared && sandbox_removed) {
            return;
        }
        if !self.unmount_volumes().await {
            return;
        }
        let folder = self.context.runtime.pod_folder(&self.uid);
        match smol::unblock(move || remove_folder(&folder)).await {
            Ok(()) => self.say(Outcome::TornDown),
            Err(error) => self.failed(format!("failed to remove the pod's folder: {error}")),
        }
    }

    async fn unmount_volumes(&mut self) -> bool {
        let unmounted = self.context.runtime.volumes.tear_down(&self.uid).await;
        let errors = unmounted.err().unwrap_or_default();
        errors.iter().for_each(|error| self.failed(chain(error)));
        errors.is_empty()
    }

    async fn remove_volumes(&mut self) -> bool {
        if !self.unmount_volumes().await {
            return false;
        }
        let folder = self.context.runtime.pod_folder(&self.uid);
        let remove = move || {
            let folders = volumes::FOLDERS.map(|name| folder.join(name));
            folders.iter().try_for_each(|folder| mount::remove_folder(folder))
        };
        match smol::unblock(remove).await {
            Ok(()) => true,
            Err(error) => {
                self.failed(format!("failed to remove the pod's volumes: {error}"));
                false
            }
        }
    }

    /// Whether it starts a container that can be created before the pod has its addresses.
    fn needs_no_address(&self, action: &Action) -> bool {
        let (Action::Start { name, .. }, Some(pod)) = (action, &self.pod) else { return false };
        container::declared(pod, name).is_some_and(|container| !env::asks_for_addresses(container))
    }

    /// Makes the sandbox and, while the network's plugins run, creates the container of `first`.
    async fn create_sandbox(&mut self, first: Option<Action>) -> bool {
        let Some(pod) = self.pod.clone() else { return false };
        let (context, cluster) = (Arc::clone(&self.context), self.cluster.clone());
        let spec = SandboxSpec::of(&pod, &cluster.domain);
        let begun = match context.sandboxes.begin(&spec).await {
            Ok(begun) => begun,
            Err(error) => return self.sandbox_failed(chain(&error)),
        };
        let folder = context.runtime.pod_folder(&self.uid);
        let write_etc = |sandbox: &Sandbox| {
            etc::write(&folder, &pod, &sandbox.hostname, &sandbox.ips, &cluster, &context.resolv_conf)
                .map_err(|error| format!("failed to write the pod's hosts and resolver files: {error}"))
        };
        let sandbox = begun.sandbox.clone();
        // The files must be there to be bound into a container; the addresses follow.
        let connect = async {
            write_etc(&begun.sandbox)?;
            let sandbox = context.sandboxes.connect(&spec, begun).await.map_err(|error| chain(&error))?;
            write_etc(&sandbox).map(|omitted| (sandbox, omitted))
        };
        let (made, started) = match first {
            None => (connect.await, None),
            Some(first) => {
                let mut made = Err(String::new());
                let connected = async {
                    made = connect.await;
                    made.is_ok()
                };
                let started = self.start(&pod, &sandbox, first, connected).await;
                (made, started)
            }
        };
        match made {
            Ok((sandbox, omitted)) => {
                omitted.into_iter().for_each(|text| self.event(Event::warning("DNSConfigForming", text)));
                self.sandbox = Some(sandbox.clone());
                self.say(Outcome::SandboxReady(sandbox));
                started.into_iter().for_each(|outcome| self.say(outcome));
                true
            }
            Err(message) => {
                // What was created in it has been cleared: it was never started.
                context.sandboxes.remove_failed(&self.uid).await;
                self.sandbox_failed(message)
            }
        }
    }

    fn sandbox_failed(&mut self, message: String) -> bool {
        log::warn!("pod {}: {message}", self.uid);
        let text = format!("Failed to create pod sandbox: {message}");
        self.event(Event::warning("FailedCreatePodSandBox", text));
        self.say(Outcome::SandboxFailed { message });
        false
    }

    /// Starts the container of `action` once `connected` says that the sandbox has its network.
    async fn start(
        &mut self,
        pod: &Object,
        sandbox: &Sandbox,
        action: Action,
        connected: impl Future<Output = bool>,
    ) -> Option<Outcome> {
        let Action::Start { name, attempt, back_off } = action else { return None };
        let context = Arc::clone(&self.context);
        let (host_ips, server) = (self.host_ips.clone(), self.cluster.server.clone());
        let asked = image_of(pod, &name).to_owned();
        let start = Start { pod, name: &name, attempt, sandbox, host_ips: &host_ips, server: &server };
        Some(match context.runtime.start(&start, connected, self).await {
            Ok(attempt) => Outcome::Started { name, attempt, asked, back_off },
            Err(Failure::NotStarted { attempt, message }) => {
                Outcome::NotStarted { name, attempt: *attempt, asked, message, back_off }
            }
            Err(Failure::Waits { reason, message }) => Outcome::Waits { name, reason, message },
            Err(Failure::Volumes { message }) => {
                // They are the pod's: the containers after this one wait as well, and begin in their order.
                self.lacks_volumes = true;
                Outcome::Waits { name, reason: "ContainerCreating", message }
            }
            Err(Failure::Pulling { message }) => Outcome::Pulling { name, message },
            Err(Failure::NoNetwork) => return None,
            Err(Failure::Unavailable(error)) => {
                self.has_failed = true;
                Outcome::Failed { message: chain(&error) }
            }
        })
    }
}

/// Removes a pod's folder, `pod.json` last: until then the pod is found again after a crash, and what is
/// left of it is removed. Nothing is removed of what is mounted in it.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return absent(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            mount::remove_folder(&entry.path())?;
        } else if entry.file_name() != "pod.json" {
            fs::remove_file(entry.path())?;
        }
    }
    mount::remove_folder(folder)?;
    folder.parent().map_or(Ok(()), file::sync_folder)
}
