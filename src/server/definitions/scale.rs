//! The `scale` subresource of defined kinds: a view of three of an object's fields.

use hyper::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::api::kinds::Scale;
use crate::api::{Cause, Object, Status, patch};
use crate::server::body;
use crate::server::handlers::Call;
use crate::server::options::invalid;
use crate::server::registry::Change;
use crate::server::reply::{self, Reply};

/// Reads or writes an object's scale.
///
/// # Errors
/// As the object's own reads and writes.
pub async fn handle(call: &Call<'_>, method: &Method, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let scale = kind.definition.and_then(|definition| definition.scale.as_ref());
    let Some(scale) = scale else { return Err(Status::no_such_resource()) };
    let registry = &call.state.registry;
    if method == Method::GET {
        let object = registry.get(kind, call.namespace(), call.name())?;
        return Ok(reply::json(view(scale, &object)?.to_vec()));
    }
    let options = call.write_options()?;
    let media_type = body::media_type(call.headers);
    let text = body::bytes(body).await?;
    let sent = match *method {
        Method::PUT => body::object(&media_type, &text)?.as_value().clone(),
        Method::PATCH => serde_json::from_slice(&text)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?,
        _ => return Err(Status::method_not_allowed()),
    };
    let change = |object: &mut Object| {
        let current = view(scale, object)?;
        let wanted = match (method, media_type.as_str()) {
            (&Method::PUT, _) => sent.clone(),
            (_, "application/json-patch+json") => patch::json(current.as_value(), &sent)?,
            (_, "application/merge-patch+json") => patch::merge(current.as_value(), &sent)?,
            _ => {
                let known = ["application/json-patch+json", "application/merge-patch+json"];
                return Err(Status::unsupported_media_type(&known));
            }
        };
        let replicas = replicas(&wanted, call.name())?;
        let version = wanted.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or("");
        if !version.is_empty() {
            object.set("/metadata/resourceVersion", version);
        }
        if let Some(uid) =
            wanted.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty())
        {
            object.set("/metadata/uid", uid);
        }
        object.set(&scale.spec, replicas);
        Ok(Change::Write)
    };
    let written = registry.modify(kind, call.namespace(), call.name(), options, change).await?;
    Ok(reply::json(view(scale, &written)?.to_vec()))
}

fn replicas(scale: &Value, name: &str) -> Result<i64, Status> {
    let of = |message: String| Status::bad_request(message);
    match (scale.get("apiVersion").and_then(Value::as_str), scale.get("kind").and_then(Value::as_str)) {
        (None | Some("" | "autoscaling/v1"), None | Some("" | "Scale")) => {}
        (version, kind) => {
            return Err(of(format!(
                "expected autoscaling/v1 Scale, got {} {}",
                version.unwrap_or(""),
                kind.unwrap_or("")
            )));
        }
    }
    match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) => {
            match number.as_i64().filter(|number| i32::try_from(*number).is_ok()) {
                Some(replicas) if replicas >= 0 => Ok(replicas),
                Some(replicas) => {
                    let cause =
                        Cause::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
                    Err(invalid("Scale.autoscaling", name, vec![cause]))
                }
                None => Err(of(format!(
                    "json: cannot unmarshal number {number} into Go struct field ScaleSpec.spec.replicas of type int32"
                ))),
            }
        }
        Some(_) => {
            Err(of("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32"
                .to_owned()))
        }
    }
}

fn view(scale: &Scale, object: &Object) -> Result<Object, Status> {
    let number = |pointer: &str| object.i64_at(pointer);
    let Some(replicas) = number(&scale.spec) else {
        let path = scale.spec.replace('/', ".");
        return Err(Status::internal(format!("the spec replicas field \"{path}\" does not exist")));
    };
    let mut metadata = serde_json::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.as_map().get("metadata").and_then(|metadata| metadata.get(key)) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&scale.status).unwrap_or(0)});
    if let Some(selector) =
        scale.selector.as_deref().map(|pointer| object.str_at(pointer)).filter(|text| !text.is_empty())
    {
        status["selector"] = selector.into();
    }
    let view = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": {"replicas": replicas},
        "status": status,
    });
    Object::from_value(view).map_err(Status::internal)
}
