//! The claims loop: binds PersistentVolumeClaims to volumes, makes volumes of class `local-path`, and has their data
//! removed when nobody claims them any more. The decision itself is `plan::volume`. Woken by changes only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use smol::future::or;

use super::links::Links;
use crate::Executor;
use crate::api::kinds::{NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS};
use crate::api::strategy::{CLAIM_PROTECTION, VOLUME_PROTECTION};
use crate::api::{Object, Reason, Status};
use crate::link::{Chunk, ReclaimRequest, StreamRequest};
use crate::plan::control::pods;
use crate::plan::volume::{self, Cluster, Step};
use crate::server::events::{self, Type};
use crate::server::failures::Failures;
use crate::server::registry::{Change, DeleteOptions, Registry, Subresource, WriteOptions};

/// The class that every cluster has.
const LOCAL_PATH: &str = "local-path";
/// Who says it, in events.
const NAME: &str = "persistentvolume-controller";
/// After which data that could not be removed are tried again, if no node has changed before.
const RECLAIM_AGAIN: Duration = Duration::from_secs(60);
const INTERNAL: WriteOptions = WriteOptions {
    subresource: Subresource::Internal,
    durability: crate::store::Durability::Synced,
    ..WriteOptions::DEFAULT
};

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, links: Arc<Links>, executor: &Executor) -> smol::Task<()> {
    let mut claims = Claims {
        registry,
        links,
        executor: executor.clone(),
        said: BTreeMap::new(),
        reclaims: Arc::default(),
    };
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let revision = claims.registry.store().revision();
            match claims.pass().await {
                Ok(waits) => {
                    failures.end();
                    claims.changed(revision, waits).await;
                }
                Err(status) => {
                    failures.rest("look after the volume claims", &status).await;
                }
            }
        }
    })
}

struct Claims {
    registry: Arc<Registry>,
    links: Arc<Links>,
    executor: Executor,
    /// The last event of each claim that waits, by uid.
    said: BTreeMap<String, String>,
    /// Volumes whose data is being removed, by name.
    reclaims: Arc<Mutex<BTreeMap<String, smol::Task<()>>>>,
}

/// What a pass leaves to wait for, beside claims, volumes and classes.
#[derive(Default)]
struct Waits {
    /// A claim goes once its pods have ended.
    pods: bool,
    /// A volume waits for its node.
    nodes: bool,
}

impl Claims {
    async fn changed(&self, revision: u64, waits: Waits) {
        let prefixes =
            [PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS].map(|kind| kind.prefix(None));
        let (pods, nodes) = (POD.prefix(None), NODE.prefix(None));
        let Ok(mut watch) = self.registry.store().watch("", revision) else { return };
        let change = async {
            loop {
                // An error: fallen behind, look at everything.
                let Ok(event) = watch.next().await else { return };
                let concerns = prefixes.iter().any(|prefix| event.key.starts_with(prefix))
                    || waits.pods && event.key.starts_with(&pods)
                    || waits.nodes && event.key.starts_with(&nodes);
                if concerns {
                    return;
                }
            }
        };
        let again = async {
            if !waits.nodes {
                smol::future::pending::<()>().await;
            }
            let later = async { _ = smol::Timer::after(RECLAIM_AGAIN).await };
            or(self.links.arrival(), later).await;
        };
        or(change, again).await;
    }

    /// Looks at everything once.
    async fn pass(&mut self) -> Result<Waits, Status> {
        let mut waits = Waits::default();
        self.ensure_class().await?;
        let claims = self.registry.objects(PERSISTENT_VOLUME_CLAIM, None)?;
        let mut volumes = self.registry.objects(PERSISTENT_VOLUME, None)?;
        self.said.retain(|uid, _| claims.iter().any(|claim| claim.uid() == uid));
        if claims.is_empty() && volumes.is_empty() {
            return Ok(waits);
        }
        let (classes, nodes) =
            (self.registry.objects(STORAGE_CLASS, None)?, self.registry.objects(NODE, None)?);
        for claim in &claims {
            if claim.deletion_timestamp().is_some() {
                waits.pods |= !self.let_go(claim).await?;
                continue;
            }
            let cluster = Cluster { classes: &classes, volumes: &volumes, nodes: &nodes };
            match volume::claim(claim, &cluster) {
                Step::Wait { warning, reason, message } => {
                    self.say(claim, if warning { Type::Warning } else { Type::Normal }, reason, message)
                        .await;
                }
                Step::SetClass(class) => {
                    self.change(claim, |claim| claim.set("/spec/storageClassName", class.as_str())).await?;
                }
                Step::Bind(name) => {
                    if let Some(volume) = self.bind(claim, &name).await? {
                        volumes.retain(|other| other.name() != name);
                        volumes.push(volume);
                    }
                }
                Step::Provision(volume) => {
                    let message = format!("Successfully provisioned volume {}", volume.name());
                    match self.registry.create(PERSISTENT_VOLUME, *volume, WriteOptions::default()).await {
                        // Its creation wakes the loop, which binds it.
                        Ok(_) => self.say(claim, Type::Normal, "ProvisioningSucceeded", message).await,
                        Err(status) if status.reason == Reason::AlreadyExists => {}
                        Err(status) => return Err(status),
                    }
                }
                Step::Lost => {
                    self.change(claim, |claim| claim.set("/status/phase", "Lost")).await?;
                    let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                    self.say(claim, Type::Warning, "ClaimLost", message.to_owned()).await;
                }
            }
        }
        for volume in &volumes {
            waits.nodes |= self.volume(volume, &claims, &nodes).await?;
        }
        Ok(waits)
    }

