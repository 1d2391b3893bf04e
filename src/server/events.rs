//! Event objects: what `kubectl describe` shows at its end. Repeated ones are counted, old ones expire.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::Executor;
use crate::api::kinds::EVENT;
use crate::api::{Object, Reason, Status, time};
use crate::server::registry::{Change, Registry, Subresource, WriteOptions};
use crate::store::{self, Durability, Entry, Expect};

/// How long an event is kept after it last happened.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// How many events are kept; those that happened longest ago go first. All of them take about half a megabyte.
pub const LIMIT: usize = 600;
/// What a message may be long, in bytes (upstream's limit).
const MESSAGE: usize = 1024;
/// Expired events are looked for at most this often.
const ROUND: Duration = Duration::from_secs(60);

const LAZY: WriteOptions = WriteOptions {
    subresource: Subresource::Internal,
    durability: Durability::Lazy,
    ..WriteOptions::DEFAULT
};

/// `Normal` and `Warning`: the types that Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Normal,
    Warning,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records that something happened to `regarding`. The same reason and message about the same object
/// (by uid) counts up the event that is there. Lazy: an event may be lost with the process.
/// `source` is the component, such as `scheduler`.
///
/// Errors: the store's, and 403 in a namespace that is being deleted; callers log them at most.
pub async fn record(
    registry: &Registry,
    regarding: &Object,
    kind: Type,
    reason: &str,
    message: &str,
    source: &str,
) -> Result<(), Status> {
    let involved = json!({
        "apiVersion": regarding.api_version(),
        "kind": regarding.kind(),
        "namespace": regarding.namespace(),
        "name": regarding.name(),
        "uid": regarding.uid(),
        "resourceVersion": regarding.str_at("/metadata/resourceVersion"),
    });
    let source = json!({"component": source});
    keep(registry, Happening { involved, kind, reason, message, source, at: SystemTime::now() }).await
}

/// Stores an event that an agent made (`ToServer::Event`), with the same counting. `node` is who says so
/// and becomes its source's host.
///
/// Errors: as [`record`], and 400 for an event about nothing.
pub async fn accept(registry: &Registry, event: Object, node: &str) -> Result<(), Status> {
    let involved = event.at("/involvedObject").cloned().unwrap_or_default();
    if involved["name"].as_str().is_none_or(str::is_empty) {
        return Err(Status::bad_request("an event must say what it is about in involvedObject"));
    }
    let component = match event.str_at("/source/component") {
        "" => "midge-agent",
        component => component,
    };
    let happening = Happening {
        involved,
        kind: if event.str_at("/type") == "Warning" { Type::Warning } else { Type::Normal },
        reason: event.str_at("/reason"),
        message: event.str_at("/message"),
        source: json!({"component": component, "host": node}),
        at: event.time_at("/lastTimestamp").unwrap_or_else(SystemTime::now),
    };
    keep(registry, happening).await
}

/// One thing that happened once.
struct Happening<'a> {
    involved: Value,
    kind: Type,
    reason: &'a str,
    message: &'a str,
    source: Value,
    at: SystemTime,
}

impl Happening<'_> {
    fn namespace(&self) -> &str {
        // What has no namespace has its events in `default`, as upstream.
        match self.involved["namespace"].as_str().unwrap_or_default() {
            "" => "default",
            namespace => namespace,
        }
    }

    /// The subject's part of the name.
    fn stem(&self) -> &str {
        let subject = self.involved["name"].as_str().unwrap_or_default();
        cut(subject, 253 - 17).trim_end_matches(['.', '-'])
    }

    /// As upstream's, `web.18b2f7d0b1a3e594`: lists, which are in the order of names, show what came first first.
    fn name(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:016x}", self.stem(), now.as_nanos())
    }

    /// The event that is there already for the same, by name.
    fn known(&self, registry: &Registry) -> Option<String> {
        let prefix = format!("{}{}.", EVENT.prefix(Some(self.namespace())), self.stem());
        let entries = registry.store().list(&prefix, None, 0).entries;
        entries.iter().find_map(|entry| {
            let event = Object::from_slice(&entry.value).ok()?;
            self.repeats(&event).then(|| event.name().to_owned())
        })
    }

    fn repeats(&self, event: &Object) -> bool {
        let same = |pointer: &str, text: &Value| event.str_at(pointer) == text.as_str().unwrap_or_default();
        event.str_at("/reason") == self.reason
            && event.str_at("/message") == cut(self.message, MESSAGE)
            && event.str_at("/type") == self.kind.as_str()
            && same("/involvedObject/uid", &self.involved["uid"])
            && same("/involvedObject/fieldPath", &self.involved["fieldPath"])
            && same("/source/component", &self.source["component"])
            && same("/source/host", &self.source["host"])
    }

    fn object(&self) -> Object {
        let mut event = Object::new(EVENT, self.namespace(), &self.name());
        let at = time::format(self.at);
        event.set("/involvedObject", self.involved.clone());
        for (pointer, text) in [
            ("/reason", self.reason),
            ("/message", cut(self.message, MESSAGE)),
            ("/type", self.kind.as_str()),
            ("/firstTimestamp", &at),
            ("/lastTimestamp", &at),
            ("/reportingComponent", self.source["component"].as_str().unwrap_or_default()),
            ("/reportingInstance", self.source["host"].as_str().unwrap_or_default()),
        ] {
            event.set(pointer, text);
        }
        event.set("/source", self.source.clone());
        event.set("/count", 1);
        event
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

async fn keep(registry: &Registry, happening: Happening<'_>) -> Result<(), Status> {
    let namespace = happening.namespace();
    let at = time::format(happening.at);
    // It may expire, or another of its name be made, in between.
    for _ in 0..3 {
        if let Some(name) = happening.known(registry) {
            let count = |event: &mut Object| {
                event.set("/count", event.i64_at("/count").unwrap_or(1).saturating_add(1));
                event.set("/lastTimestamp", at.as_str());
                Ok(Change::Write)
            };
            match registry.modify(EVENT, namespace, &name, LAZY, count).await {
                Err(status) if status.reason == Reason::NotFound => continue,
                other => return other.map(drop),
            }
        }
        match registry.create(EVENT, happening.object(), LAZY).await {
            Err(status) if status.reason == Reason::AlreadyExists => {}
            other => {
                bound(registry).await;
                return other.map(drop);
            }
        }
    }
    Ok(())
}

/// All events, that which happened longest ago first: revisions tell without parsing.
fn by_age(registry: &Registry) -> Vec<Entry> {
    let mut entries = registry.store().list(&EVENT.prefix(None), None, 0).entries;
    entries.sort_unstable_by_key(|entry| entry.revision);
    entries
}

async fn bound(registry: &Registry) {
    let count = registry.store().list(&EVENT.prefix(None), None, 1).more + 1;
    if count > LIMIT {
        for entry in by_age(registry).into_iter().take(count - LIMIT) {
            remove(registry, &entry).await;
        }
    }
}

async fn remove(registry: &Registry, entry: &Entry) {
    let expect = Expect::Revision(entry.revision);
    match registry.store().delete(&entry.key, expect, Durability::Lazy).await {
        // Somebody else was faster, or it happened again.
        Ok(_) | Err(store::Error::Conflict { .. }) => {}
        Err(error) => log::debug!("failed to remove the expired {}: {error}", entry.key),
    }
}

/// Removes expired events until the task is dropped; sleeps until the next one expires.
pub fn expire(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        loop {
            let revision = registry.store().revision();
            match expire_once(&registry, SystemTime::now()).await {
                Some(pause) => _ = smol::Timer::after(pause.max(ROUND)).await,
                None => match registry.store().watch(&EVENT.prefix(None), revision) {
                    // Whatever it says, there may be events now.
                    Ok(mut watch) => drop(watch.next().await),
                    Err(_) => smol::future::yield_now().await,
                },
            }
        }
    })
}

