//! Leases keep new resources from garbage collection until something refers to them.

use std::time::Duration;

use super::{Client, Error};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: String,
}

impl Client {
    /// A new lease that ends by itself after `expiry`, should nobody delete it.
    pub async fn create_lease(&self, _expiry: Duration) -> Result<Lease, Error> {
        todo!()
    }

    /// Deletes the lease; with `collect` containerd collects garbage before it answers.
    pub async fn delete_lease(&self, _lease: &Lease, _collect: bool) -> Result<(), Error> {
        todo!()
    }
}
