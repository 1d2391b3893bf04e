//! Pulls from a real registry into a real containerd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::containerd::Containerd;
use common::folder::Folder;
use common::image::{self, Image};
use common::registry::{Faults, GZIP, PASSWORD, Registry, Relay, USER, ZSTD};
use hyper::Request;
use midge::Executor;
use midge::agent::configs::Configs;
use midge::agent::container::Report;
use midge::agent::event::Event;
use midge::agent::images::{Ask, Error, Found, Images, Parts, Settings};
use midge::agent::wake::Wake;
use midge::api::Object;
use midge::containerd::{self, Client, ContainerSpec, Platform};
use midge::http::client::{self as http, Proxy, Target, Tls};
use midge::tls::{Trust, client_config_public};
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
        // However full the disk of the machine that runs the tests is: collection takes what failed pulls left.
        let settings =
            Settings { registries: registries(containerd), gc_high: 100, gc_low: 100, ..Settings::default() };
        let images = Images::new(Parts {
            client: client.clone(),
            folder: &folder,
            pods_folder: containerd.folder().join("pods"),
            snapshotter: SNAPSHOTTER,
            platform: Platform::host(),
            settings,
            executor: executor.clone(),
            wake: wake.clone(),
        });
        Node { containerd, executor: executor.clone(), client, wake, images, events: Events::default() }
    }

    /// Collects all images not used for `age`.
    async fn collect(&self, age: Duration) {
        let images = Images::new(Parts {
            client: self.client.clone(),
            folder: &self.containerd.folder().join("images"),
            pods_folder: self.containerd.folder().join("pods"),
            snapshotter: SNAPSHOTTER,
            platform: Platform::host(),
            settings: Settings { gc_high: 0, gc_low: 0, gc_age: age, ..Settings::default() },
            executor: self.executor.clone(),
            wake: Wake::default(),
        });
        images.collect_if_full().await;
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
    // These share their first layers.
    for name in ["left", "right"] {
        let mut image = noisy(name, 1_000_000, 7);
        image.layers.push(image::file_layer("etc/name", name.as_bytes()));
        registry.push(name, "1", &image, GZIP);
    }
    registry.push("packed", "1", &Image::busybox("packed", &["packed"]), ZSTD);
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
        // A layer that two images have is fetched once, by whichever pull is the first.
        let names = ["left", "right"].map(|name| format!("{}/{name}:1", relay.host()));
        for name in &names {
            node.ask(name, "", "g").await.unwrap();
        }
        for name in &names {
            node.pull(name, "", "g").await.unwrap();
        }
        let blobs = relay.take("/blobs/");
        assert_eq!(blobs.len(), 2 + 2 + 1, "{blobs:?}");
        node.pull(&format!("{}/packed:1", relay.host()), "", "g").await.unwrap();
        assert!(node.client.leases().await.unwrap().is_empty());
    });
}

/// A layer that does not compress, `size` bytes.
fn noise(size: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(seed >> 16).to_le_bytes()[..4]);
    }
    image::file_layer("data/noise", &bytes)
}

fn noisy(name: &str, size: usize, seed: u64) -> Image {
    let mut image = Image::busybox(name, &["sh"]);
    image.layers = vec![noise(size, seed)];
    image
}

