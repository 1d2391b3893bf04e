//! Ends pods for whose room or node others decided: says why in their status, for those who watch, and deletes.

use std::time::SystemTime;

use serde_json::json;

use crate::api::kinds::POD;
use crate::api::{Object, Reason, Status};
use crate::server::registry::{Change, DeleteOptions, Registry, WriteOptions};
use crate::store::Durability;

/// False: it is gone, or another by its name.
pub async fn disrupt(registry: &Registry, pod: &Object, reason: &str, message: &str) -> Result<bool, Status> {
    let mark = |current: &mut Object| {
        if current.uid() != pod.uid() {
            return Ok(Change::Keep);
        }
        let condition =
            json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message});
        current.set_condition(condition, SystemTime::now());
        Ok(Change::Write)
    };
    let marking = WriteOptions { durability: Durability::Lazy, ..WriteOptions::STATUS };
    let deletion = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
    let ended = async {
        registry.modify(POD, pod.namespace(), pod.name(), marking, mark).await?;
        registry.delete(POD, pod.namespace(), pod.name(), deletion).await
    };
    match ended.await {
        Ok(_) => Ok(true),
        Err(status) => match registry.get(POD, pod.namespace(), pod.name()) {
            Ok(current) if current.uid() == pod.uid() => Err(status),
            Err(other) if other.reason != Reason::NotFound => Err(status),
            _ => Ok(false),
        },
    }
}
