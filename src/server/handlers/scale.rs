//! The subresource `scale`: how many replicas there are and shall be, as an autoscaling/v1 Scale.

use std::time::SystemTime;

use hyper::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Call;
use super::admit::{inert, shape, warned};
use super::patch::check_options;
use crate::api::apply::{self, Operation};
use crate::api::kinds::{SCALE, Scale};
use crate::api::{Cause, Kind, Object, Status, patch, selector};
use crate::server::body;
use crate::server::options::invalid;
use crate::server::registry::Change;
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

/// The patches that are taken.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY,
];
const APPLY: &str = "application/apply-patch+yaml";

pub async fn handle(call: &Call<'_>, method: &Method, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let Some(paths) = kind.scale else { return Err(Status::no_such_resource()) };
    let rendering = Rendering::negotiate(SCALE, call.headers, &call.query)?;
    match *method {
        Method::GET => {
            let object = call.state.registry.get(kind, call.namespace(), call.name())?;
            check_defined(kind, &object, paths)?;
            Ok(reply::json(rendering.object(&of(&object, paths), true)))
        }
        Method::PUT | Method::PATCH => write(call, method, paths, rendering, body).await,
        _ => Err(Status::method_not_allowed()),
    }
}

async fn write(
    call: &Call<'_>,
    method: &Method,
    paths: &Scale,
    rendering: Rendering,
    body: Incoming,
) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let (mut options, validation) = (call.write_options()?, call.field_validation()?);
    let media_type = body::media_type(call.headers);
    let is_patch = method == Method::PATCH;
    if is_patch && !PATCHES.contains(&media_type.as_str()) {
        return Err(Status::unsupported_media_type(PATCHES));
    }
    let is_apply = media_type == APPLY;
    if is_patch {
        check_options(call, is_apply)?;
    }
    let force = call.query.switch("force");
    let text = body::bytes(body).await?;
    let asked: Object;
    let patch: Value;
    if is_apply {
        // Most clients send JSON, which is YAML, too.
        asked = body::object("application/yaml", &text)?;
        patch = Value::Null;
        options.writer.operation = Operation::Apply;
    } else if is_patch {
        asked = Object::new(SCALE, "", "");
        patch = serde_json::from_slice(&text)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    } else {
        asked = body::object(&media_type, &text)?;
        patch = Value::Null;
    }
    let mut warnings = Vec::new();
    let change = |object: &mut Object| {
        let mut scale = if is_patch && !is_apply {
            patched(&of(object, paths), &media_type, &patch)?
        } else {
            asked.clone()
        };
        call.claim_as(SCALE, &mut scale)?;
        let said = scale.clone();
        // Only JSON can have a key twice.
        let written = Some(&*text).filter(|_| media_type.ends_with("json"));
        warnings = shape(SCALE, &mut scale, written, validation, false)?;
        if is_apply {
            // What is owned are the object's replicas, in the object's account.
            let mut config = Object::new(kind, object.namespace(), object.name());
            if said.at("/spec/replicas").is_some() {
                set(&mut config, &scale, paths)?;
            }
            *object = apply::with_root(kind, |node| {
                apply::apply(kind, node, object, &config, options.writer, force, SystemTime::now())
            })?;
        } else {
            set(object, &scale, paths)?;
        }
        Ok(Change::Write)
    };
    let written = call.state.registry.modify(kind, call.namespace(), call.name(), options, change).await?;
    warnings.extend(inert(kind));
    Ok(warned(reply::json(rendering.object(&of(&written, paths), true)), &warnings))
}

fn patched(scale: &Object, media_type: &str, change: &Value) -> Result<Object, Status> {
    let current = scale.as_value();
    let patched = match media_type {
        "application/json-patch+json" => patch::json(current, change),
        "application/merge-patch+json" => patch::merge(current, change),
        _ => patch::strategic(SCALE, current, change),
    }?;
    Object::from_value(patched).map_err(|error| Status::bad_request(error.to_string()))
}

/// An object's Scale.
pub fn of(object: &Object, paths: &Scale) -> Object {
    let mut scale = Object::new(SCALE, object.namespace(), object.name());
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        let pointer = format!("/metadata/{field}");
        if let Some(value) = object.at(&pointer) {
            scale.set(&pointer, value.clone());
        }
    }
    scale.set("/spec", json!({"replicas": object.i64_at(paths.replicas).unwrap_or(0)}));
    scale.set("/status", json!({"replicas": object.i64_at(paths.status_replicas).unwrap_or(0)}));
    let selected = match object.at(paths.selector).filter(|_| !paths.selector.is_empty()) {
        Some(Value::String(text)) => text.clone(),
        Some(labels @ Value::Object(map)) if map.values().all(Value::is_string) => {
            selector::format_labels(labels)
        }
        Some(found) => selector::format(found),
        None => String::new(),
    };
    if !selected.is_empty() {
        scale.set("/status/selector", selected);
    }
    scale
}

/// The replicas of a defined kind may be missing, which upstream does not take for 0.
fn check_defined(kind: &Kind, object: &Object, paths: &Scale) -> Result<(), Status> {
    if kind.definition.is_none() || object.i64_at(paths.replicas).is_some() {
        return Ok(());
    }
    let path = paths.replicas.replace('/', ".");
    Err(Status::internal(format!("the spec replicas field \"{path}\" does not exist")))
}

/// Takes the replicas that a Scale asks for, on the terms that its metadata sets.
fn set(object: &mut Object, scale: &Object, paths: &Scale) -> Result<(), Status> {
    let replicas = scale.i64_at("/spec/replicas").unwrap_or(0);
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        let cause = Cause::invalid("spec.replicas", replicas, detail);
        return Err(invalid("Scale.autoscaling", object.name(), vec![cause]));
    }
    for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
        match scale.str_at(pointer) {
            "" => {}
            value => object.set(pointer, value),
        }
    }
    object.set(paths.replicas, replicas);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::{DEPLOYMENT, REPLICATION_CONTROLLER};

    #[test]
    fn what_a_scale_shows() {
        for (kind, selector, text) in [
            (DEPLOYMENT, json!({"matchLabels": {"a": "b"}}), "a=b"),
            (REPLICATION_CONTROLLER, json!({"c": "d", "a": "b"}), "a=b,c=d"),
            (DEPLOYMENT, json!("a in (b)"), "a in (b)"),
        ] {
            let mut object = Object::new(kind, "default", "web");
            object.set("/spec", json!({"replicas": 3, "selector": selector}));
            object.set("/status/replicas", 2);
            let scale = of(&object, kind.scale.unwrap());
            assert_eq!(scale.as_value()["spec"], json!({"replicas": 3}));
            assert_eq!(scale.as_value()["status"], json!({"replicas": 2, "selector": text}));
        }
    }
}