    /// The class `local-path`, default unless there is another.
    async fn ensure_class(&self) -> Result<(), Status> {
        if self.registry.item(STORAGE_CLASS, "", LOCAL_PATH).is_ok() {
            return Ok(());
        }
        let mut class = Object::new(STORAGE_CLASS, "", LOCAL_PATH);
        let is_default = self.registry.objects(STORAGE_CLASS, None)?.is_empty().to_string();
        class.set("/metadata/annotations", json!({volume::DEFAULT_CLASS: is_default}));
        class.set("/provisioner", volume::PROVISIONERS[0]);
        class.set("/reclaimPolicy", "Delete");
        class.set("/volumeBindingMode", "WaitForFirstConsumer");
        match self.registry.create(STORAGE_CLASS, class, WriteOptions::default()).await {
            Err(status) if status.reason != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }

    /// Writes the claim, unless it is gone.
    async fn change(&self, claim: &Object, mut change: impl FnMut(&mut Object)) -> Result<(), Status> {
        let written = self.registry.modify(
            PERSISTENT_VOLUME_CLAIM,
            claim.namespace(),
            claim.name(),
            INTERNAL,
            |current| {
                if current.uid() != claim.uid() {
                    return Ok(Change::Keep);
                }
                change(current);
                Ok(Change::Write)
            },
        );
        gone_is_fine(written.await)
    }

    /// Binds the volume to the claim, then the claim to the volume. Returns the volume, if it is the claim's.
    async fn bind(&self, claim: &Object, name: &str) -> Result<Option<Object>, Status> {
        let taken = self.registry.modify(PERSISTENT_VOLUME, "", name, INTERNAL, |volume| {
            let free = volume.at("/spec/claimRef").is_none_or(Value::is_null);
            if !(free || volume::is_for(volume, claim)) {
                return Ok(Change::Keep);
            }
            volume.set("/spec/claimRef", volume::reference(claim));
            volume.set("/status", json!({"phase": "Bound"}));
            Ok(Change::Write)
        });
        let volume = match taken.await {
            Ok(volume) if volume::is_for(&volume, claim) => volume,
            Ok(_) => return Ok(None),
            Err(status) if status.reason == Reason::NotFound => return Ok(None),
            Err(status) => return Err(status),
        };
        let status = json!({
            "phase": "Bound",
            "accessModes": volume.at("/spec/accessModes"),
            "capacity": volume.at("/spec/capacity"),
        });
        self.change(claim, |claim| {
            claim.set("/spec/volumeName", name);
            claim.set("/status", status.clone());
            let mut annotations = claim.annotations().cloned().unwrap_or_default();
            annotations.insert("pv.kubernetes.io/bind-completed".to_owned(), "yes".into());
            claim.set("/metadata/annotations", annotations);
        })
        .await?;
        Ok(Some(volume))
    }

    /// Takes the protection off a claim that is being deleted once no pod uses it. True if it is off.
    async fn let_go(&self, claim: &Object) -> Result<bool, Status> {
        let pods = self.registry.all(POD, Some(claim.namespace()))?;
        for item in pods.items {
            let pod = item.object()?;
            let mounts = |volume: &Value| {
                volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str)
                    == Some(claim.name())
            };
            if !pods::has_ended(&pod)
                && !pod.str_at("/spec/nodeName").is_empty()
                && pod.array_at("/spec/volumes").iter().any(mounts)
            {
                return Ok(false);
            }
        }
        self.change(claim, |claim| unprotect(claim, CLAIM_PROTECTION)).await?;
        Ok(true)
    }