#[test]
fn survives_bad_networks() {
    let (containerd, registry) = (Containerd::start(), Registry::start());
    let relay = Relay::start(&registry, Faults { cut: Some(700_000), ..Faults::default() });
    for (name, seed) in [("cut", 1), ("bad", 2), ("whole", 3), ("slow", 4), ("broken", 5)] {
        registry.push(name, "1", &noisy(name, 2_000_000, seed), GZIP);
    }
    run(async |executor| {
        let mut node = Node::new(&containerd, &executor).await;
        let name = |name: &str| format!("{}/{name}:1", relay.host());

        // Goes on where the connection broke.
        node.pull(&name("cut"), "", "a").await.unwrap();
        let parts = relay.take("/blobs/");
        for range in ["bytes=700000-", "bytes=1400000-"] {
            assert!(parts.iter().any(|part| part.ends_with(range)), "{parts:?}");
        }

        // Damaged on its way: fetched again, from the beginning.
        relay.set(Faults { corrupt: 1, ..Faults::default() });
        node.pull(&name("bad"), "", "a").await.unwrap();
        assert_eq!(relay.take("/blobs/").len(), 3);

        // A registry that knows no ranges sends all of it again.
        relay.set(Faults { no_ranges: true, pause: Duration::from_millis(20), ..Faults::default() });
        node.ask(&name("whole"), "", "a").await.unwrap();
        let part = node.containerd.folder().join("root/io.containerd.content.v1.content/ingest");
        let written = || {
            let files = std::fs::read_dir(&part).into_iter().flatten().flatten();
            files
                .filter_map(|file| file.path().join("data").metadata().ok())
                .map(|data| data.len())
                .sum::<u64>()
        };
        within(20, async {
            while written() < 300_000 {
                smol::Timer::after(Duration::from_millis(5)).await;
            }
        })
        .await;
        // The agent ends, and another one goes on.
        drop(node);
        let mut node = Node::new(&containerd, &executor).await;
        let before = written();
        assert!(before >= 300_000);
        relay.take("");
        node.pull(&name("whole"), "", "a").await.unwrap();
        let parts = relay.take("/blobs/");
        assert!(parts.iter().any(|part| part.contains("bytes=")), "{parts:?}");

        // Slow is no reason to give up; how far it is shows.
        relay.set(Faults { pause: Duration::from_millis(60), ..Faults::default() });
        let mut messages = Vec::new();
        let begun = Instant::now();
        while let Found::Pulling { message } = node.ask(&name("slow"), "", "a").await.unwrap() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            messages.push(message);
            smol::Timer::after(Duration::from_millis(100)).await;
        }
        assert!(messages.iter().any(|message| message.ends_with(" of 2.0 MB")), "{messages:?}");
        let events = node.events();
        assert!(
            events.iter().any(|event| event.starts_with("Pulling ") && event.ends_with(" of 2.0 MB")),
            "{events:?}"
        );

        // What is never right is not taken.
        relay.set(Faults { corrupt: 99, ..Faults::default() });
        let error = node.pull(&name("broken"), "", "a").await.unwrap_err();
        assert_eq!(error.reason(), "ErrImagePull");
        assert!(error.to_string().contains("damaged on its way"), "{error}");
        let left = node.client.images(&[]).await.unwrap();
        assert!(left.iter().all(|image| !image.name.contains("broken")));
    });
}

