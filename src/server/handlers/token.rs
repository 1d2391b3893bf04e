//! `POST serviceaccounts/NAME/token`: a TokenRequest (authentication.k8s.io/v1).

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::Call;
use super::admit::dry_run;
use crate::api::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use crate::api::{Cause, Object, Status, time};
use crate::server::accounts::{Ask, MOST_SECONDS};
use crate::server::body;
use crate::server::options::invalid;
use crate::server::reply::{self, Reply};

const KIND: &str = "TokenRequest";
const API_VERSION: &str = "authentication.k8s.io/v1";

pub async fn create(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let text = body::bytes(body).await?;
    let mut request = body::object(&body::media_type(call.headers), &text)?;
    let dry_run = dry_run(call.query.all("dryRun"))?;
    for (found, expected) in [(request.kind(), KIND), (request.api_version(), API_VERSION)] {
        if !found.is_empty() && found != expected {
            return Err(Status::bad_request(format!(
                "{found} cannot be handled as a {KIND} of {API_VERSION}"
            )));
        }
    }
    if !matches!(request.name(), "") && request.name() != call.name() {
        return Err(Status::bad_request("metadata.name does not match the URL"));
    }
    let namespace = call.namespace();
    if !matches!(request.namespace(), "") && request.namespace() != namespace {
        return Err(Status::bad_request("metadata.namespace does not match the URL"));
    }
    let account = call.state.registry.get(SERVICE_ACCOUNT, namespace, call.name())?;
    let audiences = audiences(&request)?;
    let seconds = seconds(&request)?;
    let bound = bound(call, &request, &account)?;
    let ask = Ask { account: &account, bound, audiences, seconds };
    let now = SystemTime::now();
    let issued = call.state.accounts.issue(ask, now)?;
    request.set("/kind", KIND);
    request.set("/apiVersion", API_VERSION);
    request.set(
        "/metadata",
        json!({
            "name": account.name(), "namespace": namespace, "creationTimestamp": time::format(now),
        }),
    );
    request.set("/spec/audiences", issued.audiences);
    request.set("/spec/expirationSeconds", seconds);
    let token = if dry_run { String::new() } else { issued.token };
    request.set("/status", json!({ "token": token, "expirationTimestamp": time::format(issued.expires) }));
    Ok(reply::full(StatusCode::CREATED, reply::JSON, request.to_vec()))
}

fn audiences(request: &Object) -> Result<Vec<String>, Status> {
    let list = request.array_at("/spec/audiences").iter();
    let audiences: Option<Vec<String>> = list.map(|audience| audience.as_str().map(str::to_owned)).collect();
    audiences.ok_or_else(|| Status::bad_request("spec.audiences must be a list of strings"))
}

fn seconds(request: &Object) -> Result<u64, Status> {
    const FIELD: &str = "spec.expirationSeconds";
    let asked = match request.at("/spec/expirationSeconds") {
        None | Some(Value::Null) => return Ok(3600),
        Some(value) => {
            value.as_i64().ok_or_else(|| Status::bad_request(format!("{FIELD} must be a number")))?
        }
    };
    let detail = match u64::try_from(asked) {
        Ok(seconds) if (600..=MOST_SECONDS).contains(&seconds) => return Ok(seconds),
        Ok(seconds) if seconds > MOST_SECONDS => "may not specify a duration larger than 2^32 seconds",
        _ => "may not specify a duration less than 10 minutes",
    };
    Err(invalid("TokenRequest.authentication.k8s.io", "", vec![Cause::invalid(FIELD, asked, detail)]))
}

/// What the token is to end with.
fn bound(call: &Call<'_>, request: &Object, account: &Object) -> Result<Map<String, Value>, Status> {
    let at = |field: &str| request.str_at(&format!("/spec/boundObjectRef/{field}"));
    if request.map_at("/spec/boundObjectRef").is_none() {
        return Ok(Map::new());
    }
    let (field, kind) = match (at("apiVersion"), at("kind")) {
        ("v1", "Pod") => ("pod", POD),
        ("v1", "Secret") => ("secret", SECRET),
        ("v1", "Node") => ("node", NODE),
        (version, kind) => {
            let version = version.rsplit_once('/').unwrap_or(("", version));
            let text =
                format!("cannot bind token to object of type {}/{}, Kind={kind}", version.0, version.1);
            return Err(Status::bad_request(text));
        }
    };
    let object = call.state.registry.get(kind, call.namespace(), at("name"))?;
    if kind == POD && object.str_at("/spec/serviceAccountName") != account.name() {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name()
        )));
    }
    let uid = at("uid");
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(kind, object.name(), &why));
    }
    Ok(call.state.accounts.bound_to(field, &object))
}
