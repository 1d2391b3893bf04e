//! `metrics.k8s.io/v1beta1`: what nodes and pods use (`kubectl top`). Nobody is asked until someone asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::future;
use serde::Deserialize;
use serde_json::{Value, json};
use smol::Timer;

use super::State;
use super::handlers::Call;
use super::options::ListOptions;
use super::registry::Page;
use super::render::Rendering;
use super::reply::{self, Reply};
use crate::api::kinds::{NODE, NODE_METRICS, POD};
use crate::api::{Object, Status, time};
use crate::link::{Chunk, ReadRequest, StreamRequest};
use crate::plan::autoscale::{Usage, Used};

/// How long what a node said is answered again.
const FRESH: Duration = Duration::from_secs(15);
/// How long a node has to answer: its first rates take a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that a node may say: several times what 110 pods take.
const MOST: usize = 4 << 20;
const PATH: &str = "stats/summary?only_cpu_and_memory=true";

/// What nodes said last. A node is asked once, however many ask for it at once.
#[derive(Default)]
pub struct Top(Mutex<HashMap<String, Arc<smol::lock::Mutex<Option<Asked>>>>>);

/// What a node was asked last, and when; None: it did not answer.
struct Asked {
    at: Instant,
    said: Option<Said>,
}

#[derive(Clone)]
pub struct Said {
    time: SystemTime,
    summary: Arc<Summary>,
}

/// The parts of a kubelet's `Summary` that are of use here.
#[derive(Default, Deserialize)]
struct Summary {
    node: Figures,
    #[serde(default)]
    pods: Vec<PodFigures>,
}

