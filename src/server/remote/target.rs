//! What a client wants to talk to, checked in the words of upstream.

use serde_json::Value;

use crate::api::kinds::POD;
use crate::api::{Object, Status};
use crate::server::handlers::Call;
use crate::server::logs;
use crate::server::query::Query;

/// A running pod on a node, and one of its containers.
pub(super) struct Target {
    pub(super) node: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    /// Empty for a port.
    pub(super) container: String,
    /// The container has a terminal.
    pub(super) tty: bool,
}

/// Which of a program's standard streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

/// PodExecOptions and PodAttachOptions have them in common.
pub(super) fn streams(query: &Query<'_>) -> Result<Streams, Status> {
    let tty = query.switch("tty");
    let streams = Streams {
        stdin: query.switch("stdin"),
        stdout: query.switch("stdout"),
        // A terminal has one output.
        stderr: query.switch("stderr") && !tty,
        tty,
    };
    match streams.stdin || streams.stdout || streams.stderr {
        true => Ok(streams),
        false => Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr")),
    }
}

impl Target {
    /// `verb` is what is to be done with the container.
    pub(super) fn container(call: &Call<'_>, verb: &str) -> Result<Self, Status> {
        let pod = call.state.registry.get(POD, call.namespace(), call.name())?;
        let name = logs::container(&pod, call.query.text("container"))?.to_owned();
        let phase = pod.str_at("/status/phase");
        if matches!(phase, "Succeeded" | "Failed") {
            let text = format!("cannot {verb} into a container in a completed pod; current phase is {phase}");
            return Err(Status::bad_request(text));
        }
        let node = node(&pod)?;
        running(&pod, &name)?;
        let tty = logs::LISTS.iter().flat_map(|(list, _)| pod.array_at(list));
        let tty = tty.filter(|container| container["name"] == name.as_str());
        let tty = tty.take(1).any(|container| container["tty"] == true);
        Ok(Self { container: name, tty, ..Self::of(&pod, node) })
    }

    pub(super) fn pod(call: &Call<'_>) -> Result<Self, Status> {
        let pod = call.state.registry.get(POD, call.namespace(), call.name())?;
        let node = node(&pod)?;
        match pod.str_at("/status/phase") {
            "Running" => Ok(Self::of(&pod, node)),
            phase => Err(Status::bad_request(format!(
                "unable to forward port because pod is not running. Current status={phase}"
            ))),
        }
    }

    fn of(pod: &Object, node: String) -> Self {
        Self {
            node,
            namespace: pod.namespace().to_owned(),
            pod: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            container: String::new(),
            tty: false,
        }
    }
}

fn node(pod: &Object) -> Result<String, Status> {
    match pod.str_at("/spec/nodeName") {
        "" => Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name()))),
        node => Ok(node.to_owned()),
    }
}

/// The first words are the kubelet's.
fn running(pod: &Object, name: &str) -> Result<(), Status> {
    let mut statuses = logs::LISTS.iter().flat_map(|(_, list)| pod.array_at(list));
    let state = statuses.find(|status| status["name"] == name).and_then(|status| status.get("state"));
    if state.and_then(|state| state.get("running")).is_some_and(Value::is_object) {
        return Ok(());
    }
    let reason = ["/terminated/reason", "/waiting/reason"];
    let mut reason = reason.iter().filter_map(|pointer| state?.pointer(pointer)?.as_str());
    let text = format!("container not found (\"{name}\"): it is not running");
    Err(Status::bad_request(match reason.next() {
        Some(reason) if !reason.is_empty() => format!("{text} ({reason})"),
        _ => text,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn which_streams() {
        let of = |query: &str| streams(&Query::parse(query));
        let all = of("stdin=true&stdout=1&stderr").unwrap();
        assert_eq!(all, Streams { stdin: true, stdout: true, stderr: true, tty: false });
        assert!(!of("stdout=true&stderr=true&tty=true").unwrap().stderr);
        assert_eq!(of("tty=true&stderr=true&stdin=false").unwrap_err().code, 400);
    }

    #[test]
    fn only_what_runs() {
        let pod = Object::from_value(json!({"status": {
            "containerStatuses": [
                {"name": "a", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}},
                {"name": "b", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            "ephemeralContainerStatuses": [{"name": "e", "state": {"running": {}}}],
        }}))
        .unwrap();
        assert_eq!(running(&pod, "a"), Ok(()));
        assert_eq!(running(&pod, "e"), Ok(()));
        let refused = |name| running(&pod, name).unwrap_err().message;
        assert_eq!(refused("b"), "container not found (\"b\"): it is not running (CrashLoopBackOff)");
        assert_eq!(refused("c"), "container not found (\"c\"): it is not running");
    }
}
