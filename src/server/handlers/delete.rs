//! delete of one object, and DeleteOptions.

use hyper::body::Incoming;

use super::Call;
use super::admit::dry_run;
use crate::api::status::success;
use crate::api::{Cause, Object, Status};
use crate::plan::garbage::Propagation;
use crate::server::body;
use crate::server::options::invalid;
use crate::server::registry::{DeleteOptions, Deleted};
use crate::server::render::Rendering;
use crate::server::reply::{self, Reply};

pub async fn delete(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let options = options(call, body).await?;
    let deleted = call.state.registry.delete(call.stored(), call.namespace(), call.name(), options).await?;
    Ok(match deleted {
        // Upstream answers with the object for these, and where it is still there.
        Deleted::Gone(object) if !matches!(kind.kind, "Pod" | "ServiceAccount") => {
            reply::value(&success(kind, object.name(), object.uid()))
        }
        deleted => reply::json(rendering.object(&deleted.into_object(), true)),
    })
}

/// DeleteOptions from the body, or from the query when there is none.
pub async fn options(call: &Call<'_>, body: Incoming) -> Result<DeleteOptions, Status> {
    let text = body::bytes(body).await?;
    let said = if text.is_empty() {
        let mut said = Object::from_value(serde_json::json!({})).map_err(Status::internal)?;
        let bad = |error: crate::server::query::NotANumber| Status::bad_request(error.to_string());
        if let Some(seconds) = call.query.number::<i64>("gracePeriodSeconds").map_err(bad)? {
            said.set("/gracePeriodSeconds", seconds);
        }
        if let Some(policy) = call.query.text("propagationPolicy") {
            said.set("/propagationPolicy", policy);
        }
        if call.query.text("orphanDependents").is_some() {
            said.set("/orphanDependents", call.query.switch("orphanDependents"));
        }
        said
    } else {
        body::object(&body::media_type(call.headers), &text)?
    };
    let mut options = parse(&said)?;
    options.dry_run |= dry_run(call.query.all("dryRun"))?;
    Ok(options)
}

/// The fields of a `metav1.DeleteOptions`.
pub fn parse(said: &Object) -> Result<DeleteOptions, Status> {
    let mut causes = Vec::new();
    if !matches!(said.kind(), "" | "DeleteOptions") {
        return Err(Status::bad_request(format!("{} cannot be handled as a DeleteOptions", said.kind())));
    }
    let grace_seconds = said.i64_at("/gracePeriodSeconds");
    if said.at("/gracePeriodSeconds").is_some() && grace_seconds.is_none_or(|seconds| seconds < 0) {
        let value = said.at("/gracePeriodSeconds").cloned().unwrap_or_default();
        causes.push(Cause::invalid(
            "gracePeriodSeconds",
            value,
            "must be a number greater than or equal to 0",
        ));
    }
    let propagation = propagation(said, &mut causes);
    if said.bool_at("/ignoreStoreReadErrorWithClusterBreakingPotential") {
        let field = "ignoreStoreReadErrorWithClusterBreakingPotential";
        causes.push(Cause::forbidden(field, "midge does not delete objects that can't be read"));
    }
    if !causes.is_empty() {
        return Err(invalid("DeleteOptions.meta.k8s.io", "", causes));
    }
    let version = said.str_at("/preconditions/resourceVersion");
    let resource_version = match version {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Status::bad_request(format!("preconditions.resourceVersion {text:?} is not a resource version"))
        })?),
    };
    let uid = Some(said.str_at("/preconditions/uid")).filter(|uid| !uid.is_empty()).map(str::to_owned);
    let dry_run = dry_run(said.array_at("/dryRun").iter().filter_map(|value| value.as_str()))?;
    Ok(DeleteOptions { grace_seconds, uid, resource_version, propagation, dry_run })
}

/// `propagationPolicy`, or `orphanDependents`, which is older.
fn propagation(said: &Object, causes: &mut Vec<Cause>) -> Option<Propagation> {
    const POLICY: &str = "propagationPolicy";
    let policy = said.str_at("/propagationPolicy");
    let orphan = said.at("/orphanDependents");
    if orphan.is_some() && !policy.is_empty() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(Cause::invalid(POLICY, policy, why));
    }
    match policy {
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        "" => orphan.map(|orphan| match orphan.as_bool() {
            Some(true) => Propagation::Orphan,
            _ => Propagation::Background,
        }),
        other => {
            causes.push(Cause::not_supported(POLICY, other, &["Foreground", "Background", "Orphan", "nil"]));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: serde_json::Value) -> Result<DeleteOptions, Status> {
        parse(&Object::from_value(value).unwrap())
    }

    #[test]
    fn what_kubectl_sends() {
        let options = parsed(json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "propagationPolicy": "Background", "preconditions": {"uid": "u", "resourceVersion": "7"}
        }))
        .unwrap();
        assert_eq!((options.grace_seconds, options.resource_version), (Some(0), Some(7)));
        assert_eq!((options.uid.as_deref(), options.propagation), (Some("u"), Some(Propagation::Background)));
        let propagation = |said| parsed(said).unwrap().propagation;
        assert_eq!(propagation(json!({"orphanDependents": true})), Some(Propagation::Orphan));
        assert_eq!(propagation(json!({"orphanDependents": false})), Some(Propagation::Background));
        assert_eq!(propagation(json!({})), None);
        assert!(!options.dry_run);
        assert!(parsed(json!({"dryRun": ["All"]})).unwrap().dry_run);
    }

    #[test]
    fn nonsense() {
        for (value, code) in [
            (json!({"kind": "Pod"}), 400),
            (json!({"gracePeriodSeconds": -1}), 422),
            (json!({"gracePeriodSeconds": "soon"}), 422),
            (json!({"propagationPolicy": "Later"}), 422),
            (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422),
            (json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true}), 422),
            (json!({"preconditions": {"resourceVersion": "x"}}), 400),
            (json!({"dryRun": ["Some"]}), 422),
        ] {
            assert_eq!(parsed(value.clone()).unwrap_err().code, code, "{value}");
        }
    }
}
