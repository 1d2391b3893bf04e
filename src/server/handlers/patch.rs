//! patch: JSON patch, merge patch, strategic merge patch, server-side apply.

use std::time::SystemTime;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;

use super::Call;
use super::admit::{check_bounds, warned};
use crate::api::apply::{self, Operation};
use crate::api::schema::FieldValidation;
use crate::api::{Cause, Object, Reason, Status, patch};
use crate::server::body;
use crate::server::options::invalid;
use crate::server::registry::{Change, Subresource, WriteOptions};
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

/// The patches that are taken.
const TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// How often an apply that finds no object makes one, and finds one then.
const ATTEMPTS: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Json,
    Merge,
    Strategic,
    Apply,
}

fn format(media_type: &str) -> Result<Format, Status> {
    match media_type {
        "application/json-patch+json" => Ok(Format::Json),
        "application/merge-patch+json" => Ok(Format::Merge),
        "application/strategic-merge-patch+json" => Ok(Format::Strategic),
        "application/apply-patch+yaml" => Ok(Format::Apply),
        _ => Err(Status::unsupported_media_type(TYPES)),
    }
}

pub async fn patch(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let options = WriteOptions { shaped: call.shapes(), ..call.write_options()? };
    let validation = call.field_validation()?;
    let format = format(&body::media_type(call.headers))?;
    if format == Format::Strategic && kind.definition.is_some() {
        let others: Vec<&str> = TYPES.iter().copied().filter(|name| !name.contains("strategic")).collect();
        return Err(Status::unsupported_media_type(&others));
    }
    check_options(call, format == Format::Apply)?;
    let text = body::bytes(body).await?;
    if format == Format::Apply {
        let applied = Application::read(call, text, options, validation)?.carry_out().await?;
        let text = call.written(&rendering, &applied.object, options);
        let reply = reply::full(applied.code, reply::JSON, text);
        return Ok(warned(reply, &applied.warnings));
    }
    let change: Value = serde_json::from_slice(&text)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut warnings = Vec::new();
    let mut apply = |object: &mut Object| {
        let current = object.as_value();
        let patched = match format {
            Format::Json => patch::json(current, &change),
            Format::Strategic => patch::strategic(kind, current, &change),
            Format::Merge | Format::Apply => patch::merge(current, &change),
        }?;
        let mut patched =
            Object::from_value(patched).map_err(|error| Status::bad_request(error.to_string()))?;
        call.claim(&mut patched)?;
        let shaped = call.shape(&mut patched, Some(&text), validation);
        warnings = shaped.map_err(|status| misfit(status, &text))?;
        call.check_escalation(&patched, Some(object))?;
        *object = patched;
        Ok(Change::Write)
    };
    let patched = call.modify(options, &mut apply).await?;
    Ok(warned(reply::json(call.written(&rendering, &patched, options)), &warnings))
}

/// A field of another type than the kind's is upstream's decoder to find in an object, and the patch's fault here.
fn misfit(status: Status, patch: &[u8]) -> Status {
    match status.message.split_once(": json: ") {
        Some((_, why)) if status.reason == Reason::BadRequest => {
            let patch = String::from_utf8_lossy(patch);
            invalid("", "", vec![Cause::invalid("patch", patch, &format!("json: {why}"))])
        }
        _ => status,
    }
}

/// The options that only an apply has, or must have.
pub fn check_options(call: &Call<'_>, is_apply: bool) -> Result<(), Status> {
    let cause = if is_apply {
        let nobody = call.query.text("fieldManager").is_none();
        nobody.then(|| Cause::required("fieldManager", "is required for apply patch"))
    } else {
        let forced = call.query.text("force").is_some();
        forced.then(|| Cause::forbidden("force", "may not be specified for non-apply patch"))
    };
    cause.map_or(Ok(()), |cause| Err(invalid("PatchOptions.meta.k8s.io", "", vec![cause])))
}

/// A configuration to apply.
struct Application<'c> {
    call: &'c Call<'c>,
    options: WriteOptions<'c>,
    validation: FieldValidation,
    force: bool,
    text: Bytes,
    config: Object,
}

struct Applied {
    code: StatusCode,
    object: Object,
    warnings: Vec<String>,
}

impl<'c> Application<'c> {
    fn read(
        call: &'c Call<'_>,
        text: Bytes,
        mut options: WriteOptions<'c>,
        validation: FieldValidation,
    ) -> Result<Self, Status> {
        // Most clients send JSON, which is YAML, too.
        let mut config = match Object::from_slice(&text) {
            Ok(config) => config,
            Err(_) => body::object("application/yaml", &text)?,
        };
        let expected = call.target.kind.api_version();
        if !config.api_version().is_empty() && config.api_version() != expected {
            return Err(Status::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {expected}",
                config.api_version()
            )));
        }
        check_bounds(call.target.kind, &config)?;
        call.claim(&mut config)?;
        options.writer.operation = Operation::Apply;
        let force = call.query.switch("force");
        Ok(Self { call, options, validation, force, text, config })
    }

    /// The object that `live` becomes. `live` loses its account.
    fn over(&self, live: &mut Object) -> Result<(Object, Vec<String>), Status> {
        let kind = self.call.target.kind;
        let now = SystemTime::now();
        let mut applied = apply::with_root(kind, |node| {
            apply::apply(kind, node, live, &self.config, self.options.writer, self.force, now)
        })?;
        let warnings = self.call.shape(&mut applied, Some(&self.text), self.validation)?;
        let old = Some(&*live).filter(|live| !live.uid().is_empty());
        self.call.check_escalation(&applied, old)?;
        Ok((applied, warnings))
    }

    async fn carry_out(&self) -> Result<Applied, Status> {
        let (call, kind, options) = (self.call, self.call.target.kind, self.options);
        for _ in 0..ATTEMPTS {
            let mut warnings = Vec::new();
            let mut change = |object: &mut Object| {
                (*object, warnings) = self.over(object)?;
                Ok(Change::Write)
            };
            let missing = match call.modify(options, &mut change).await {
                Ok(object) => return Ok(Applied { code: StatusCode::OK, object, warnings }),
                Err(status) if status.reason == Reason::NotFound => status,
                Err(status) => return Err(status),
            };
            // There is no part of an object before there is one.
            if options.subresource != Subresource::None {
                return Err(missing);
            }
            if !self.config.uid().is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object was found",
                    self.config.uid()
                );
                return Err(Status::conflict(kind, call.name(), &why));
            }
            self.call.authorize("create")?;
            let (object, warnings) = self.over(&mut Object::new(kind, call.namespace(), call.name()))?;
            match call.create(object, options).await {
                Ok(object) => return Ok(Applied { code: StatusCode::CREATED, object, warnings }),
                Err(status) if status.reason == Reason::AlreadyExists && !options.dry_run => {}
                Err(status) => return Err(status),
            }
        }
        Err(Status::modified(kind, call.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_how_to_patch() {
        assert!(format("application/apply-patch+yaml").is_ok_and(|format| format == Format::Apply));
        for other in ["application/json", "application/apply-patch+cbor"] {
            let status = format(other).err().unwrap();
            assert_eq!(status.code, 415);
            assert!(status.message.contains("application/merge-patch+json"), "{status}");
        }
    }
}
