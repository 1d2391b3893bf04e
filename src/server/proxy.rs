//! `GET nodes/NAME/proxy/PATH`: what a kubelet would say of itself, asked of the agent over its link.

use hyper::Method;

use super::reply::{self, Reply};
use super::{State, logs};
use crate::api::Status;
use crate::api::kinds::NODE;
use crate::link::{ReadRequest, StreamRequest};

/// Answers for a node, whose name may come as `https:NAME:PORT`, as for upstream's.
///
/// # Errors
/// 404 no such node, or nothing there; 405 for what is no reading; 503 when the node is away.
pub async fn serve(
    state: &std::sync::Arc<State>,
    method: &Method,
    node: &str,
    path: &str,
    query: Option<&str>,
) -> Result<Reply, Status> {
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let name = node.trim_start_matches("https:").trim_start_matches("http:");
    let name = name.split_once(':').map_or(name, |(name, _port)| name);
    state.registry.item(NODE, "", name)?;
    let content_type = match path {
        "stats/summary" => reply::JSON,
        _ => "text/plain; version=0.0.4; charset=utf-8",
    };
    let asked = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let request = StreamRequest::Read(ReadRequest { path: asked });
    logs::relay(state, name, &request, content_type).await
}
