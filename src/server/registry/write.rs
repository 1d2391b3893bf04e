//! Creating and changing objects.

use super::Registry;
use crate::api::{Kind, Object, Status};
use crate::store::Durability;

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subresource {
    /// The object but for its status.
    #[default]
    None,
    /// The status alone.
    Status,
    /// All of it, by the server itself (binding, namespace phases, pod ranges): the kind's rules on what may
    /// change do not apply, uid and creation time still cannot.
    Internal,
}

/// How to write; the default is a synced write of the main resource.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    pub subresource: Subresource,
    pub durability: Durability,
    /// Everything but the write itself.
    pub dry_run: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { subresource: Subresource::None, durability: Durability::Synced, dry_run: false }
    }
}

/// What the closure of [`Registry::modify`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Write,
    /// Leave the object alone.
    Keep,
}

impl Registry {
    /// Stores a new object after defaulting, the kind's strategy and validation, with a new uid,
    /// creationTimestamp and, with `generateName`, a name. Returns it as stored.
    ///
    /// `object` names its namespace in its metadata. Errors: 409 exists, 404 no such namespace,
    /// 403 namespace terminating, 422 invalid, 400 a resourceVersion is set.
    pub async fn create(&self, kind: &Kind, object: Object, options: WriteOptions) -> Result<Object, Status> {
        let _ = (kind, object, options);
        todo!()
    }

    /// Replaces an object. A resourceVersion or uid in `object` must be the current one.
    /// An object whose deletion waited for nothing but finalizers that are now gone is removed.
    ///
    /// Errors: 404, 409, 422.
    pub async fn update(&self, kind: &Kind, object: Object, options: WriteOptions) -> Result<Object, Status> {
        let _ = (kind, object, options);
        todo!()
    }

    /// Reads, lets `change` alter and writes, again from the start whenever somebody else wrote in between.
    /// A resourceVersion that `change` sets differently from the one read is a precondition (patches).
    pub async fn modify(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: WriteOptions,
        change: impl FnMut(&mut Object) -> Result<Change, Status>,
    ) -> Result<Object, Status> {
        let _ = (kind, namespace, name, options, change);
        todo!()
    }
}