    /// The phase of a volume, and its end. True if it waits for its node.
    async fn volume(&self, volume: &Object, claims: &[Object], nodes: &[Object]) -> Result<bool, Status> {
        let uid = volume.str_at("/spec/claimRef/uid");
        if claims.iter().any(|claim| claim.uid() == uid && !uid.is_empty()) {
            return Ok(false); // bound
        }
        if volume.deletion_timestamp().is_some() {
            let options = |volume: &mut Object| {
                unprotect(volume, VOLUME_PROTECTION);
                Ok(Change::Write)
            };
            gone_is_fine(
                self.registry.modify(PERSISTENT_VOLUME, "", volume.name(), INTERNAL, options).await,
            )?;
            return Ok(false);
        }
        if uid.is_empty() {
            self.set_phase(volume, json!({"phase": "Available"})).await?;
            return Ok(false);
        }
        let made_here =
            volume.annotation(volume::PROVISIONED_BY).is_some_and(|by| volume::PROVISIONERS.contains(&by));
        match (volume.str_at("/spec/persistentVolumeReclaimPolicy"), made_here) {
            ("Delete", true) => self.reclaim(volume, nodes).await,
            ("Delete", false) => {
                let message = "error getting deleter volume plugin: midge removes only volumes that it made";
                self.set_phase(
                    volume,
                    json!({"phase": "Failed", "reason": "VolumeFailedDelete", "message": message}),
                )
                .await?;
                Ok(false)
            }
            _ => self.set_phase(volume, json!({"phase": "Released"})).await.map(|()| false),
        }
    }

    async fn set_phase(&self, volume: &Object, status: Value) -> Result<(), Status> {
        let change = |current: &mut Object| {
            if current.at("/spec/claimRef/uid") != volume.at("/spec/claimRef/uid") {
                return Ok(Change::Keep);
            }
            current.set("/status", status.clone());
            Ok(Change::Write)
        };
        gone_is_fine(self.registry.modify(PERSISTENT_VOLUME, "", volume.name(), INTERNAL, change).await)
    }

    /// Has the data of a released volume removed on its node, and then the volume. True if that waits for the node.
    async fn reclaim(&self, volume: &Object, nodes: &[Object]) -> Result<bool, Status> {
        if volume.str_at("/status/phase") == "Bound" {
            self.set_phase(volume, json!({"phase": "Released"})).await?;
        }
        let name = volume.name().to_owned();
        let Some(node) = nodes.iter().find(|node| volume::reaches(volume, node)) else {
            log::warn!("volume {name} goes, its data stays on a node that is not of this cluster any more");
            remove(&self.registry, &name).await?;
            return Ok(false);
        };
        let mut reclaims = self.reclaims.lock().unwrap_or_else(PoisonError::into_inner);
        reclaims.retain(|_, task| !task.is_finished());
        if reclaims.contains_key(&name) || !self.links.connected(node.name()) {
            return Ok(true);
        }
        let request =
            ReclaimRequest { volume: name.clone(), path: volume.str_at("/spec/local/path").to_owned() };
        let (registry, links) = (Arc::clone(&self.registry), Arc::clone(&self.links));
        let (volume, node) = (volume.clone(), node.name().to_owned());
        // Apart: a large folder takes its time, and holds up nothing else.
        let task = self.executor.spawn(async move {
            let removed = match remove_data(&links, &node, request).await {
                Ok(()) => remove(&registry, volume.name()).await,
                Err(status) => Err(status),
            };
            if let Err(status) = removed {
                let text = format!("failed to remove the volume's data on node {node}: {status}");
                let recorded =
                    events::record(&registry, &volume, Type::Warning, "VolumeFailedDelete", &text, NAME);
                if let Err(status) = recorded.await {
                    log::debug!("{text}; failed to record that: {status}");
                }
            }
        });
        reclaims.insert(name, task);
        Ok(true)
    }

    /// The event, once as long as it stays the same.
    async fn say(&mut self, claim: &Object, kind: Type, reason: &str, message: String) {
        if self.said.get(claim.uid()) == Some(&message) {
            return;
        }
        if let Err(status) = events::record(&self.registry, claim, kind, reason, &message, NAME).await {
            log::debug!(
                "failed to record the event {reason} of {}/{}: {status}",
                claim.namespace(),
                claim.name()
            );
        }
        self.said.insert(claim.uid().to_owned(), message);
    }
}

async fn remove_data(links: &Links, node: &str, request: ReclaimRequest) -> Result<(), Status> {
    let stream = links.open(node, &StreamRequest::Reclaim(request)).await?;
    loop {
        match stream.read().await {
            Ok(Chunk::Data { .. }) => {}
            Ok(Chunk::End { status }) if status.is_empty() => return Ok(()),
            Ok(Chunk::End { status }) => {
                return Err(Status::from_slice(&status)
                    .unwrap_or_else(|| Status::internal("the node gave a reason that is no Status")));
            }
            Err(error) => return Err(Status::service_unavailable(error.to_string())),
        }
    }
}

/// Deletes the volume's object; the loop takes the protection off it.
async fn remove(registry: &Registry, name: &str) -> Result<(), Status> {
    gone_is_fine(registry.delete(PERSISTENT_VOLUME, "", name, DeleteOptions::default()).await)
}

fn gone_is_fine<T>(written: Result<T, Status>) -> Result<(), Status> {
    match written {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}

fn unprotect(object: &mut Object, finalizer: &str) {
    let left: Vec<String> =
        object.finalizers().filter(|known| *known != finalizer).map(str::to_owned).collect();
    object.set("/metadata/finalizers", left);
}

#[cfg(test)]
mod tests;
