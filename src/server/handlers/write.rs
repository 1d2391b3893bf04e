//! create and update.

use hyper::StatusCode;
use hyper::body::Incoming;

use super::Call;
use super::admit::warned;
use crate::api::{Object, Status};
use crate::server::body;
use crate::server::registry::{Change, WriteOptions};
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

pub async fn create(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let write = Write::read(call, body).await?;
    call.check_escalation(&write.object, None)?;
    let created = call.create(write.object, write.options).await?;
    let text = call.written(&write.rendering, &created, write.options);
    let reply = reply::full(StatusCode::CREATED, reply::JSON, text);
    Ok(warned(reply, &write.warnings))
}

pub async fn update(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let write = Write::read(call, body).await?;
    let mut replace = |current: &mut Object| {
        call.check_escalation(&write.object, Some(current))?;
        *current = write.object.clone();
        Ok(Change::Write)
    };
    let updated = call.modify(write.options, &mut replace).await?;
    let text = call.written(&write.rendering, &updated, write.options);
    Ok(warned(reply::json(text), &write.warnings))
}

/// An object that a client sent whole, and how it is to be stored and answered.
struct Write<'c> {
    rendering: Rendering,
    options: WriteOptions<'c>,
    object: Object,
    warnings: Vec<String>,
}

impl<'c> Write<'c> {
    async fn read(call: &'c Call<'_>, body: Incoming) -> Result<Self, Status> {
        let rendering = Rendering::negotiate(call.target.kind, call.headers, &call.query)?;
        let options = WriteOptions { shaped: call.shapes(), ..call.write_options()? };
        let validation = call.field_validation()?;
        let text = body::bytes(body).await?;
        let (mut object, json) = body::decode(&body::media_type(call.headers), &text)
            .map_err(|status| body::unrecognized(call.target.kind, &text, status))?;
        call.claim(&mut object)?;
        let warnings = call.shape(&mut object, json.as_deref(), validation)?;
        Ok(Write { rendering, options, object, warnings })
    }
}
