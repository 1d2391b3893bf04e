//! What decisions need of a target's pods.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::api::quantity::Quantity;
use crate::api::{Object, time};

/// For so long after its start a pod's use of processors may be that of its beginning.
const INITIALIZATION: Duration = Duration::from_secs(300);
/// A pod that stopped being ready so soon after its start has never been ready.
const FIRST_READINESS: Duration = Duration::from_secs(30);
/// What a sample is taken over.
const WINDOW: Duration = Duration::from_secs(15);

/// The resources that are measured, in the order of [`Used`] and requests.
pub(super) const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// A pod of a target.
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub node: String,
    phase: Phase,
    started: Option<SystemTime>,
    /// Whether its condition Ready is False, and since when it is what it is.
    unready: Option<(bool, SystemTime)>,
    containers: Vec<Container>,
    /// What it uses, where that is known.
    pub usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Failed, or about to go.
    Gone,
    Pending,
    Other,
}

struct Container {
    name: String,
    requests: [Option<i64>; 2],
}

/// What the containers of a pod used at a time.
#[derive(Clone)]
pub struct Usage {
    pub at: SystemTime,
    pub containers: Vec<Used>,
}

/// What a container uses of processors and memory, in thousandths.
#[derive(Clone)]
pub struct Used {
    pub name: String,
    pub amounts: [i64; 2],
}

/// How a pod counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    Ignored,
    Unready,
    Missing,
    Ready(i64),
}

impl Pod {
    pub fn of(pod: &Object) -> Self {
        let sidecars = pod.array_at("/spec/initContainers").iter();
        let sidecars = sidecars.filter(|container| container["restartPolicy"] == "Always");
        Self {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            node: pod.str_at("/spec/nodeName").to_owned(),
            phase: match pod.str_at("/status/phase") {
                "Failed" => Phase::Gone,
                _ if pod.deletion_timestamp().is_some() => Phase::Gone,
                "Pending" => Phase::Pending,
                _ => Phase::Other,
            },
            started: pod.time_at("/status/startTime"),
            unready: pod.condition("Ready").map(|condition| {
                let since = condition["lastTransitionTime"].as_str().and_then(time::parse);
                (condition["status"] == "False", since.unwrap_or(SystemTime::UNIX_EPOCH))
            }),
            containers: pod.array_at("/spec/containers").iter().chain(sidecars).map(Container::of).collect(),
            usage: None,
        }
    }

    /// How the pod counts for a resource, by its place in [`RESOURCES`], of one container or ("") of all.
    pub(super) fn standing(&self, resource: usize, container: &str, now: SystemTime) -> Standing {
        let value = match self.phase {
            Phase::Gone => return Standing::Ignored,
            Phase::Pending => return Standing::Unready,
            Phase::Other => {
                self.usage.as_ref().and_then(|usage| Some((usage.at, usage.of(resource, container)?)))
            }
        };
        match value {
            None => Standing::Missing,
            Some((at, _)) if RESOURCES.get(resource) == Some(&"cpu") && self.is_unready(at, now) => {
                Standing::Unready
            }
            Some((_, value)) => Standing::Ready(value),
        }
    }

    /// Whether what it used of processors until `at` tells nothing of its work.
    fn is_unready(&self, at: SystemTime, now: SystemTime) -> bool {
        let (Some(started), Some((is_false, since))) = (self.started, self.unready) else { return true };
        if started + INITIALIZATION > now {
            is_false || at < since + WINDOW
        } else {
            is_false && started + FIRST_READINESS > since
        }
    }

    /// What its containers, or the one of this name, ask for.
    pub(super) fn request(&self, resource: usize, container: &str) -> Result<i64, String> {
        let name = RESOURCES.get(resource).copied().unwrap_or_default();
        let mut sum = 0_i64;
        let mut wanted =
            self.containers.iter().filter(|one| container.is_empty() || one.name == container).peekable();
        if wanted.peek().is_none() && !container.is_empty() {
            return Err(format!("container {container} not found in Pod {}", self.name));
        }
        for one in wanted {
            let request = one.requests.get(resource).copied().flatten();
            sum = sum.saturating_add(request.ok_or_else(|| {
                format!("missing request for {name} in container {} of Pod {}", one.name, self.name)
            })?);
        }
        Ok(sum)
    }
}

impl Container {
    fn of(container: &Value) -> Self {
        let requests = &container["resources"]["requests"];
        let request = |name| Quantity::from_json(requests.get(name)?).ok().map(Quantity::milli);
        Self {
            name: container["name"].as_str().unwrap_or_default().to_owned(),
            requests: RESOURCES.map(request),
        }
    }
}

impl Usage {
    /// What one container uses, or ("") all do.
    pub(super) fn of(&self, resource: usize, container: &str) -> Option<i64> {
        let mut all =
            self.containers.iter().filter(|one| container.is_empty() || one.name == container).peekable();
        all.peek()?;
        all.try_fold(0_i64, |sum, one| Some(sum.saturating_add(*one.amounts.get(resource)?)))
    }
}