/// Removes what has expired; returns how long the next one has. None: there are no events.
async fn expire_once(registry: &Registry, now: SystemTime) -> Option<Duration> {
    bound(registry).await;
    for entry in by_age(registry) {
        let event = Object::from_slice(&entry.value).ok();
        let last = event.as_ref().and_then(|event| {
            ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]
                .into_iter()
                .find_map(|pointer| event.time_at(pointer))
        });
        // Without a time it is of no use; a time to come is a clock that was set back.
        let age = last.map_or(LIFETIME, |last| now.duration_since(last).unwrap_or_default());
        match LIFETIME.checked_sub(age) {
            Some(left) if !left.is_zero() => return Some(left),
            _ => remove(registry, &entry).await,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::registry::testing::{Cluster, pod};
    use smol::block_on;

    fn events(cluster: &Cluster) -> Vec<Object> {
        by_age(&cluster.registry).iter().map(|entry| Object::from_slice(&entry.value).unwrap()).collect()
    }

    #[test]
    fn repetitions_are_counted_and_expire() {
        let cluster = Cluster::new("events");
        let web = block_on(cluster.create(pod("web"))).unwrap();
        let say = |message: &str| {
            block_on(record(&cluster.registry, &web, Type::Warning, "Failed", message, "scheduler")).unwrap();
        };
        say("no room");
        say("no room");
        say(&"ü".repeat(5000));
        let found = events(&cluster);
        assert_eq!(found.len(), 2);
        // What came first is first in a list, too.
        assert!(found[0].name() < found[1].name(), "{} {}", found[0].name(), found[1].name());
        assert_eq!((found[0].i64_at("/count"), found[0].str_at("/message")), (Some(2), "no room"));
        assert_eq!(found[0].str_at("/involvedObject/uid"), web.uid());
        assert_eq!(found[1].str_at("/message").len(), 1024);
        let now = SystemTime::now();
        let left = block_on(expire_once(&cluster.registry, now + Duration::from_secs(3000))).unwrap();
        assert!(left <= Duration::from_secs(600) && left > Duration::from_secs(500), "{left:?}");
        assert_eq!(block_on(expire_once(&cluster.registry, now + LIFETIME + ROUND)), None);
        assert!(events(&cluster).is_empty());
    }

    #[test]
    fn an_agents_event_gets_its_node_and_the_count_is_bounded() {
        let cluster = Cluster::new("events-agent");
        let event = |number: usize| {
            let event = json!({"involvedObject": {"kind": "Node", "name": "pi", "uid": "u"}, "type": "Warning",
                "reason": "R", "message": number.to_string(), "count": 99, "metadata": {"name": "../evil"}});
            Object::from_value(event).unwrap()
        };
        for number in 0..LIMIT + 5 {
            block_on(accept(&cluster.registry, event(number), "pi-1")).unwrap();
        }
        let found = events(&cluster);
        assert_eq!(found.len(), LIMIT);
        assert_eq!((found[0].str_at("/message"), found[0].str_at("/source/host")), ("5", "pi-1"));
        assert_eq!((found[0].namespace(), found[0].i64_at("/count")), ("default", Some(1)));
        assert!(found[0].name().starts_with("pi."));
        let nothing = Object::from_value(json!({})).unwrap();
        assert_eq!(block_on(accept(&cluster.registry, nothing, "pi-1")).unwrap_err().code, 400);
    }
}
