//! Deleting objects: at once, with a pod's grace period, or when finalizers allow.

use super::Registry;
use crate::api::{Kind, Object, Status};

/// How to delete; the default is what `kubectl delete` asks for.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds a pod gets to end; None is the pod's own.
    pub grace_seconds: Option<i64>,
    /// Preconditions.
    pub uid: Option<String>,
    pub resource_version: Option<u64>,
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

impl Registry {
    /// Deletes an object or marks it.
    ///
    /// A pod on a node gets its grace period: it is marked, and gone when its node's agent says so, which is a
    /// delete with a grace of 0. A pod without a node, and one with a grace of 0, goes at once.
    ///
    /// Errors: 404, 409 for a precondition that does not hold.
    pub async fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Deleted, Status> {
        let _ = (kind, namespace, name, options);
        todo!()
    }
}
