//! The autoscaler loop: gives the targets of HorizontalPodAutoscalers as many replicas as what their pods use asks for.
//! It comes back every [`PERIOD`] for autoscalers whose targets have pods; the others sleep until something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smol::future::or;

use super::State;
use super::events::{self, Type};
use super::handlers::scale;
use super::registry::{Change, Item, WriteOptions};
use super::top;
use crate::Executor;
use crate::api::apply::Writer;
use crate::api::kinds::{HORIZONTAL_POD_AUTOSCALER, POD};
use crate::api::selector::LabelSelector;
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::autoscale::{self, History, Pod, Target, Verdict};
use crate::server::failures::Failures;
use crate::store::{self, Durability};

/// Upstream's.
const PERIOD: Duration = Duration::from_secs(15);
/// Autoscalers that are due so soon are looked at together, by figures that are no older.
const TOGETHER: Duration = Duration::from_secs(5);
/// How long a node has to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An autoscaler is looked at no more often than this, whoever changes it how often.
const SHORTEST: Duration = Duration::from_secs(1);
/// So many pods are looked at before others get their turn.
const TURN: usize = 64;
const SOURCE: &str = "horizontal-pod-autoscaler";

/// Runs the loop until the task is dropped.
pub fn run(state: Arc<State>, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        let mut autoscalers = Autoscalers { state, known: BTreeMap::new() };
        loop {
            if let Err(status) = autoscalers.follow(&mut failures).await {
                failures.rest("look after the autoscalers", &status).await;
            }
        }
    })
}

struct Autoscalers {
    state: Arc<State>,
    /// By key.
    known: BTreeMap<Arc<str>, Known>,
}

struct Known {
    uid: String,
    generation: i64,
    history: History,
    /// The key of its target, and which pods are its, since it was looked at.
    target: String,
    selector: Option<LabelSelector>,
    looked: Option<Instant>,
    /// None: it sleeps.
    due: Option<Instant>,
    failed: bool,
}

/// An autoscaler that is looked at.
struct Look {
    key: Arc<str>,
    autoscaler: Object,
    kind: Option<&'static Kind>,
    /// The target itself comes with its revision.
    target: Result<(Object, Target), Status>,
}

