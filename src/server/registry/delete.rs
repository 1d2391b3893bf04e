//! Deleting objects: at once, with a pod's grace period, or when finalizers allow.

use std::time::SystemTime;

use super::Registry;
use super::write::{ATTEMPTS, failed, mark, versioned};
use crate::api::kinds::{CUSTOM_RESOURCE_DEFINITION, JOB, NAMESPACE, POD, REPLICATION_CONTROLLER};
use crate::api::{Kind, Object, Status, strategy, time};
use crate::plan::control::pods;
use crate::plan::garbage::{self, FOREGROUND, Propagation};
use crate::store::{self, Durability, Expect};

/// How to delete; the default is what `kubectl delete` asks for.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds a pod gets to end; None is the pod's own.
    pub grace_seconds: Option<i64>,
    /// Preconditions.
    pub uid: Option<String>,
    pub resource_version: Option<u64>,
    /// None: as an earlier delete said, else the kind's own way.
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// It is gone; this is what it was.
    Gone(Object),
    /// It has a deletionTimestamp and goes once its pod has ended, its finalizers are done or its
    /// namespace is empty.
    Marked(Object),
}

impl Deleted {
    /// The object, either way.
    pub fn into_object(self) -> Object {
        match self {
            Self::Gone(object) | Self::Marked(object) => object,
        }
    }
}

/// Namespaces that every cluster keeps.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What a delete does to an object.
#[derive(Debug, PartialEq)]
enum Plan {
    Remove,
    /// Store this, which is marked.
    Mark(Object),
    /// It is marked already, and this delete asks for nothing sooner.
    Keep,
}

impl Registry {
    /// Deletes an object or marks it.
    ///
    /// A pod on a node gets its grace period: it is marked, and gone when its node's agent says so, which is a
    /// delete with a grace of 0. A pod without a node, one that has ended, and one with a grace of 0 goes at once.
    ///
    /// Errors: 404, 409 for a precondition that does not hold, 403 for a namespace that stays.
    pub async fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Deleted, Status> {
        if kind == NAMESPACE && IMMORTAL.contains(&name) {
            return Err(Status::forbidden(format!(
                "namespaces \"{name}\" is forbidden: this namespace may not be deleted"
            )));
        }
        for _ in 0..ATTEMPTS {
            let (entry, object) = self.read(kind, namespace, name)?;
            options.check_revision(kind, &object, Some(entry.revision))?;
            let expect = Expect::Revision(entry.revision);
            let plan = plan(kind, &object, &options, SystemTime::now());
            let done = match plan {
                Plan::Keep => return Ok(Deleted::Marked(versioned(object, entry.revision))),
                Plan::Remove if options.dry_run => {
                    return Ok(Deleted::Gone(versioned(object, entry.revision)));
                }
                Plan::Mark(marked) if options.dry_run => {
                    return Ok(Deleted::Marked(versioned(marked, entry.revision)));
                }
                Plan::Remove => self
                    .store
                    .delete(&entry.key, expect, Durability::Synced)
                    .await
                    .map(|removed| Deleted::Gone(versioned(object, removed.revision))),
                Plan::Mark(marked) => self
                    .store
                    .put(&entry.key, marked.to_vec(), expect, Durability::Synced)
                    .await
                    .map(|revision| Deleted::Marked(versioned(marked, revision))),
            };
            match done {
                Ok(deleted) => return Ok(deleted),
                // Gone or changed in between: look again.
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Status::modified(kind, name))
    }

    /// Takes the finalizer that held a namespace until it was empty, and removes the namespace unless others hold
    /// it. True if it is gone.
    pub(in crate::server) async fn remove_namespace(&self, name: &str) -> Result<bool, Status> {
        for _ in 0..ATTEMPTS {
            let Ok((entry, mut namespace)) = self.read(NAMESPACE, "", name) else { return Ok(true) };
            if namespace.deletion_timestamp().is_none() {
                return Ok(false);
            }
            let mut finalizers = namespace.array_at("/spec/finalizers").to_vec();
            finalizers.retain(|finalizer| finalizer != "kubernetes");
            let gone = finalizers.is_empty() && namespace.finalizers().next().is_none();
            namespace.set("/spec/finalizers", finalizers);
            let expect = Expect::Revision(entry.revision);
            let done = match gone {
                true => self.store.delete(&entry.key, expect, Durability::Synced).await.map(drop),
                false => {
                    self.store.put(&entry.key, namespace.to_vec(), expect, Durability::Synced).await.map(drop)
                }
            };
            match done {
                Ok(()) => return Ok(gone),
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Status::modified(NAMESPACE, name))
    }
}

impl DeleteOptions {
    /// Whether the preconditions hold for an object as it was read.
    ///
    /// # Errors
    /// 409 when they do not.
    pub fn check(&self, kind: &Kind, object: &Object) -> Result<(), Status> {
        self.check_revision(kind, object, object.resource_version())
    }

    fn check_revision(&self, kind: &Kind, object: &Object, revision: Option<u64>) -> Result<(), Status> {
        let refuse = |what: &str, wanted: &str, found: &str, why: &str| {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). \
                 The object might have been {why}"
            );
            Err(Status::conflict(kind, object.name(), &why))
        };
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != object.uid()) {
            return refuse("UID", uid, object.uid(), "deleted and then recreated");
        }
        match (self.resource_version, revision) {
            (Some(wanted), Some(found)) if wanted != found => {
                refuse("ResourceVersion", &wanted.to_string(), &found.to_string(), "modified")
            }
            _ => Ok(()),
        }
    }
}

