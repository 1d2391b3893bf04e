//! Leases keep new resources from garbage collection until something refers to them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::{Method, found};
use super::types::Empty;
use super::{Client, Error, Labels};

/// For what takes one import: long enough for a slow card, short enough that a crash wastes no room for long.
pub(super) const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// Collecting garbage deletes files: slow on a card.
const COLLECT_LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: String,
}

impl Client {
    /// A new lease that ends by itself after `expiry`, should nobody delete it.
    pub async fn create_lease(&self, expiry: Duration) -> Result<Lease, Error> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Unique among this machine's processes, over restarts too.
        self.create_lease_called(format!("{}{:x}", own_prefix(), since.as_nanos()), expiry).await
    }

    /// [`Client::create_lease`] under a name of the caller's, which an earlier process may have made.
    pub async fn create_lease_called(&self, id: String, expiry: Duration) -> Result<Lease, Error> {
        let now = SystemTime::now();
        let mut labels = Labels::new();
        if let Ok(end) = OffsetDateTime::from(now + expiry).format(&Rfc3339) {
            labels.insert("containerd.io/gc.expire".into(), end);
        }
        let request = wire::CreateRequest { id: id.clone(), labels };
        match self.unary::<_, wire::CreateResponse>(wire::CREATE, &request).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(Lease { id }),
        }
    }

    /// Deletes the lease; with `collect` containerd collects garbage before it answers.
    pub async fn delete_lease(&self, lease: &Lease, collect: bool) -> Result<(), Error> {
        let request = wire::DeleteRequest { id: lease.id.clone(), sync: collect };
        found(self.unary_within::<_, Empty>(wire::DELETE, &request, COLLECT_LIMIT).await)?;
        Ok(())
    }

    /// Leases of this namespace.
    pub async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let answer: wire::ListResponse = self.unary(wire::LIST, &Empty {}).await?;
        Ok(answer.leases.into_iter().map(|lease| Lease { id: lease.id }).collect())
    }

    /// Has containerd collect garbage, and waits for it: until then what was removed is on the disk.
    pub async fn collect_garbage(&self) -> Result<(), Error> {
        let lease = self.create_lease(COLLECT_LIMIT).await?;
        self.delete_lease(&lease, true).await
    }

    /// Deletes leases that an earlier process of midge left in this namespace when it was cut off, and with
    /// them what they hold: no other process of midge may work in the namespace.
    pub async fn delete_abandoned_leases(&self) -> Result<(), Error> {
        for Lease { id } in self.leases().await? {
            let is_import =
                id.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if is_import && !id.starts_with(&own_prefix()) {
                log::info!("ending lease `{id}` of an import that was cut off");
                self.delete_lease(&Lease { id }, false).await?;
            }
        }
        Ok(())
    }
}

const PREFIX: &str = "midge-";

fn own_prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

mod wire {
    use super::{Labels, Method};

    pub const CREATE: Method = Method("/containerd.services.leases.v1.Leases/Create");
    pub const LIST: Method = Method("/containerd.services.leases.v1.Leases/List");
    pub const DELETE: Method = Method("/containerd.services.leases.v1.Leases/Delete");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Lease {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateRequest {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(btree_map = "string, string", tag = "3")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateResponse {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListResponse {
        #[prost(message, repeated, tag = "1")]
        pub leases: Vec<Lease>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DeleteRequest {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(bool, tag = "2")]
        pub sync: bool,
    }
}