impl Known {
    /// Has it looked at, at once unless it just was.
    fn wake(&mut self) {
        let now = Instant::now();
        let at = self.looked.map_or(now, |looked| now.max(looked + SHORTEST));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Autoscalers {
    async fn follow(&mut self, failures: &mut Failures) -> Result<(), Status> {
        let behind = |_| Status::expired("the autoscaler loop has fallen behind");
        let store = self.state.registry.store().clone();
        let mut watch = store.watch("", store.revision()).map_err(behind)?;
        let found = store.list(&HORIZONTAL_POD_AUTOSCALER.prefix(None), None, 0).entries;
        self.known.retain(|key, _| found.iter().any(|entry| entry.key == *key));
        for entry in &found {
            self.see(&entry.key, Some(&entry.value));
        }
        self.known.values_mut().for_each(Known::wake);
        loop {
            while let Some(event) = watch.try_next().map_err(behind)? {
                self.note(&event);
            }
            let due = self.known.values().filter_map(|known| known.due).min();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.round().await?;
                failures.end();
                continue;
            }
            let due = async {
                match due {
                    Some(due) => _ = smol::Timer::at(due).await,
                    None => smol::future::pending().await,
                }
                Ok(None)
            };
            // Both are cancel-safe.
            if let Some(event) = or(async { watch.next().await.map(Some) }, due).await.map_err(behind)? {
                self.note(&event);
            }
        }
    }

    fn note(&mut self, event: &store::Event) {
        let mut parts = event.key.split('/');
        let (Some(resource), Some(namespace)) = (parts.next(), parts.next()) else { return };
        if resource == HORIZONTAL_POD_AUTOSCALER.resource() {
            return self.see(&event.key, event.new.as_deref());
        }
        let mut sleeping = of_namespace(&mut self.known, namespace)
            .map(|(_, known)| known)
            .filter(|known| known.due.is_none())
            .peekable();
        if sleeping.peek().is_none() {
            return;
        }
        let pod = event.new.as_deref().filter(|_| resource == POD.plural);
        let pod = pod.and_then(|pod| Object::from_slice(pod).ok());
        let is_of = |known: &Known| {
            let selects = |selector: &LabelSelector| pod.as_ref().is_some_and(|pod| selector.matches(pod));
            *known.target == *event.key || known.selector.as_ref().is_some_and(selects)
        };
        sleeping.filter(|known| is_of(known)).for_each(Known::wake);
    }

    /// Takes note of an autoscaler as it is; what only its status says is no news.
    fn see(&mut self, key: &Arc<str>, value: Option<&[u8]>) {
        let Some(object) = value.and_then(|value| Object::from_slice(value).ok()) else {
            self.known.remove(key);
            return;
        };
        let (uid, generation) = (object.uid(), object.generation());
        if self.known.get(key).is_none_or(|known| known.uid != uid) {
            let known = Known {
                uid: uid.to_owned(),
                generation: -1,
                history: History::default(),
                target: String::new(),
                selector: None,
                looked: None,
                due: None,
                failed: false,
            };
            self.known.insert(key.clone(), known);
        }
        if let Some(known) = self.known.get_mut(key)
            && std::mem::replace(&mut known.generation, generation) != generation
        {
            known.wake();
        }
    }

    /// Looks at those that are due.
    async fn round(&mut self) -> Result<(), Status> {
        let now = Instant::now();
        let mut looks = Vec::new();
        for (key, known) in &mut self.known {
            if known.due.is_none_or(|due| due > now + TOGETHER) {
                continue;
            }
            (known.due, known.looked) = (None, Some(now));
            let Some(entry) = self.state.registry.store().get(key) else { continue };
            let Ok(autoscaler) = (Item { revision: entry.revision, value: entry.value }).object() else {
                continue;
            };
            let mut look = Look::new(&self.state, key.clone(), autoscaler);
            (known.target, known.selector) = look.aim();
            looks.push(look);
        }
        let namespaces: BTreeSet<String> =
            looks.iter().map(|look| look.autoscaler.namespace().to_owned()).collect();
        for namespace in namespaces {
            self.find_pods(&namespace, &mut looks).await?;
        }
        let pods = |look: &Look| look.target.as_ref().map_or(0, |(_, target)| target.pods.len());
        let nodes = looks.iter().flat_map(Look::pods).map(|pod| pod.node.clone()).collect();
        let said = top::ask(&self.state, nodes, TOGETHER, PATIENCE).await;
        for mut look in looks {
            let has_pods = pods(&look) > 0;
            if let Ok((_, target)) = &mut look.target {
                for pod in &mut target.pods {
                    pod.usage = said.get(&pod.node).and_then(|said| said.usage(&pod.uid));
                }
            }
            let Some(known) = self.known.get_mut(&look.key) else { continue };
            // A kind that is not defined yet may be later.
            if has_pods || look.kind.is_none() {
                known.due = Some(now + PERIOD);
            }
            let outcome = look.carry_out(&self.state, &mut known.history).await;
            if let Err(status) = &outcome
                && !known.failed
            {
                log::warn!("failed to look after {}: {status}", look.key);
            }
            known.failed = outcome.is_err();
        }
        Ok(())
    }

    /// Finds the pods of the targets in a namespace: each is read once, however many autoscalers there are.
    async fn find_pods(&mut self, namespace: &str, looks: &mut [Look]) -> Result<(), Status> {
        let list = self.state.registry.all(POD, Some(namespace))?;
        let mut rivals: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (index, item) in list.items.iter().enumerate() {
            if index % TURN == TURN - 1 {
                smol::future::yield_now().await;
            }
            let pod = item.object()?;
            let selects =
                |known: &Known| known.selector.as_ref().is_some_and(|selector| selector.matches(&pod));
            let of: Vec<Arc<str>> = of_namespace(&mut self.known, namespace)
                .filter(|(_, known)| selects(known))
                .map(|(key, _)| key.clone())
                .collect();
            for look in looks.iter_mut().filter(|look| of.contains(&look.key)) {
                if let Ok((_, target)) = &mut look.target {
                    target.pods.push(Pod::of(&pod));
                }
                if of.len() > 1 {
                    rivals.entry(look.key.clone()).or_default().extend(of.iter().cloned());
                }
            }
        }
        for look in looks {
            if let (Some(rivals), Ok((object, target))) = (rivals.get(&look.key), &mut look.target) {
                let names: Vec<&str> =
                    rivals.iter().filter_map(|key| key.split_once('/')).map(|(_, name)| name).collect();
                let message = format!(
                    "pods by selector {} are controlled by multiple HPAs: [{}]",
                    selector(look.kind, object),
                    names.join(" ")
                );
                target.unclear = Some(("AmbiguousSelector", message));
            }
        }
        Ok(())
    }
}

/// The autoscalers of a namespace.
fn of_namespace<'a>(
    known: &'a mut BTreeMap<Arc<str>, Known>,
    namespace: &str,
) -> impl Iterator<Item = (&'a Arc<str>, &'a mut Known)> {
    let prefix = HORIZONTAL_POD_AUTOSCALER.prefix(Some(namespace));
    let start: Arc<str> = prefix.as_str().into();
    known.range_mut(start..).take_while(move |(key, _)| key.starts_with(&prefix))
}

/// What a target's Scale says selects its pods.
fn selector(kind: Option<&Kind>, object: &Object) -> String {
    let paths = kind.and_then(|kind| kind.scale);
    paths.map_or(String::new(), |paths| scale::of(object, paths).str_at("/status/selector").to_owned())
}

