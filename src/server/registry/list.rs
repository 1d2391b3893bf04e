//! Lists, in pages.

use std::sync::Arc;

use super::{Registry, Selectors};
use crate::api::{Kind, Object, Status, object};

/// One object as it is stored: compact, parsed only on demand.
#[derive(Clone, Debug)]
pub struct Item {
    pub revision: u64,
    pub value: Arc<[u8]>,
}

impl Item {
    /// The object, with its resourceVersion.
    pub fn object(&self) -> Result<Object, Status> {
        let mut object = Object::from_slice(&self.value).map_err(Status::internal)?;
        object.set("/metadata/resourceVersion", self.revision.to_string());
        Ok(object)
    }

    /// The object's JSON, with its resourceVersion, without parsing.
    pub fn json(&self) -> Vec<u8> {
        object::with_resource_version(&self.value, self.revision)
    }
}

/// Which part of a list; the default is all of it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most so many items; 0 is no limit.
    pub limit: usize,
    /// The `token` of the page before.
    pub token: Option<String>,
}

/// Objects in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub items: Vec<Item>,
    /// The list's resourceVersion: a watch from here misses nothing.
    pub revision: u64,
    /// What asks for the next page; none on the last.
    pub token: Option<String>,
    /// How many items follow this page; unknown with selectors.
    pub remaining: Option<u64>,
}

impl Registry {
    /// The objects of a kind in one namespace, or in all of them.
    ///
    /// Errors: 410 for a continue token from before a change or a restart, 400 for one that is none.
    pub fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selectors: &Selectors,
        page: &Page,
    ) -> Result<List, Status> {
        let _ = (kind, namespace, selectors, page);
        todo!()
    }
}
