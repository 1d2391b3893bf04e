//! What every cluster has from its first moment.

use super::{Registry, WriteOptions};
use crate::api::kinds::NAMESPACE;
use crate::api::{Object, Reason, Status};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Registry {
    pub(super) async fn seed(&self) -> Result<(), Status> {
        for name in NAMESPACES {
            if self.store.get(&NAMESPACE.key("", name)).is_some() {
                continue;
            }
            let object = Object::new(NAMESPACE, "", name);
            match self.create(NAMESPACE, object, WriteOptions::default()).await {
                Err(status) if status.reason != Reason::AlreadyExists => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}
