//! watch: changes as they happen, one JSON text a line.
//!
//! A watcher holds a cursor into the store's history, not a queue: one that reads slowly costs no
//! memory, and when the history has moved past it gets 410 and lists anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_lite::{future, stream};
use hyper::StatusCode;
use serde_json::json;
use smol::Timer;

use super::State;
use super::options::ListOptions;
use super::registry::{From, Item, Page, Watch, WatchEvent};
use super::render::Rendering;
use super::reply::{self, Reply};
use crate::api::kinds::CUSTOM_RESOURCE_DEFINITION;
use crate::api::{Object, Status};
use crate::http::body;
use crate::store;

/// Watchers at once. Each costs a few KB.
const MOST: usize = 1024;
/// How often a watcher that asked for bookmarks gets one, if there is something to say.
const BOOKMARK: Duration = Duration::from_secs(60);
/// A watcher that names no time limit gets this, plus up to as much again so that not all come back at once.
const SHORTEST: u64 = 1800;
/// The annotation of the bookmark after the last initial event (KEP-3157).
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// Counts the watchers of a server.
#[derive(Default)]
pub struct Watchers(AtomicUsize);

struct Place(Arc<State>);

impl Place {
    fn take(state: &Arc<State>) -> Result<Self, Status> {
        let place = Self(state.clone());
        if state.watchers.0.fetch_add(1, Ordering::Relaxed) >= MOST {
            return Err(Status::too_many_requests("too many watches are open, please try again later", 5));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watchers.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Watcher {
    place: Place,
    rendering: Rendering,
    /// What was there at the beginning, in reverse, and what is yet to be sent of it.
    initial: Vec<Item>,
    /// The revision of the list above, when its end is to be marked.
    initial_end: Option<u64>,
    changes: Result<Watch, Status>,
    /// The definition of the kind, where users define it: its key and its changes. There is nothing to watch once
    /// it has gone.
    definition: Option<(String, store::Watch)>,
    /// Tables name their columns once.
    headers: bool,
    /// The last revision that the client knows.
    told: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
}

/// Answers a watch.
///
/// # Errors
/// 429 when there are too many. A revision that is too old is told in the stream, as upstream does.
pub fn serve(
    state: &Arc<State>,
    namespace: Option<&str>,
    options: ListOptions,
    rendering: Rendering,
) -> Result<Reply, Status> {
    let place = Place::take(state)?;
    let registry = &state.registry;
    let any = options.revision.unwrap_or(0) == 0;
    // Without a revision, and unless told not to, a watch begins with what is there.
    let wanted = options.send_initial_events.unwrap_or(any);
    let (mut initial, start) = if wanted || any {
        let list = registry.list(rendering.kind, namespace, &options.selectors, &Page::default())?;
        (if wanted { list.items } else { Vec::new() }, list.revision)
    } else {
        (Vec::new(), options.revision.unwrap_or(0))
    };
    initial.reverse();
    let definition = rendering.kind.definition.and_then(|_| {
        let key = CUSTOM_RESOURCE_DEFINITION.key("", &rendering.kind.resource());
        let changes = registry.store().watch(&key, registry.store().revision()).ok()?;
        Some((key, changes))
    });
    let changes = registry.watch(rendering.kind, namespace, options.selectors, From::Revision(start));
    let seconds = options.timeout_seconds.unwrap_or_else(|| SHORTEST + jitter(SHORTEST)).min(86_400);
    let now = Instant::now();
    let watcher = Watcher {
        place,
        rendering,
        initial,
        initial_end: (options.send_initial_events == Some(true) && options.bookmarks).then_some(start),
        changes,
        definition,
        headers: true,
        told: start,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK,
        end: now + Duration::from_secs(seconds),
        ended: false,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, io::Error>(Bytes::from(event)), watcher))
    });
    Ok(reply::with_body(StatusCode::OK, reply::JSON, body::stream(events)))
}

fn jitter(below: u64) -> u64 {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(clock.subsec_micros()) % below
}

enum Wake {
    Change(Result<WatchEvent, Status>),
    Bookmark,
    End,
}

impl Watcher {
    /// The next line, or the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        if let Some(item) = self.initial.pop() {
            return Some(self.item("ADDED", &item));
        }
        // Of many initial events, the memory goes with the last.
        self.initial = Vec::new();
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            match self.wake().await {
                Wake::Change(Ok(event)) => {
                    let (name, item) = match &event {
                        WatchEvent::Added(item) => ("ADDED", item),
                        WatchEvent::Modified(item) => ("MODIFIED", item),
                        WatchEvent::Deleted(item) => ("DELETED", item),
                    };
                    return Some(self.item(name, item));
                }
                Wake::Change(Err(status)) => {
                    self.ended = true;
                    return Some(line("ERROR", &status.to_vec()));
                }
                Wake::Bookmark => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    if let Some(revision) = self.news() {
                        return Some(self.bookmark(revision, false));
                    }
                }
                Wake::End => {
                    // A last bookmark lets the client go on from here instead of listing anew.
                    self.ended = true;
                    let revision = self.news().filter(|_| self.bookmarks)?;
                    return Some(self.bookmark(revision, false));
                }
            }
        }
    }

    /// The revision up to which nothing was missed, if the client does not know it.
    fn news(&self) -> Option<u64> {
        self.changes.as_ref().ok().map(Watch::revision).filter(|&revision| revision > self.told)
    }

    /// Every arm is cancel-safe: the cursor moves only when a change is returned.
    async fn wake(&mut self) -> Wake {
        let (changes, definition) = (&mut self.changes, &mut self.definition);
        let change = async {
            match changes {
                Ok(changes) => Wake::Change(changes.next().await),
                Err(status) => Wake::Change(Err(status.clone())),
            }
        };
        let (deadline, wake) = match self.bookmarks && self.next_bookmark < self.end {
            true => (self.next_bookmark, Wake::Bookmark),
            false => (self.end, Wake::End),
        };
        let timer = async {
            Timer::at(deadline).await;
            wake
        };
        let closing = async {
            // Nothing is ever sent: the channel closes when the server ends.
            let _ = self.place.0.closing.recv().await;
            Wake::End
        };
        let gone = async {
            match definition {
                Some((key, changes)) => {
                    // One that has fallen behind ends, too: the client begins anew.
                    while changes.next().await.is_ok_and(|event| event.new.is_some() || *event.key != **key) {
                    }
                }
                None => future::pending().await,
            }
            Wake::End
        };
        future::or(change, future::or(future::or(gone, timer), closing)).await
    }

    fn item(&mut self, name: &str, item: &Item) -> Vec<u8> {
        self.told = self.told.max(item.revision);
        match self.rendering.now().item(item, self.headers) {
            Ok(object) => {
                self.headers = false;
                line(name, &object)
            }
            Err(status) => {
                self.ended = true;
                line("ERROR", &status.to_vec())
            }
        }
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Vec<u8> {
        self.told = revision;
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_END: "true" });
        }
        let kind = self.rendering.kind;
        let value = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        match Object::from_value(value) {
            Ok(object) => {
                line("BOOKMARK", &self.rendering.object(&object, std::mem::take(&mut self.headers)))
            }
            Err(error) => line("ERROR", &Status::internal(error).to_vec()),
        }
    }
}

fn line(name: &str, object: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(object.len() + 32);
    text.extend_from_slice(b"{\"type\":\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\",\"object\":");
    text.extend_from_slice(object);
    text.extend_from_slice(b"}\n");
    text
}
