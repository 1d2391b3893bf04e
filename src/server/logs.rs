//! `GET pods/NAME/log`: a container's output, streamed from its node over the link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{future, stream};
use hyper::StatusCode;
use serde_json::Value;
use smol::Timer;

use super::State;
use super::handlers::Call;
use super::options::invalid;
use super::query::Query;
use super::reply::{self, Reply};
use crate::api::kinds::POD;
use crate::api::{Cause, Object, Status, time};
use crate::http::body;
use crate::link::{Chunk, LogRequest, Stream, StreamError, StreamRequest};

/// How long the first output may take before the response's header is sent without it. An error that
/// comes within that time is answered as one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers the subresource.
///
/// # Errors
/// 404, and 400 or 422 with upstream's words for what can't be shown; 503 when the node is away.
pub async fn serve(call: &Call<'_>) -> Result<Reply, Status> {
    let pod = call.state.registry.get(POD, call.namespace(), call.name())?;
    let request = request(&pod, &call.query)?;
    let node = pod.str_at("/spec/nodeName");
    if node.is_empty() {
        // As upstream: nothing has run, nothing is there to read.
        return Ok(reply::full(StatusCode::OK, reply::TEXT, Bytes::new()));
    }
    check_started(&pod, &request.container, request.previous)?;
    relay(call.state, node, &StreamRequest::Log(request), reply::TEXT).await
}

/// Answers with what a node says on a stream.
pub(super) async fn relay(
    state: &Arc<State>,
    node: &str,
    request: &StreamRequest,
    content_type: &'static str,
) -> Result<Reply, Status> {
    let stream = state.links.open(node, request).await?;
    // `read` is cancel-safe: what is not there in time is read by the response's body.
    let late = async {
        Timer::after(PATIENCE).await;
        None
    };
    let first = future::or(async { Some(stream.read().await) }, late).await;
    match first {
        Some(Ok(Chunk::End { status })) if !status.is_empty() => Err(told(&status)),
        Some(Err(error)) => Err(Status::service_unavailable(format!("no answer of node {node}: {error}"))),
        Some(Ok(Chunk::End { .. })) => Ok(reply::full(StatusCode::OK, content_type, Bytes::new())),
        Some(Ok(Chunk::Data { data, .. })) => Ok(respond(state.clone(), stream, Some(data), content_type)),
        None => Ok(respond(state.clone(), stream, None, content_type)),
    }
}

/// What the agent ended the stream with.
fn told(status: &[u8]) -> Status {
    Status::from_slice(status).unwrap_or_else(|| Status::internal("the node gave a reason that is no Status"))
}

