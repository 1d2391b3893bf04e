//! Pulls from a real registry into a real containerd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::containerd::Containerd;
use common::image::{self, Image};
use common::registry::{Faults, GZIP, PASSWORD, Registry, Relay, USER, ZSTD};
use midge::Executor;
use midge::agent::configs::Configs;
use midge::agent::container::Report;
use midge::agent::event::Event;
use midge::agent::images::{Ask, Error, Found, Images, Parts, Settings};
use midge::agent::wake::Wake;
use midge::api::Object;
use midge::containerd::{self, Client, Platform};
use serde_json::json;
use smol::future;

const SNAPSHOTTER: &str = "overlayfs";

/// The images of a node, and a pod loop's part in pulling them.
struct Node<'a> {
    containerd: &'a Containerd,
    executor: Executor,
    client: Client,
    wake: Wake,
    images: Images,
    events: Events,
}

#[derive(Default)]
struct Events(Vec<String>);

impl Report for Events {
    fn event(&mut self, event: Event) {
        self.0.push(format!("{} {}", event.reason, event.message));
    }
}

impl<'a> Node<'a> {
    async fn new(containerd: &'a Containerd, executor: &Executor) -> Node<'a> {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), executor).await.unwrap();
        let wake = Wake::default();
        let folder = containerd.folder().join("images");
        std::fs::create_dir_all(&folder).unwrap();
        let images = Images::new(Parts {
            client: client.clone(),
            folder: &folder,
            snapshotter: SNAPSHOTTER,
            platform: Platform::host(),
            settings: Settings { registries: registries(containerd), ..Settings::default() },
            executor: executor.clone(),
            wake: wake.clone(),
        });
        Node { containerd, executor: executor.clone(), client, wake, images, events: Events::default() }
    }

    fn registries(&self, text: &str) {
        std::fs::write(registries(self.containerd), text).unwrap();
    }

    async fn ask(&mut self, image: &str, policy: &str, pod: &str) -> Result<Found, Error> {
        let configs = Configs::new(self.containerd.folder().join("configs"));
        let secrets = json!([{"name": "regcred"}]);
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "uid": pod, "namespace": "default"}, "spec": {}});
        if pod.starts_with("secret") {
            object["spec"]["imagePullSecrets"] = secrets;
        }
        let object = Object::from_value(object).unwrap();
        let ask = Ask { image, policy, container: "main", pod: &object, configs: &configs };
        self.images.ensure(&ask, &mut self.events).await
    }

    /// Asks until there is an answer; each but the first time when woken.
    async fn pull(&mut self, image: &str, policy: &str, pod: &str) -> Result<containerd::Image, Error> {
        loop {
            match self.ask(image, policy, pod).await? {
                Found::Ready(image) => return Ok(*image),
                Found::Pulling { message } => {
                    assert!(message.starts_with(&format!("Pulling image \"{image}\": ")), "{message}");
                    within(30, self.wake.wait()).await;
                }
            }
        }
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events.0)
    }
}

fn registries(containerd: &Containerd) -> PathBuf {
    containerd.folder().join("registries.yaml")
}

async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(Duration::from_secs(seconds)).await;
        panic!("not within {seconds} s")
    };
    future::or(work, late).await
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let executor = Executor::default();
    smol::block_on(executor.clone().run(test(executor)));
}

#[test]
fn pulls_once_for_all_that_ask() {
    let (containerd, registry) = (Containerd::start(), Registry::start());
    let relay = Relay::start(&registry, Faults::default());
    let first = Image::busybox("web", &["one"]);
    let digest = registry.push("team/web", "1", &first, GZIP);
    // Shares its first layer.
    registry.push("other", "1", &Image::busybox("other", &["other"]), ZSTD);
    run(async |executor| {
        let mut node = Node::new(&containerd, &executor).await;
        let name = format!("{}/team/web:1", relay.host());
        for pod in ["a", "b"] {
            assert!(matches!(node.ask(&name, "IfNotPresent", pod).await.unwrap(), Found::Pulling { .. }));
        }
        let found = node.pull(&name, "IfNotPresent", "a").await.unwrap();
        assert_eq!((found.config.cmd.as_slice(), &found.digest), (&["one".to_string()][..], &digest));
        node.pull(&name, "IfNotPresent", "b").await.unwrap();
        node.pull(&name, "IfNotPresent", "c").await.unwrap();
        let events = node.events();
        let pulling = format!("Pulling Pulling image \"{name}\"");
        assert_eq!(events[..2], [pulling.clone(), pulling]);
        for event in &events[2..4] {
            assert!(
                event.starts_with("Pulled Successfully pulled image") && event.contains("Image size: "),
                "{event}"
            );
        }
        assert_eq!(events[4..], [format!("Pulled Container image \"{name}\" already present on machine")]);
        let blobs = relay.take("/blobs/");
        assert_eq!(blobs.len(), 1 + first.layers.len(), "{blobs:?}");

        // By digest, under a tag's name: nothing is asked.
        let by_digest = format!("{}/team/web@{digest}", relay.host());
        assert_eq!(node.pull(&by_digest, "IfNotPresent", "d").await.unwrap().digest, digest);
        assert_eq!(relay.take("").len(), 0);

        // What is always pulled costs a question when nothing has changed, and what has changed otherwise.
        node.pull(&name, "Always", "e").await.unwrap();
        let asked = relay.take("");
        assert!(asked.len() == 1 && asked[0].starts_with("HEAD "), "{asked:?}");
        registry.push("team/web", "1", &Image { cmd: vec!["two".into()], ..first.clone() }, GZIP);
        assert_eq!(node.pull(&name, "Always", "f").await.unwrap().config.cmd, ["two"]);
        assert_eq!(relay.take("/blobs/").len(), 1, "the config alone");

        // Nothing is left but what is used.
        let left = node.client.contents().await.unwrap();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(node.client.leases().await.unwrap().is_empty());
    });
}
