//! A registry of a test's own.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Registry, WriteOptions};
use crate::api::{Object, Status};
use crate::store::Journal;

/// A registry in a temporary folder, removed at the end.
pub struct Cluster {
    pub registry: Arc<Registry>,
    folder: PathBuf,
}

impl Cluster {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("midge-registry-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let store = Journal::open(&folder).unwrap();
        let registry =
            smol::block_on(Registry::open(Arc::new(store), "10.43.0.0/16".parse().unwrap())).unwrap();
        Self { registry: Arc::new(registry), folder }
    }

    /// Creates an object of the kind that it says it is.
    pub async fn create(&self, object: Value) -> Result<Object, Status> {
        let object = Object::from_value(object).unwrap();
        let kind = self.registry.kinds().of(object.api_version(), object.kind()).unwrap();
        self.registry.create(kind, object, WriteOptions::default()).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A pod in `default`.
pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    })
}

/// A node with two CPUs that is ready.
pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
