//! patch: JSON patch, merge patch, strategic merge patch.

use hyper::body::Incoming;
use serde_json::Value;

use super::Call;
use super::admit::warned;
use crate::api::{Object, Status, patch};
use crate::server::body;
use crate::server::registry::Change;
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

/// The patches that are taken.
const TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

#[derive(Clone, Copy)]
enum Format {
    Json,
    Merge,
    Strategic,
}

/// The seam for server-side apply and for YAML.
fn format(media_type: &str) -> Result<Format, Status> {
    match media_type {
        "application/json-patch+json" => Ok(Format::Json),
        "application/merge-patch+json" => Ok(Format::Merge),
        "application/strategic-merge-patch+json" => Ok(Format::Strategic),
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
            let mut status = Status::unsupported_media_type(TYPES);
            status.message = format!(
                "server-side apply ({media_type}) is not supported by midge {} yet: apply without --server-side",
                crate::VERSION
            );
            Err(status)
        }
        _ => Err(Status::unsupported_media_type(TYPES)),
    }
}

pub async fn patch(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let options = call.write_options()?;
    let validation = call.field_validation()?;
    let format = format(&body::media_type(call.headers))?;
    if matches!(format, Format::Strategic) && kind.definition.is_some() {
        return Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
        ]));
    }
    let text = body::bytes(body).await?;
    let change: Value = serde_json::from_slice(&text)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut warnings = Vec::new();
    let apply = |object: &mut Object| {
        let current = object.as_value();
        let patched = match format {
            Format::Json => patch::json(current, &change),
            Format::Merge => patch::merge(current, &change),
            Format::Strategic => patch::strategic(kind, current, &change),
        }?;
        let mut patched =
            Object::from_value(patched).map_err(|error| Status::bad_request(error.to_string()))?;
        call.claim(&mut patched)?;
        warnings = call.shape(&mut patched, Some(&text), validation)?;
        *object = patched;
        Ok(Change::Write)
    };
    let patched = call.state.registry.modify(kind, call.namespace(), call.name(), options, apply).await?;
    Ok(warned(reply::json(rendering.object(&patched, true)), &warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_is_refused_by_name() {
        let status = format("application/apply-patch+yaml").err().unwrap();
        assert_eq!(status.code, 415);
        assert!(status.message.contains("server-side apply"), "{status}");
        let status = format("application/json").err().unwrap();
        assert!(status.message.contains("application/merge-patch+json"), "{status}");
    }
}
