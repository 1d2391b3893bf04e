//! Node keys: 256 random bits each, of which the server keeps the SHA-256. A random secret needs no slow hash.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::Links;
use crate::api::Status;
use crate::store::{self, Durability, Expect};
use crate::token::{Credential, random_hex, same_secret, sha256};

/// Where keys are in the store, by node.
const PREFIX: &str = "midge/node-keys/";

#[derive(Serialize, Deserialize)]
pub(super) struct Key {
    /// SHA-256 of the key's text, hex.
    hash: String,
    /// The agent has not said yet that the key is saved: the node may still join with a token.
    pub(super) pending: bool,
    /// The id of the issued token that a use was taken off for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Key {
    pub(super) fn is(&self, key: &str) -> bool {
        same_secret(HEXLOWER.encode(&sha256(key.as_bytes())).as_bytes(), self.hash.as_bytes())
    }

    /// Whether a use of this token has admitted the node already.
    pub(super) fn is_paid_by(&self, credential: &Credential) -> bool {
        matches!(credential, Credential::Issued { id, .. } if self.token.as_ref() == Some(id))
    }
}

impl Links {
    /// The node's key with the revision that it was written at.
    pub(super) fn key(&self, node: &str) -> Option<(u64, Key)> {
        let entry = self.store.get(&format!("{PREFIX}{node}"))?;
        Some((entry.revision, serde_json::from_slice(&entry.value).ok()?))
    }

    /// Makes a pending key, if the node still has the one of `revision` (or none). `None`: it has not.
    pub(super) async fn make_key(
        &self,
        node: &str,
        credential: &Credential,
        revision: Option<u64>,
    ) -> Result<Option<String>, Status> {
        let key = random_hex::<32>().map_err(Status::internal)?;
        let token = match credential {
            Credential::Issued { id, .. } => Some(id.clone()),
            Credential::Server { .. } => None,
        };
        let record = Key { hash: HEXLOWER.encode(&sha256(key.as_bytes())), pending: true, token };
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        Ok(self.put_key(node, &record, expect).await?.then_some(key))
    }

    /// The agent has the key on disk: from now on the node joins with no token.
    pub(super) async fn settle_key(&self, node: &str, key: &str) -> Result<(), Status> {
        loop {
            let Some((revision, mut record)) = self.key(node) else { return Ok(()) };
            if !record.pending || !record.is(key) {
                return Ok(());
            }
            record.pending = false;
            record.token = None;
            if self.put_key(node, &record, Expect::Revision(revision)).await? {
                return Ok(());
            }
        }
    }

    async fn put_key(&self, node: &str, record: &Key, expect: Expect) -> Result<bool, Status> {
        let value = serde_json::to_vec(record).map_err(Status::internal)?;
        match self.store.put(&format!("{PREFIX}{node}"), value, expect, Durability::Synced).await {
            Ok(_) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(Status::service_unavailable(format!("failed to store a node key: {error}"))),
        }
    }

    pub(super) async fn delete_key(&self, node: &str) {
        match self.store.delete(&format!("{PREFIX}{node}"), Expect::Any, Durability::Synced).await {
            Ok(_) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => log::error!("failed to revoke the key of node {node}: {error}"),
        }
    }

    /// The nodes whose keys are in use.
    pub(super) fn saved_keys(&self) -> Vec<String> {
        let entries = self.store.list(PREFIX, None, 0).entries.into_iter();
        entries
            .filter(|entry| serde_json::from_slice(&entry.value).is_ok_and(|key: Key| !key.pending))
            .filter_map(|entry| Some(entry.key.strip_prefix(PREFIX)?.to_owned()))
            .collect()
    }
}
