//! What only pods have: binding, log; and what midge does not have yet, refused by name.

use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::Call;
use super::admit::dry_run;
use super::eviction;
use crate::api::kinds::{NODE, POD};
use crate::api::{Object, Reason, Status};
use crate::server::registry::{Change, Subresource, WriteOptions};
use crate::server::reply::{self, Reply};
use crate::server::{body, logs, remote};

pub async fn handle(
    call: &Call<'_>,
    subresource: &str,
    method: &Method,
    body: Incoming,
) -> Result<Reply, Status> {
    match (subresource, method) {
        ("log", &Method::GET) => logs::serve(call).await,
        ("binding", &Method::POST) => bind(call, body).await,
        ("eviction", &Method::POST) => eviction::evict(call, body).await,
        ("exec", &Method::GET | &Method::POST) => remote::exec(call).await,
        ("attach", &Method::GET | &Method::POST) => remote::attach(call).await,
        ("portforward", &Method::GET | &Method::POST) => remote::forward(call).await,
        ("log" | "binding" | "eviction" | "exec" | "attach" | "portforward", _) => {
            Err(Status::method_not_allowed())
        }
        _ => Err(not_there(subresource)),
    }
}

/// 501 with the feature's name.
fn not_there(subresource: &str) -> Status {
    let text = format!("pods/{subresource} is not supported by midge {} yet", crate::VERSION);
    let mut status = Status::new(Reason::Unknown, text);
    status.code = StatusCode::NOT_IMPLEMENTED.as_u16();
    status
}

/// A body of `kind` about the pod of the path.
pub(super) async fn said(call: &Call<'_>, body: Incoming, kind: &str) -> Result<Object, Status> {
    let text = body::bytes(body).await?;
    let object = body::object(&body::media_type(call.headers), &text)?;
    if !matches!(object.kind(), "") && object.kind() != kind {
        return Err(Status::bad_request(format!("{} cannot be handled as a {kind}", object.kind())));
    }
    if !matches!(object.name(), "") && object.name() != call.name() {
        return Err(Status::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    Ok(object)
}

/// 201, as upstream answers a body that is no object of its own.
pub(super) fn done() -> Reply {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    reply::full(StatusCode::CREATED, reply::JSON, status.to_string())
}

/// `POST pods/NAME/binding`: what a scheduler of one's own does.
async fn bind(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let binding = said(call, body, "Binding").await?;
    let node = binding.str_at("/target/name");
    if node.is_empty() || !matches!(binding.str_at("/target/kind"), "" | "Node") {
        return Err(Status::bad_request("a Binding's target must be a Node with a name"));
    }
    call.state.registry.item(NODE, "", node)?;
    let uid = binding.uid();
    let options = WriteOptions {
        subresource: Subresource::Internal,
        dry_run: dry_run(call.query.all("dryRun"))?,
        ..WriteOptions::default()
    };
    let assign = |pod: &mut Object| {
        let name = pod.name();
        let refuse = |why: String| Err(Status::conflict(POD, call.name(), &why));
        if !uid.is_empty() && uid != pod.uid() {
            return refuse(format!("the UID in the binding is {uid}, the pod's is {}", pod.uid()));
        }
        if pod.deletion_timestamp().is_some() {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if !pod.array_at("/spec/schedulingGates").is_empty() {
            return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        match pod.str_at("/spec/nodeName") {
            "" => {}
            other => return refuse(format!("pod {name} is already assigned to node {other:?}")),
        }
        pod.set("/spec/nodeName", node);
        condition(pod, "PodScheduled", "", "");
        Ok(Change::Write)
    };
    call.state.registry.modify(POD, call.namespace(), call.name(), options, assign).await?;
    Ok(done())
}

/// Sets a condition of a pod to true.
pub(super) fn condition(pod: &mut Object, kind: &str, reason: &str, message: &str) {
    let mut condition = json!({"type": kind, "status": "True"});
    for (key, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            condition[key] = text.into();
        }
    }
    pod.set_condition(condition, std::time::SystemTime::now());
}