impl Look {
    fn new(state: &State, key: Arc<str>, autoscaler: Object) -> Self {
        let part = |part: &str| autoscaler.str_at(&format!("/spec/scaleTargetRef/{part}"));
        let kind = kind_of(state, part("apiVersion"), part("kind"));
        let target = kind.clone().and_then(|kind| {
            let paths = kind.scale.ok_or_else(Status::no_such_resource)?;
            let object = state.registry.get(kind, autoscaler.namespace(), part("name"))?;
            let replicas = object.i64_at(paths.replicas).unwrap_or(0);
            Ok((object, Target { replicas, pods: Vec::new(), unclear: None }))
        });
        Self { key, autoscaler, kind: kind.ok(), target }
    }

    /// The key of the target, and what selects its pods.
    fn aim(&mut self) -> (String, Option<LabelSelector>) {
        let name = self.autoscaler.str_at("/spec/scaleTargetRef/name");
        let key = self.kind.map_or(String::new(), |kind| kind.key(self.autoscaler.namespace(), name));
        let Ok((object, target)) = &mut self.target else { return (key, None) };
        let selected = match selector(self.kind, object).as_str() {
            "" => Err("the HPA target's scale is missing a selector".to_owned()),
            text => LabelSelector::parse(text).map_err(|status| {
                format!("couldn't convert selector into a corresponding internal selector object: {status}")
            }),
        };
        let selector = selected.map_err(|why| target.unclear = Some(("InvalidSelector", why))).ok();
        (key, selector)
    }

    fn pods(&self) -> &[Pod] {
        self.target.as_ref().map_or(&[], |(_, target)| &target.pods)
    }

    /// Decides, has the target's replicas changed, and says so.
    async fn carry_out(&self, state: &State, history: &mut History) -> Result<(), Status> {
        let now = SystemTime::now();
        let target = self.target.as_ref().map(|(_, target)| target);
        let mut verdict = autoscale::decide(&self.autoscaler, target, history, now);
        if let Some((size, _)) = &verdict.rescale {
            let outcome = self.rescale(state, *size).await;
            verdict.rescaled(outcome.as_ref().map(|_| ()), history, now);
        }
        for (warning, reason, message) in &verdict.events {
            let kind = if *warning { Type::Warning } else { Type::Normal };
            let told = events::record(&state.registry, &self.autoscaler, kind, reason, message, SOURCE).await;
            if let Err(status) = told {
                log::debug!("an event of {} was not kept: {status}", self.key);
            }
        }
        self.set_status(state, &verdict).await
    }

    async fn rescale(&self, state: &State, size: i64) -> Result<Object, Status> {
        let (Some(kind), Ok((object, _))) = (self.kind, &self.target) else {
            return Err(Status::no_such_resource());
        };
        let paths = kind.scale.ok_or_else(Status::no_such_resource)?;
        let options = WriteOptions {
            writer: Writer { subresource: "scale", ..WriteOptions::DEFAULT.writer },
            ..WriteOptions::DEFAULT
        };
        let set = |current: &mut Object| {
            // Whoever else changed them meanwhile is not overruled.
            if current.uid() != object.uid()
                || current.i64_at(paths.replicas) != object.i64_at(paths.replicas)
            {
                return Err(Status::modified(kind, object.name()));
            }
            current.set(paths.replicas, size);
            Ok(Change::Write)
        };
        state.registry.modify(kind, object.namespace(), object.name(), options, set).await
    }

    async fn set_status(&self, state: &State, verdict: &Verdict) -> Result<(), Status> {
        let status = verdict.status();
        // Figures that come anew all the time are not worth the flash.
        let without = |status: Option<&serde_json::Value>| {
            let mut status = status.cloned().unwrap_or_default();
            status.as_object_mut().map(|map| map.remove("currentMetrics"));
            status
        };
        let durability = match without(Some(&status)) == without(self.autoscaler.at("/status")) {
            true => Durability::Memory,
            false => Durability::Lazy,
        };
        let set = |current: &mut Object| {
            if current.uid() != self.autoscaler.uid() || current.at("/status") == Some(&status) {
                return Ok(Change::Keep);
            }
            current.set("/status", status.clone());
            Ok(Change::Write)
        };
        let options = WriteOptions { durability, ..WriteOptions::STATUS };
        let (namespace, name) = (self.autoscaler.namespace(), self.autoscaler.name());
        match state.registry.modify(HORIZONTAL_POD_AUTOSCALER, namespace, name, options, set).await {
            Err(status) if status.reason != Reason::NotFound => Err(status),
            _ => Ok(()),
        }
    }
}

/// The kind of this group: upstream asks for it in whichever version there is.
fn kind_of(state: &State, api_version: &str, name: &str) -> Result<&'static Kind, Status> {
    let group = match api_version.split('/').collect::<Vec<_>>()[..] {
        [_] => "",
        [group, _] => group,
        _ => return Err(Status::bad_request(format!("unexpected GroupVersion string: {api_version}"))),
    };
    let served = state.registry.kinds().served();
    let found = served.into_iter().find(|kind| kind.kind == name && kind.group == group);
    found.ok_or_else(|| Status::bad_request(format!("no matches for kind {name:?} in group {group:?}")))
}