fn plan(kind: &Kind, object: &Object, options: &DeleteOptions, now: SystemTime) -> Plan {
    let grace = if kind == POD { pod_grace(object, options.grace_seconds) } else { 0 };
    let finalizers = garbage::finalizers(object, propagation(kind, object, options.propagation));
    let told = !object.finalizers().eq(finalizers.iter().map(String::as_str));
    let held = !finalizers.is_empty()
        || kind == NAMESPACE && !object.array_at("/spec/finalizers").is_empty()
        // A definition's objects go before it does.
        || kind == CUSTOM_RESOURCE_DEFINITION;
    let marked_for = object
        .deletion_timestamp()
        .map(|_| object.i64_at("/metadata/deletionGracePeriodSeconds").unwrap_or(0));
    // A later delete may shorten the time, not lengthen it.
    let sooner = marked_for.is_none_or(|before| grace < before);
    if grace == 0 && !held {
        return Plan::Remove;
    }
    if !sooner && !told {
        return Plan::Keep;
    }
    let mut marked = object.clone();
    if sooner {
        mark(&mut marked, now, grace);
    }
    if told {
        marked.set("/metadata/finalizers", finalizers);
    }
    if kind == NAMESPACE {
        marked.set("/status/phase", "Terminating");
    }
    if kind == CUSTOM_RESOURCE_DEFINITION {
        strategy::mark_definition(&mut marked, &time::format(now));
    }
    Plan::Mark(marked)
}

/// What a delete that does not say it means for dependents. A namespace's contents always go first.
fn propagation(kind: &Kind, object: &Object, asked: Option<Propagation>) -> Option<Propagation> {
    let orphans = kind == JOB || kind == REPLICATION_CONTROLLER;
    match asked {
        _ if kind == NAMESPACE => None,
        None if orphans && object.finalizers().all(|name| name != FOREGROUND) => Some(Propagation::Orphan),
        asked => asked,
    }
}

/// How many seconds a pod gets (upstream's podStrategy.CheckGracefulDelete).
fn pod_grace(pod: &Object, asked: Option<i64>) -> i64 {
    if pod.str_at("/spec/nodeName").is_empty() || pods::has_ended(pod) {
        return 0;
    }
    let grace = asked.or_else(|| pod.i64_at("/spec/terminationGracePeriodSeconds")).unwrap_or(30);
    // A negative one is the shortest that is not "at once". A bound keeps the end a valid time.
    if grace < 0 { 1 } else { grace.min(10 * 365 * 24 * 3600) }
}
