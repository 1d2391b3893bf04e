//! `TokenReview`, `SubjectAccessReview` and their kin: what the server thinks of users and rights.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::auth::{self, User};
use super::authorize::{Attributes, Rule};
use super::body;
use super::handlers::Call;
use super::render::Rendering;
use super::reply::{self, Reply};
use crate::api::kinds::{
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW, SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW,
};
use crate::api::{Cause, Object, Status};

/// Answers a question.
///
/// # Errors
/// 400 and 422 for one that is none.
pub async fn create(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let rendering = Rendering::negotiate(call.target.kind, call.headers, &call.query)?;
    let validation = call.field_validation()?;
    let text = body::bytes(body).await?;
    let mut review = body::object(&body::media_type(call.headers), &text)?;
    call.claim(&mut review)?;
    call.shape(&mut review, None, validation)?;
    let status = answer(call, &review)?;
    review.set("/status", status);
    Ok(reply::full(StatusCode::CREATED, reply::JSON, rendering.object(&review, true)))
}

fn answer(call: &Call<'_>, review: &Object) -> Result<Value, Status> {
    let kind = call.target.kind;
    match kind {
        kind if kind == SELF_SUBJECT_REVIEW => Ok(json!({ "userInfo": user_info(call.user) })),
        kind if kind == TOKEN_REVIEW => token(call, review),
        kind if kind == SELF_SUBJECT_RULES_REVIEW => rules(call, review),
        kind if kind == SELF_SUBJECT_ACCESS_REVIEW => {
            refuse(call, check(review, Asked::Myself))?;
            access(call, call.user, review)
        }
        kind if kind == SUBJECT_ACCESS_REVIEW || kind == LOCAL_SUBJECT_ACCESS_REVIEW => {
            let asked = if kind.namespaced { Asked::Here } else { Asked::Anybody };
            refuse(call, check(review, asked))?;
            access(call, &subject(review), review)
        }
        _ => Err(Status::method_not_allowed()),
    }
}

fn refuse(call: &Call<'_>, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(call.target.kind, "", causes)) }
}

/// Whose rights a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Myself,
    Anybody,
    /// Anybody's, in the review's namespace.
    Here,
}

/// Upstream's rules for access reviews.
fn check(review: &Object, asked: Asked) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (resource, path) = ("/spec/resourceAttributes", "/spec/nonResourceAttributes");
    match (review.at(resource).is_some(), review.at(path).is_some()) {
        (true, true) => causes.push(Cause::invalid(
            "spec.nonResourceAttributes",
            "",
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => causes.push(Cause::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = review.str_at("/spec/user").is_empty() && review.array_at("/spec/groups").is_empty();
    if asked != Asked::Myself && nobody {
        causes.push(Cause::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    if asked == Asked::Here {
        if review.at(path).is_some() {
            let text = "disallowed on this kind of request";
            causes.push(Cause::invalid("spec.nonResourceAttributes", "", text));
        }
        let namespace = review.str_at("/spec/resourceAttributes/namespace");
        if review.at(resource).is_some() && namespace != review.namespace() {
            let text = "must match metadata.namespace";
            causes.push(Cause::invalid("spec.resourceAttributes.namespace", namespace, text));
        }
    }
    causes
}

/// The user that a SubjectAccessReview describes.
fn subject(review: &Object) -> User {
    let texts = |list: &[Value]| list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, values) in review.map_at("/spec/extra").into_iter().flatten() {
        extra.insert(key.clone(), texts(values.as_array().map_or(&[][..], Vec::as_slice)));
    }
    User {
        name: review.str_at("/spec/user").to_owned(),
        uid: review.str_at("/spec/uid").to_owned(),
        groups: texts(review.array_at("/spec/groups")),
        extra,
    }
}

fn access(call: &Call<'_>, user: &User, review: &Object) -> Result<Value, Status> {
    let text = |name: &str| review.str_at(&format!("/spec/resourceAttributes/{name}"));
    let wanted = match review.at("/spec/nonResourceAttributes") {
        Some(_) => Attributes {
            verb: review.str_at("/spec/nonResourceAttributes/verb"),
            path: review.str_at("/spec/nonResourceAttributes/path"),
            ..Attributes::default()
        },
        None => Attributes {
            verb: text("verb"),
            group: text("group"),
            // What names no resource is about none, and no path either.
            resource: if text("resource").is_empty() { "?" } else { text("resource") },
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            path: "",
        },
    };
    let decision = call.state.access.decide(user, &wanted)?;
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

fn rules(call: &Call<'_>, review: &Object) -> Result<Value, Status> {
    let namespace = review.str_at("/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, wrong) = call.state.access.rules(call.user, namespace)?;
    let pick = |paths: bool| -> Vec<Value> {
        rules.iter().filter(|rule| rule.paths.is_empty() != paths).map(Rule::to_json).collect()
    };
    let mut status =
        json!({ "resourceRules": pick(false), "nonResourceRules": pick(true), "incomplete": false });
    if !wrong.is_empty() {
        status["evaluationError"] = wrong.join(", ").into();
    }
    Ok(status)
}

fn token(call: &Call<'_>, review: &Object) -> Result<Value, Status> {
    let secret = review.str_at("/spec/token");
    if secret.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = review.array_at("/spec/audiences").iter().filter_map(Value::as_str);
    let audiences: Vec<String> = audiences.map(str::to_owned).collect();
    Ok(match auth::verify(call.state, secret, &audiences) {
        None => json!({ "user": {}, "error": "invalid bearer token" }),
        Some(proof) => {
            let mut status = json!({ "authenticated": true, "user": user_info(&proof.user.authenticated()) });
            if !proof.audiences.is_empty() {
                status["audiences"] = proof.audiences.into();
            }
            status
        }
    })
}

/// `authentication.v1.UserInfo`.
fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".to_owned(), user.uid.as_str().into());
    }
    info.insert("groups".to_owned(), json!(user.groups));
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    info.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_access_reviews_may_say() {
        let resource = json!({"verb": "get", "resource": "pods", "namespace": "web"});
        let path = json!({"verb": "get", "path": "/metrics"});
        let cases: &[(Asked, Value, &[&str])] = &[
            (Asked::Myself, json!({ "resourceAttributes": resource }), &[]),
            (Asked::Myself, json!({ "nonResourceAttributes": path }), &[]),
            (Asked::Myself, json!({}), &["spec.resourceAttributes"]),
            (
                Asked::Myself,
                json!({ "resourceAttributes": resource, "nonResourceAttributes": path }),
                &["spec.nonResourceAttributes"],
            ),
            (Asked::Anybody, json!({ "resourceAttributes": resource }), &["spec.user"]),
            (Asked::Anybody, json!({ "user": "jane", "resourceAttributes": resource }), &[]),
            (Asked::Anybody, json!({ "groups": ["a"], "resourceAttributes": resource }), &[]),
            (Asked::Here, json!({ "user": "jane", "resourceAttributes": resource }), &[]),
            (
                Asked::Here,
                json!({ "user": "jane", "resourceAttributes": {"namespace": "other"} }),
                &["spec.resourceAttributes.namespace"],
            ),
            (
                Asked::Here,
                json!({ "user": "jane", "nonResourceAttributes": path }),
                &["spec.nonResourceAttributes"],
            ),
        ];
        for (asked, spec, expected) in cases {
            let review =
                Object::from_value(json!({ "metadata": {"namespace": "web"}, "spec": spec })).unwrap();
            let fields: Vec<String> = check(&review, *asked).into_iter().map(|cause| cause.field).collect();
            assert_eq!(fields, *expected, "{asked:?} {spec}");
        }
    }
}
