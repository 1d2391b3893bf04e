//! What every cluster has from its first moment.

use super::Registry;
use crate::api::Status;

impl Registry {
    pub(super) async fn seed(&self) -> Result<(), Status> {
        todo!()
    }
}