#[derive(Default, Deserialize)]
struct Figures {
    #[serde(default)]
    cpu: Cpu,
    #[serde(default)]
    memory: Memory,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    usage_nano_cores: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodFigures {
    pod_ref: PodReference,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct PodReference {
    uid: String,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    #[serde(flatten)]
    figures: Figures,
}

impl Figures {
    /// In the units that upstream's metrics server answers. None while either is not known.
    fn usage(&self) -> Option<Value> {
        let (cpu, memory) = (self.cpu.usage_nano_cores?, self.memory.working_set_bytes?);
        Some(json!({"cpu": format!("{cpu}n"), "memory": format!("{}Ki", memory / 1024)}))
    }
}

/// Answers get and list of both kinds.
pub async fn serve(call: &Call<'_>) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let source = if kind == NODE_METRICS { NODE } else { POD };
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let registry = &call.state.registry;
    if !call.name().is_empty() {
        let object = registry.get(source, call.namespace(), call.name())?;
        let found = metrics(call.state, vec![object]).await.pop();
        let object = found.ok_or_else(|| Status::not_found(kind, call.name()))?;
        return Ok(reply::json(rendering.object(&object, true)));
    }
    let options = ListOptions::parse(source, &call.query)?;
    if options.watch {
        return Err(Status::method_not_allowed());
    }
    let namespace = call.target.namespace.as_deref();
    let list = registry.list(source, namespace, &options.selectors, &Page::default())?;
    let objects = list.items.iter().map(|item| item.object()).collect::<Result<Vec<_>, _>>()?;
    Ok(reply::json(rendering.objects(&metrics(call.state, objects).await)))
}

/// What the nodes or pods use, of those that it is known of.
async fn metrics(state: &State, objects: Vec<Object>) -> Vec<Object> {
    let node_of = |object: &Object| match object.kind() {
        "Node" => object.name().to_owned(),
        _ => object.str_at("/spec/nodeName").to_owned(),
    };
    let said = ask(state, objects.iter().map(node_of).collect(), FRESH, PATIENCE).await;
    let of = |object: &Object| {
        let said = said.get(&node_of(object))?;
        match object.kind() {
            "Node" => Some(of_node(object, &said.summary.node, said.time)?),
            _ => {
                let uid = object.uid();
                let pod = said.summary.pods.iter().find(|pod| pod.pod_ref.uid == uid)?;
                of_pod(object, pod, said.time)
            }
        }
    };
    objects.iter().filter_map(of).collect()
}

/// What these nodes say, those that do: what is no older than `fresh`, of all of them at once.
pub async fn ask(
    state: &State,
    nodes: BTreeSet<String>,
    fresh: Duration,
    patience: Duration,
) -> BTreeMap<String, Said> {
    let nodes = nodes.into_iter().filter(|node| state.links.connected(node));
    let asked = nodes.map(|node| {
        Box::pin(async move { state.top.ask(state, &node, fresh, patience).await.map(|said| (node, said)) })
            as Pin<Box<_>>
    });
    all(asked.collect()).await.into_iter().flatten().collect()
}

impl Said {
    /// What a pod's containers use, of those of which both is known. None: the node does not know the pod.
    pub fn usage(&self, uid: &str) -> Option<Usage> {
        let pod = self.summary.pods.iter().find(|pod| pod.pod_ref.uid == uid)?;
        let used = |container: &Container| {
            let Figures { cpu, memory } = &container.figures;
            // As they are when a client reads them: thousandths rounded up, whole KiB.
            let cpu = cpu.usage_nano_cores?.div_ceil(1_000_000);
            let memory = (memory.working_set_bytes? / 1024).saturating_mul(1024 * 1000);
            let amounts = [cpu, memory].map(|amount| i64::try_from(amount).unwrap_or(i64::MAX));
            Some(Used { name: container.name.clone(), amounts })
        };
        let containers: Vec<Used> = pod.containers.iter().filter_map(used).collect();
        (!containers.is_empty()).then_some(Usage { at: self.time, containers })
    }
}

fn of_node(node: &Object, figures: &Figures, time: SystemTime) -> Option<Object> {
    let mut object = described("NodeMetrics", node, time);
    object["usage"] = figures.usage()?;
    Object::from_value(object).ok()
}

fn of_pod(pod: &Object, figures: &PodFigures, time: SystemTime) -> Option<Object> {
    let container =
        |container: &Container| Some(json!({"name": container.name, "usage": container.figures.usage()?}));
    let containers: Vec<Value> = figures.containers.iter().filter_map(container).collect();
    if containers.is_empty() {
        return None;
    }
    let mut object = described("PodMetrics", pod, time);
    object["containers"] = containers.into();
    Object::from_value(object).ok()
}

fn described(kind: &str, source: &Object, time: SystemTime) -> Value {
    let time = time::format(time);
    let mut metadata = json!({"name": source.name(), "creationTimestamp": time});
    if !source.namespace().is_empty() {
        metadata["namespace"] = source.namespace().into();
    }
    if let Some(labels) = source.labels() {
        metadata["labels"] = labels.clone().into();
    }
    json!({
        "kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata, "timestamp": time, "window": "15s",
    })
}

impl Top {
    /// What a node says, or said a moment ago; None when it does not answer.
    async fn ask(&self, state: &State, node: &str, fresh: Duration, patience: Duration) -> Option<Said> {
        let entry = {
            let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Of deleted nodes nothing stays.
            nodes.retain(|node, _| state.links.connected(node));
            Arc::clone(nodes.entry(node.to_owned()).or_default())
        };
        let mut asked = entry.lock().await;
        // A node that does not answer is not asked again by each who waits for it.
        if asked.as_ref().is_none_or(|asked| asked.at.elapsed() > fresh) {
            let read = async { read(state, node).await.map_err(|status| status.message) };
            let late = async {
                Timer::after(patience).await;
                Err("it took too long".to_owned())
            };
            let said = match future::or(read, late).await {
                Ok(summary) => Some(Said { time: SystemTime::now(), summary: Arc::new(summary) }),
                Err(why) => {
                    // Once, however often it is asked in vain.
                    if asked.as_ref().is_none_or(|asked| asked.said.is_some()) {
                        log::warn!("node {node} does not say what it uses: {why}");
                    }
                    None
                }
            };
            *asked = Some(Asked { at: Instant::now(), said });
        }
        asked.as_ref().and_then(|asked| asked.said.clone())
    }
}

async fn read(state: &State, node: &str) -> Result<Summary, Status> {
    let request = StreamRequest::Read(ReadRequest { path: PATH.to_owned() });
    let stream = state.links.open(node, &request).await?;
    let mut text = Vec::new();
    loop {
        match stream.read().await.map_err(Status::internal)? {
            Chunk::Data { data, .. } if text.len() + data.len() <= MOST => text.extend_from_slice(&data),
            Chunk::Data { .. } => return Err(Status::internal("its answer is too long")),
            Chunk::End { status } if status.is_empty() => break,
            Chunk::End { status } => {
                let status = Status::from_slice(&status);
                return Err(status.unwrap_or_else(|| Status::internal("it gave a reason that is no Status")));
            }
        }
    }
    serde_json::from_slice(&text).map_err(Status::internal)
}

/// Waits for all of them at once; in their order.
async fn all<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *done = Some(value),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_becomes_metrics() {
        let summary: Summary = serde_json::from_value(json!({
            "node": {"nodeName": "pi", "cpu": {"usageNanoCores": 5, "time": "x"}, "memory": {"workingSetBytes": 4096}},
            "pods": [{"podRef": {"uid": "u", "name": "web", "namespace": "default"}, "containers": [
                {"name": "a", "cpu": {"usageNanoCores": 7}, "memory": {"workingSetBytes": 2047}},
                {"name": "new", "cpu": {}, "memory": {"workingSetBytes": 2048}},
            ]}],
        }))
        .unwrap();
        let source = Object::from_value(json!({
            "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "x"}}
        }))
        .unwrap();
        let pod = of_pod(&source, &summary.pods[0], SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            pod.array_at("/containers"),
            [json!({"name": "a", "usage": {"cpu": "7n", "memory": "1Ki"}})]
        );
        assert_eq!((pod.label("app"), pod.str_at("/timestamp")), (Some("x"), "1970-01-01T00:00:00Z"));
        let node = of_node(&source, &summary.node, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(node.at("/usage"), Some(&json!({"cpu": "5n", "memory": "4Ki"})));
        assert_eq!(Figures::default().usage(), None);
    }
}
