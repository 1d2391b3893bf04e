//! portforward.

use crate::api::Status;
use crate::server::handlers::Call;
use crate::server::reply::Reply;

pub async fn serve(_call: &Call<'_>) -> Result<Reply, Status> {
    Err(Status::internal("later"))
}
