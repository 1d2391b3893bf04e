//! create and update.

use hyper::StatusCode;
use hyper::body::Incoming;

use super::Call;
use super::admit::warned;
use crate::api::Status;
use crate::server::body;
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

pub async fn create(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let options = call.write_options()?;
    let validation = call.field_validation()?;
    let text = body::bytes(body).await?;
    let mut object = body::object(&body::media_type(call.headers), &text)?;
    call.claim(&mut object)?;
    let warnings = call.shape(&mut object, Some(&text), validation)?;
    drop(text);
    let created = call.state.registry.create(kind, object, options).await?;
    let reply = reply::full(StatusCode::CREATED, reply::JSON, rendering.object(&created, true));
    Ok(warned(reply, &warnings))
}

pub async fn update(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let options = call.write_options()?;
    let validation = call.field_validation()?;
    let text = body::bytes(body).await?;
    let mut object = body::object(&body::media_type(call.headers), &text)?;
    call.claim(&mut object)?;
    let warnings = call.shape(&mut object, Some(&text), validation)?;
    drop(text);
    let updated = call.state.registry.update(kind, object, options).await?;
    Ok(warned(reply::json(rendering.object(&updated, true)), &warnings))
}
