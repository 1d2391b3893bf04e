//! Objects over the store: uids, revisions, rules, selectors, deletion, typed watches.
//!
//! The one way to objects for handlers, links and controllers. What it stores has no
//! resourceVersion; what it returns has one.

mod account;
mod delete;
pub(super) mod identity;
mod list;
mod seed;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::sync::Arc;

pub use delete::{DeleteOptions, Deleted};
pub use list::{Item, List, Page};
pub use watch::{From, Watch, WatchEvent};
pub use write::{Change, Subresource, WriteOptions};

use crate::api::kinds::Catalogue;
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::api::{Kind, Object, Status, schema};
use crate::server::admission::Admission;
use crate::server::config::Cidr;
use crate::store::Store;

/// Which objects a list or watch is about; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

/// The cluster's objects.
pub struct Registry {
    store: Arc<dyn Store>,
    kinds: Arc<Catalogue>,
    pub(in crate::server) admission: Admission,
}

impl Registry {
    /// Takes over a store, with the range of the services' addresses, and makes what every cluster has: the namespaces `default`, `kube-system`,
    /// `kube-public` and `kube-node-lease`. (The `default` ServiceAccounts are the namespace loop's.)
    pub async fn open(store: Arc<dyn Store>, services: Cidr) -> Result<Self, Status> {
        let registry = Self { store, kinds: Arc::default(), admission: Admission::new(services) };
        registry.seed().await?;
        Ok(registry)
    }

    /// The kinds that there are.
    pub fn kinds(&self) -> &Arc<Catalogue> {
        &self.kinds
    }

    /// The store below, for what is no object (`midge/…` keys).
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The object as it is now. `namespace` is ignored for a kind without.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Object, Status> {
        let mut object = self.item(kind, namespace, name)?.object()?;
        schema::convert(kind, &mut object);
        Ok(object)
    }

    /// [`Registry::get`] without parsing.
    pub fn item(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Item, Status> {
        let entry =
            self.store.get(&kind.key(namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        Ok(Item { revision: entry.revision, value: entry.value })
    }
}
