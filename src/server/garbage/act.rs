//! What the garbage collector does to objects.

use std::sync::Arc;

use serde_json::Value;

use crate::api::{Kind, Object, Reason, Status};
use crate::plan::garbage::Propagation;
use crate::server::events::{self, Type};
use crate::server::registry::{Change, DeleteOptions, Registry, Subresource, WriteOptions};

/// One object, as it was when it was looked at.
pub struct Subject {
    key: Arc<str>,
    kind: &'static Kind,
    namespace: String,
    name: String,
    uid: String,
    revision: Option<u64>,
}

impl Subject {
    pub fn new(key: &Arc<str>, kind: &'static Kind, object: &Object) -> Self {
        Self {
            key: key.clone(),
            kind,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            revision: object.resource_version(),
        }
    }

    /// Changes the object, if it is still the one that was looked at.
    async fn modify(&self, registry: &Registry, change: impl Fn(&mut Object)) -> Result<(), Status> {
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let change = |object: &mut Object| {
            if object.uid() != self.uid {
                return Ok(Change::Keep);
            }
            change(object);
            Ok(Change::Write)
        };
        registry.modify(self.kind, &self.namespace, &self.name, options, change).await.map(drop)
    }

    async fn forget(&self, registry: &Registry, owners: &[String]) -> Result<(), Status> {
        let named = |value: &Value| value["uid"].as_str().is_some_and(|uid| owners.iter().any(|o| o == uid));
        self.modify(registry, |object| {
            let mut references = object.array_at("/metadata/ownerReferences").to_vec();
            references.retain(|reference| !named(reference));
            match references.is_empty() {
                true => drop(object.remove("/metadata/ownerReferences")),
                false => object.set("/metadata/ownerReferences", references),
            }
        })
        .await
    }
}

pub enum Action {
    Delete {
        subject: Subject,
        propagation: Propagation,
        /// Its owners no longer wait for it.
        unblocks: bool,
    },
    /// Takes the references to these owners, by uid, out of it.
    Forget { subject: Subject, owners: Vec<String> },
    /// Takes a finalizer off an owner, after these dependents have forgotten it.
    Release { subject: Subject, finalizer: &'static str, first: Vec<Subject> },
    /// Says that an owner is in another namespace.
    TellNamespace { object: Object, reference: String },
}

impl Action {
    /// The keys that must be looked at again.
    pub async fn carry_out(self, registry: Arc<Registry>) -> Result<Vec<Arc<str>>, Status> {
        let key = match &self {
            Self::Delete { subject, .. } | Self::Forget { subject, .. } | Self::Release { subject, .. } => {
                Some(subject.key.clone())
            }
            Self::TellNamespace { .. } => None,
        };
        match self.attempt(&registry).await {
            Ok(()) => Ok(Vec::new()),
            Err(status) => match status.reason {
                Reason::NotFound | Reason::Forbidden => Ok(Vec::new()),
                Reason::Conflict => Ok(key.into_iter().collect()),
                _ => Err(status),
            },
        }
    }

    async fn attempt(self, registry: &Registry) -> Result<(), Status> {
        match self {
            Self::Delete { subject, propagation, unblocks } => {
                let mut revision = subject.revision;
                if unblocks {
                    revision = None;
                    subject.modify(registry, unblock).await?;
                }
                let options = DeleteOptions {
                    uid: Some(subject.uid),
                    resource_version: revision,
                    propagation: Some(propagation),
                    ..DeleteOptions::default()
                };
                registry.delete(subject.kind, &subject.namespace, &subject.name, options).await.map(drop)
            }
            Self::Forget { subject, owners } => subject.forget(registry, &owners).await,
            Self::Release { subject, finalizer, first } => {
                let owner = [subject.uid.clone()];
                for dependent in &first {
                    match dependent.forget(registry, &owner).await {
                        Err(status) if status.reason != Reason::NotFound => return Err(status),
                        _ => {}
                    }
                }
                let release = |object: &mut Object| {
                    let mut finalizers = object.array_at("/metadata/finalizers").to_vec();
                    finalizers.retain(|name| name != finalizer);
                    match finalizers.is_empty() {
                        true => drop(object.remove("/metadata/finalizers")),
                        false => object.set("/metadata/finalizers", finalizers),
                    }
                };
                subject.modify(registry, release).await
            }
            Self::TellNamespace { object, reference } => {
                let message =
                    format!("ownerRef {reference} does not exist in namespace {:?}", object.namespace());
                let source = "garbage-collector-controller";
                events::record(registry, &object, Type::Warning, "OwnerRefInvalidNamespace", &message, source)
                    .await
            }
        }
    }
}

fn unblock(object: &mut Object) {
    for index in 0..object.array_at("/metadata/ownerReferences").len() {
        object.set(&format!("/metadata/ownerReferences/{index}/blockOwnerDeletion"), false);
    }
}