#[test]
fn knows_mirrors_and_who_may_pull() {
    let (containerd, registry) = (Containerd::start(), Registry::start_secured());
    let plain = Registry::start();
    let relay = Relay::start(&plain, Faults { token: true, ..Faults::default() });
    let web = Image::busybox("web", &["sh"]);
    registry.push("library/web", "1", &web, GZIP);
    plain.push("mirror/web", "1", &web, GZIP);
    let (host, ca) = (registry.host(), registry.ca());
    run(async |executor| {
        let mut node = Node::new(&containerd, &executor).await;
        let secured = format!("{host}/library/web:1");
        for (file, words) in [
            (
                format!(
                    "configs: {{\"{host}\": {{auth: {{username: {USER}, password: {PASSWORD}}}, tls: {{insecure_skip_verify: false}}}}}}"
                ),
                "is not trusted",
            ),
            (
                format!("configs: {{\"{host}\": {{tls: {{ca_file: {}}}}}}}", ca.display()),
                "a user and a password",
            ),
            (
                format!(
                    "configs: {{\"{host}\": {{auth: {{username: {USER}, password: wr0ng}}, tls: {{insecure_skip_verify: true}}}}}}"
                ),
                "401",
            ),
            ("mirrors: [".into(), "failed to parse `"),
            (
                format!("configs: {{\"{host}\": {{tls: {{ca_file: /nonexistent/ca.pem}}}}}}"),
                "/nonexistent/ca.pem",
            ),
        ] {
            node.registries(&file);
            let error = node.pull(&secured, "", "a").await.unwrap_err().to_string();
            assert!(
                error.contains(words) && !error.contains("wr0ng") && !error.contains(PASSWORD),
                "{error}"
            );
        }
        // The file is read again for each pull. A mirror that has nothing is passed over.
        let auth = format!("{{username: {USER}, password: {PASSWORD}}}");
        node.registries(&format!(
            "mirrors: {{docker.io: {{endpoint: [\"http://{}\", \"https://{host}\"]}}}}\n\
             configs: {{\"{host}\": {{auth: {auth}, tls: {{ca_file: {}}}}}}}\n",
            plain.host(),
            ca.display()
        ));
        node.pull("web:1", "", "a").await.unwrap();
        node.client.remove_image("docker.io/library/web:1").await.unwrap();
        // A token server's word, and a path rewritten.
        let file = |auth: &str| {
            format!(
                "mirrors:\n  docker.io:\n    endpoint: [\"http://{}\"]\n    rewrite: {{\"^library/(.*)\": \"mirror/$1\"}}\n  \
                 registry-1.docker.io: {{}}\nconfigs: {{\"{}\": {{auth: {auth}}}}}\n",
                relay.host(),
                relay.host()
            )
        };
        node.registries(&file(&auth));
        node.pull("web:1", "", "b").await.unwrap();
        let asked = relay.take("/v2/mirror/web/");
        assert!(asked.iter().all(|request| request.contains("?ns=docker.io")), "{asked:?}");
        // An archive of the same image, zstd this time, wins over the registry for what is always pulled.
        let archive = node.containerd.folder().join("images/web.tar");
        image::docker_archive(&archive, &[Image::busybox("web:1", &["of the archive"])], false);
        common::registry::zstd(&archive);
        std::fs::remove_file(&archive).unwrap();
        assert_eq!(node.pull("web:1", "Always", "b").await.unwrap().config.cmd, ["of the archive"]);
        std::fs::remove_file(archive.with_extension("tar.zst")).unwrap();
        assert_eq!(node.pull("web:1", "Always", "b").await.unwrap().config.cmd, ["sh"]);
    });
}