fn respond(state: Arc<State>, stream: Stream, first: Option<Bytes>, content_type: &'static str) -> Reply {
    let pieces = stream::unfold(Some((state, stream, first)), |reading| async {
        let (state, stream, first) = reading?;
        if let Some(first) = first {
            return Some((Ok(first), Some((state, stream, None))));
        }
        let closing = async {
            let _ = state.closing.recv().await;
            Err(StreamError::LinkLost)
        };
        match future::or(stream.read(), closing).await {
            Ok(Chunk::Data { data, .. }) => Some((Ok(data), Some((state, stream, None)))),
            Ok(Chunk::End { status }) if status.is_empty() => None,
            // The header is sent: cutting the body is the only way left to say that it is not whole.
            Ok(Chunk::End { status }) => Some((Err(io::Error::other(told(&status))), None)),
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    });
    reply::with_body(StatusCode::OK, content_type, body::stream(pieces))
}

/// PodLogOptions from the query.
fn request(pod: &Object, query: &Query<'_>) -> Result<LogRequest, Status> {
    let bad = |error: super::query::NotANumber| Status::bad_request(error.to_string());
    let tail: Option<i64> = query.number("tailLines").map_err(bad)?;
    let since_seconds: Option<i64> = query.number("sinceSeconds").map_err(bad)?;
    let limit_bytes: Option<i64> = query.number("limitBytes").map_err(bad)?;
    let since_time = query.text("sinceTime");
    let mut causes = Vec::new();
    let mut at_least = |field: &str, value: Option<i64>, least: i64, text: &str| {
        if let Some(value) = value.filter(|&value| value < least) {
            causes.push(Cause::invalid(field, value, text));
        }
    };
    at_least("tailLines", tail, 0, "must be greater than or equal to 0");
    at_least("limitBytes", limit_bytes, 1, "must be greater than 0");
    at_least("sinceSeconds", since_seconds, 1, "must be greater than 0");
    if since_seconds.is_some() && since_time.is_some() {
        causes.push(Cause::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if let Some(text) = since_time.filter(|text| time::parse(text).is_none()) {
        causes.push(Cause::invalid("sinceTime", text, "must be a time such as 2026-01-02T03:04:05Z"));
    }
    if let Some(other) = query.text("stream").filter(|stream| *stream != "All") {
        causes.push(Cause::not_supported("stream", other, &["All"]));
    }
    if !causes.is_empty() {
        return Err(invalid("PodLogOptions", pod.name(), causes));
    }
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Ok(LogRequest {
        namespace: pod.namespace().to_owned(),
        pod: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        container: container(pod, query.text("container"))?.to_owned(),
        follow: query.switch("follow"),
        previous: query.switch("previous"),
        timestamps: query.switch("timestamps"),
        tail: positive(tail),
        since_seconds: positive(since_seconds),
        since_time: since_time.map(str::to_owned),
        limit_bytes: positive(limit_bytes),
    })
}

pub(super) const LISTS: [(&str, &str); 3] = [
    ("/spec/containers", "/status/containerStatuses"),
    ("/spec/initContainers", "/status/initContainerStatuses"),
    ("/spec/ephemeralContainers", "/status/ephemeralContainerStatuses"),
];

/// The container that is meant.
pub(super) fn container<'p>(pod: &'p Object, asked: Option<&'p str>) -> Result<&'p str, Status> {
    let names = |list: &str| -> Vec<&'p str> {
        pod.array_at(list).iter().filter_map(|container| container["name"].as_str()).collect()
    };
    let containers = names(LISTS[0].0);
    if let Some(asked) = asked {
        let known = LISTS.iter().any(|(list, _)| names(list).contains(&asked));
        return match known {
            true => Ok(asked),
            false => {
                Err(Status::bad_request(format!("container {asked} is not valid for pod {}", pod.name())))
            }
        };
    }
    if let [only] = containers.as_slice() {
        return Ok(only);
    }
    let mut text = format!("a container name must be specified for pod {}", pod.name());
    if !containers.is_empty() {
        text += &format!(", choose one of: [{}]", containers.join(" "));
    }
    let first = names(LISTS[1].0);
    if !first.is_empty() {
        text += &format!(" or one of the init containers: [{}]", first.join(" "));
    }
    Err(Status::bad_request(text))
}

/// Whether there is an output to show, in the words of the kubelet.
fn check_started(pod: &Object, container: &str, previous: bool) -> Result<(), Status> {
    let mut statuses = LISTS.iter().flat_map(|(_, list)| pod.array_at(list));
    let refuse = |text: String| Err(Status::bad_request(text));
    let name = pod.name();
    let Some(status) = statuses.find(|status| status["name"] == container) else {
        return refuse(format!(
            "container \"{container}\" in pod \"{name}\" is waiting to start: ContainerCreating"
        ));
    };
    let is = |pointer: &str| status.pointer(pointer).is_some_and(Value::is_object);
    let ran_before = is("/lastState/terminated");
    if previous {
        return match ran_before {
            true => Ok(()),
            false => {
                refuse(format!("previous terminated container \"{container}\" in pod \"{name}\" not found"))
            }
        };
    }
    if is("/state/running") || is("/state/terminated") || ran_before {
        return Ok(());
    }
    let why = match status.pointer("/state/waiting/reason").and_then(Value::as_str).unwrap_or("") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        "" => "no logs yet",
        other => other,
    };
    refuse(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Object {
        Object::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
            "status": {"containerStatuses": [
                {"name": "a", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}},
                {"name": "b", "state": {"waiting": {"reason": "ErrImageNeverPull"}}}
            ]}
        }))
        .unwrap()
    }

    fn message(query: &str) -> String {
        request(&pod(), &Query::parse(query)).unwrap_err().message
    }

    #[test]
    fn options() {
        let asked =
            request(&pod(), &Query::parse("container=a&follow=true&tailLines=0&sinceSeconds=5")).unwrap();
        assert_eq!((asked.tail, asked.since_seconds, asked.limit_bytes), (Some(0), Some(5), None));
        assert!(asked.follow && !asked.previous);
        assert!(message("container=a&tailLines=-1").contains("tailLines: Invalid value: -1"));
        assert!(message("container=a&limitBytes=0").contains("limitBytes"));
        assert!(message("container=a&sinceTime=yesterday").contains("sinceTime"));
        let both = "container=a&sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z";
        assert!(message(both).contains("at most one of"));
        assert_eq!(request(&pod(), &Query::parse("tailLines=x")).unwrap_err().code, 400);
    }

    #[test]
    fn upstreams_words() {
        assert_eq!(
            message(""),
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(message("container=x"), "container x is not valid for pod web");
        let started = |container, previous| check_started(&pod(), container, previous).map_err(|e| e.message);
        assert_eq!(started("a", false), Ok(()));
        assert_eq!(started("a", true), Ok(()));
        assert_eq!(
            started("b", false).unwrap_err(),
            "container \"b\" in pod \"web\" is waiting to start: ErrImageNeverPull"
        );
        assert_eq!(
            started("b", true).unwrap_err(),
            "previous terminated container \"b\" in pod \"web\" not found"
        );
        assert!(started("i", false).unwrap_err().contains("waiting to start"));
    }
}