#[test]
fn refuses_by_name() {
    let (containerd, registry) = (Containerd::start(), Registry::start());
    let layer = |media_type: &str| json!({"mediaType": media_type, "digest": image::digest(b"x"), "size": 1});
    let config = Image::busybox("x", &[]).config();
    let diff_ids = json!([image::digest(b"x")]);
    let mut one: serde_json::Value = serde_json::from_slice(&config).unwrap();
    one["rootfs"]["diff_ids"] = diff_ids;
    let config =
        registry.blob("foreign", "application/vnd.oci.image.config.v1+json", one.to_string().as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config,
        "layers": [layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")]});
    let digest = registry.manifest("foreign", kind, &manifest)["digest"].as_str().unwrap().to_owned();
    registry.tag("foreign", "1", &digest);
    run(async |executor| {
        let mut node = Node::new(&containerd, &executor).await;
        let host = registry.host();
        for (image, words) in [
            (format!("{host}/foreign:1"), "foreign layer (application/vnd.docker.image.rootfs.foreign"),
            (format!("{host}/none:1"), "404: not found"),
            ("127.0.0.1:1/web".into(), "failed to connect to 127.0.0.1:1"),
        ] {
            let error = node.pull(&image, "", "a").await.unwrap_err();
            assert_eq!(error.reason(), "ErrImagePull");
            assert!(error.to_string().contains(words), "{error}");
        }
        node.ask(&format!("{host}/none:1"), "", "secret").await.unwrap();
        let events = node.events();
        assert!(
            events.iter().any(|event| event.starts_with(
                "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (regcred)"
            )),
            "{events:?}"
        );
    });
}

#[test]
fn makes_room() {
    let (containerd, registry) = (Containerd::start(), Registry::start());
    for name in ["used", "unused"] {
        registry.push(name, "1", &noisy(name, 100_000, name.len() as u64), GZIP);
    }
    run(async |executor| {
        let mut node = Node::new(&containerd, &executor).await;
        let name = |name: &str| format!("{}/{name}:1", registry.host());
        for image in ["used", "unused"] {
            node.pull(&name(image), "", "a").await.unwrap();
        }
        let container = ContainerSpec {
            id: "c".into(),
            image: name("used"),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: "c".into(),
            runtime: "io.containerd.runc.v2".into(),
            options: None,
            spec: b"{}".to_vec(),
            labels: Default::default(),
        };
        node.client.create_container(container).await.unwrap();
        node.collect(Duration::from_secs(120)).await;
        let left = async || {
            let images = node.client.images(&[]).await.unwrap();
            images.into_iter().map(|image| image.name).collect::<Vec<_>>()
        };
        assert_eq!(left().await.len(), 2, "young ones stay");
        node.collect(Duration::ZERO).await;
        assert_eq!(left().await, [name("used")]);
        assert!(node.containerd.ctr(&["snapshots", "ls"]).lines().count() == 2);
        node.client.delete_container("c").await.unwrap();
    });
}

#[test]
fn trusts_a_certificate_that_is_its_own_authority() {
    let folder = Folder::new("own");
    let registry = Registry::start_self_signed();
    let stranger = folder.join("other.pem");
    std::fs::copy(Registry::start_secured().ca(), &stranger).unwrap();
    run(async |executor| {
        for (ca_file, name, is_trusted) in [
            (registry.certificate(), "127.0.0.1", true),
            (registry.certificate(), "other.name", false),
            (stranger.clone(), "127.0.0.1", false),
        ] {
            let trust = Trust { ca_file: Some(ca_file), ..Trust::default() };
            let tls = Tls { config: client_config_public(&trust).unwrap(), name: name.into() };
            let target =
                Target { host: "127.0.0.1".into(), port: registry.port, tls: Some(tls), proxy: None };
            let client = http::Client::open(&target, Duration::from_secs(10), &executor).await;
            match client {
                Ok(_) => assert!(is_trusted, "{name}"),
                Err(error) => {
                    assert!(!is_trusted && matches!(error, http::Error::Untrusted { .. }), "{error}")
                }
            }
        }
    });
}

#[test]
fn goes_through_a_proxy() {
    let registry = Registry::start_secured();
    let plain = Registry::start();
    let relay = Relay::start(&plain, Faults::default());
    let proxy = Proxy { host: "127.0.0.1".into(), port: relay.port, credentials: Some("a:b".into()) };
    let trust = Trust { ca_file: Some(registry.ca()), ..Trust::default() };
    let tls = Tls { config: client_config_public(&trust).unwrap(), name: "127.0.0.1".into() };
    run(async |executor| {
        for (port, tls, status) in [(plain.port, None, 200), (registry.port, Some(tls), 401)] {
            let target = Target { host: "127.0.0.1".into(), port, tls, proxy: Some(proxy.clone()) };
            let mut client = http::Client::open(&target, Duration::from_secs(10), &executor).await.unwrap();
            let mut request = Request::new(Default::default());
            *request.uri_mut() = "/v2/".parse().unwrap();
            assert_eq!(client.send(request).await.unwrap().status(), status);
        }
        let asked = relay.take("");
        let expected = [
            format!("GET http://{}/v2/ HTTP/1.1 ", plain.host()),
            format!("CONNECT {} HTTP/1.1 ", registry.host()),
        ];
        assert_eq!(asked, expected);
    });
}
