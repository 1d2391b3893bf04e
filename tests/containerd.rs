//! The client and the import on a real containerd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::containerd::Containerd;
use common::folder::Folder;
use common::image::{self, Image};
use midge::Executor;
use midge::agent::images::{self, Images};
use midge::agent::wake::Wake;
use midge::containerd::{
    Client, ContainerSpec, Error, Event, Events, Labels, Platform, Stdio, TaskStatus, import,
};
use serde_json::json;

const SNAPSHOTTER: &str = "overlayfs";

#[test]
fn runs_an_imported_image() {
    let containerd = Containerd::start();
    let archive = containerd.folder().join("web.tar");
    image::docker_archive(
        &archive,
        &[Image::busybox("web:1", &["sh"]), Image::busybox("x.org/web", &["sh"])],
        false,
    );
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        assert!(client.snapshotters().await.unwrap().contains(&SNAPSHOTTER.to_string()));
        let names = import::archive(&client, &archive, &options(false)).await.unwrap();
        assert_eq!(names, ["docker.io/library/web:1", "x.org/web:latest"]);

        let mut events = client.events().await.unwrap();
        let log = containerd.folder().join("file.log");
        let script = "echo out; cat /etc/motd; exit 7";
        create(&client, "first", &names[0], script, &Stdio::Uri(format!("file://{}", log.display()))).await;
        assert_eq!(client.task("first").await.unwrap().unwrap().status, TaskStatus::Created);
        let waiting = client.clone();
        let waiting = executor.spawn(async move { waiting.wait_task("first").await });
        let pid = client.start_task("first").await.unwrap();
        assert_eq!(exit_event(&mut events, "first").await, (pid, 7));
        assert_eq!(waiting.await.unwrap().code, 7);
        let task = client.task("first").await.unwrap().unwrap();
        assert_eq!((task.status, task.code, task.pid), (TaskStatus::Stopped, 7, pid));
        assert_eq!(client.tasks().await.unwrap(), [task]);
        // Without effect and without an error, as after the end of a process.
        client.kill_task("first", 9, false).await.unwrap();
        let listed = client.containers(&[r#"labels."midge/pod"==first"#]).await.unwrap();
        assert_eq!(listed.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(), ["first"]);
        assert!(client.containers(&[r#"labels."midge/pod"==other"#]).await.unwrap().is_empty());
        assert_eq!(client.delete_task("first").await.unwrap().unwrap().code, 7);
        remove(&client, "first").await;
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nweb:1");

        let log = containerd.folder().join("binary.log");
        let logger = containerd.folder().join("logger");
        std::fs::write(&logger, "#!/bin/sh\nexec 5>&-\ncat <&3 >\"$2.out\" &\ncat <&4 >\"$2.err\"\nwait\n")
            .unwrap();
        std::fs::set_permissions(&logger, PermissionsExt::from_mode(0o755)).unwrap();
        let uri = Stdio::Uri(format!("binary://{}?container-log={}", logger.display(), log.display()));
        create(&client, "second", &names[1], "echo out; echo err >&2; sh -c 'kill -9 $$'; exit $?", &uri)
            .await;
        client.start_task("second").await.unwrap();
        assert_eq!(exit_event(&mut events, "second").await.1, 128 + 9);
        client.delete_task("second").await.unwrap();
        remove(&client, "second").await;
        assert_eq!(std::fs::read_to_string(log.with_extension("log.out")).unwrap(), "out\n");
        assert_eq!(std::fs::read_to_string(log.with_extension("log.err")).unwrap(), "err\nKilled\n");

        assert!(containerd.shims().is_empty());

        // Everything again, as after a crash in between: gone is fine.
        assert_eq!(client.delete_task("second").await.unwrap(), None);
        assert_eq!(client.task("second").await.unwrap(), None);
        assert!(client.wait_task("second").await.unwrap_err().is_not_found());
        remove(&client, "second").await;
    });
}

#[test]
fn survives_a_restart_of_containerd() {
    let mut containerd = Containerd::start();
    let archive = containerd.folder().join("web.tar");
    image::docker_archive(&archive, &[Image::busybox("web", &["sh"])], true);
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        import::archive(&client, &archive, &options(false)).await.unwrap();
        create(&client, "long", "docker.io/library/web:latest", "exec sleep 1000", &Stdio::Null).await;
        let pid = client.start_task("long").await.unwrap();
        let mut events = client.events().await.unwrap();

        containerd.down();
        loop {
            match events.next().await {
                Ok(_) => {}
                Err(error) => break assert!(error.is_unavailable(), "{error:?}"),
            }
        }
        assert!(matches!(client.version().await, Err(Error::NoSocket { .. })));
        containerd.up();

        let task = client.task("long").await.unwrap().unwrap();
        assert_eq!((task.status, task.pid), (TaskStatus::Running, pid));
        let mut events = client.events().await.unwrap();
        client.kill_task("long", 9, true).await.unwrap();
        assert_eq!(exit_event(&mut events, "long").await, (pid, 128 + 9));
        client.delete_task("long").await.unwrap();
        remove(&client, "long").await;
    });
}

#[test]
fn imports_repeatedly_and_keeps_what_is_needed() {
    let containerd = Containerd::start();
    let archive = containerd.folder().join("oci.tar.gz");
    let made = Image::busybox("registry.example/a/oci:2", &["echo", "hi"]);
    image::oci_archive(&archive, &made, true);
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        let platform = Platform::host();
        for keep_layers in [false, false, true] {
            let names = import::archive(&client, &archive, &options(keep_layers)).await.unwrap();
            assert_eq!(names, ["registry.example/a/oci:2"]);
            // Deletes whatever nothing holds.
            let lease = client.create_lease(Duration::from_secs(60)).await.unwrap();
            client.delete_lease(&lease, true).await.unwrap();
            let found = client.image(&names[0], &platform).await.unwrap().unwrap();
            assert_eq!((found.config.cmd.len(), found.config.env.len()), (2, 2));
            assert_eq!(found.config.working_dir, "/tmp");
            let diff_ids: Vec<String> = made.layers.iter().map(|layer| image::digest(layer)).collect();
            assert_eq!(
                found.layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
                diff_ids.iter().collect::<Vec<_>>()
            );
            assert_eq!(found.chain_id, image::digest(format!("{} {}", diff_ids[0], diff_ids[1]).as_bytes()));
            assert!(client.snapshot(SNAPSHOTTER, &found.chain_id).await.unwrap().is_some());
            for layer in &found.layers {
                assert_eq!(client.content_info(&layer.blob.digest).await.unwrap().is_some(), keep_layers);
            }
        }
        // Another namespace shares the blobs, and has its own snapshots.
        let other = Client::connect(&containerd.socket(), "midge-other", &executor).await.unwrap();
        let names = import::archive(&other, &archive, &options(true)).await.unwrap();
        assert!(other.image(&names[0], &platform).await.unwrap().is_some());
        other.remove_image(&names[0]).await.unwrap();
        other.remove_image(&names[0]).await.unwrap();

        client.remove_image(&names[0]).await.unwrap();
        let lease = client.create_lease(Duration::from_secs(60)).await.unwrap();
        client.delete_lease(&lease, true).await.unwrap();
        assert!(client.snapshots(SNAPSHOTTER, &[]).await.unwrap().is_empty());
        assert!(client.image(&names[0], &platform).await.unwrap().is_none());
    });
}

#[test]
fn an_import_that_was_cut_off_blocks_nothing() {
    let containerd = Containerd::start();
    let archive = containerd.folder().join("web.tar");
    image::docker_archive(&archive, &[Image::busybox("web", &["sh"])], false);
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        let mut cut = 0;
        for milliseconds in [1, 2, 4, 8, 16, 32, 64] {
            let options = options(false);
            let import = import::archive(&client, &archive, &options);
            let timer = smol::Timer::after(Duration::from_millis(milliseconds));
            cut += u32::from(
                smol::future::or(async { import.await.is_err() }, async {
                    timer.await;
                    true
                })
                .await,
            );
        }
        assert!(cut > 1);
        let names = import::archive(&client, &archive, &options(false)).await.unwrap();
        assert!(client.image(&names[0], &Platform::host()).await.unwrap().is_some());

        // One that a process which is gone has left, and one of somebody else's.
        for lease in ["midge-1-abc", "other"] {
            containerd.ctr(&["leases", "create", "--id", lease]);
        }
        client.delete_abandoned_leases().await.unwrap();
        let left = containerd.ctr(&["leases", "list", "--quiet"]);
        assert!(left.contains("other") && !left.contains("midge-1-abc"), "{left}");
    });
}

#[test]
fn refuses_what_can_not_be_imported() {
    let containerd = Containerd::start();
    let folder = containerd.folder();
    let whole = folder.join("whole.tar");
    image::docker_archive(&whole, &[Image::busybox("cut", &["sh"])], false);
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(folder.join("cut.tar"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(folder.join("empty.tar"), [0; 1024]).unwrap();
    std::fs::write(folder.join("noise.tar"), b"\x1f\x8bnoise").unwrap();
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        let import = async |name: &str| import::archive(&client, &folder.join(name), &options(false)).await;
        assert!(matches!(
            import("cut.tar").await,
            Err(import::Error::Read { .. } | import::Error::NoImages { .. })
        ));
        assert!(matches!(import("empty.tar").await, Err(import::Error::NoImages { .. })));
        assert!(matches!(import("noise.tar").await, Err(import::Error::Read { .. })));
        assert!(matches!(import("none.tar").await, Err(import::Error::Open { .. })));
        let foreign = import::Options {
            platform: Platform { os: "linux".into(), architecture: "mips".into(), variant: String::new() },
            ..options(false)
        };
        let refused = import::archive(&client, &whole, &foreign).await.unwrap_err();
        assert!(matches!(refused, import::Error::Containerd(Error::NoPlatform { .. })), "{refused:?}");
        assert!(client.images(&[]).await.unwrap().is_empty());
    });
}

#[test]
fn decides_whether_an_image_is_present() {
    let containerd = Containerd::start();
    let folder = Folder::new("images");
    run(async |executor| {
        let client = Client::connect(&containerd.socket(), containerd.namespace(), &executor).await.unwrap();
        let images = || {
            Images::new(images::Parts {
                client: client.clone(),
                folder: folder.path(),
                pods_folder: folder.path().join("pods"),
                snapshotter: SNAPSHOTTER,
                platform: Platform::host(),
                settings: images::Settings::default(),
                executor: executor.clone(),
                wake: Wake::default(),
            })
        };
        let first = images();
        let reason =
            async |image: &str, policy: &str| first.present(image, policy).await.unwrap_err().reason();
        assert_eq!(reason("web", "Never").await, "ErrImageNeverPull");
        assert_eq!(first.present("web", "IfNotPresent").await.unwrap(), None);
        assert_eq!(reason("Web", "").await, "InvalidImageName");

        std::fs::write(folder.join("a-broken.tar"), [0; 1024]).unwrap();
        image::docker_archive(&folder.join("web.tar"), &[Image::busybox("web", &["one"])], false);
        for policy in ["Never", "IfNotPresent", "Always", ""] {
            assert_eq!(first.present("web", policy).await.unwrap().unwrap().config.cmd, ["one"]);
        }
        let found = first.present("web", "").await.unwrap().unwrap();
        let digest = found.digest.clone();
        assert_eq!(found.id(), format!("docker.io/library/web@{digest}"));
        let by_digest = first.present(&format!("web@{digest}"), "").await.unwrap().unwrap();
        assert_eq!(by_digest.digest, digest);
        assert_eq!(first.present("other", "").await.unwrap(), None);

        // Nothing to do after a restart of the agent; a changed archive is taken, an image that is gone returns.
        let second = images();
        assert!(second.import_folder().await.is_empty());
        image::docker_archive(&folder.join("web.tar"), &[Image::busybox("web", &["two", "2"])], false);
        assert_eq!(second.present("web", "IfNotPresent").await.unwrap().unwrap().config.cmd, ["one"]);
        assert_eq!(second.present("web", "Always").await.unwrap().unwrap().config.cmd, ["two", "2"]);
        client.remove_image("docker.io/library/web:latest").await.unwrap();
        assert_eq!(second.import_folder().await, ["docker.io/library/web:latest"]);
    });
}

#[test]
fn names_the_socket_that_is_not_there() {
    run(async |executor| {
        let error =
            Client::connect(Path::new("/nonexistent/c.sock"), "midge", &executor).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("`/nonexistent/c.sock`") && text.contains("install it"), "{text}");
    });
}

/// Runs the test on an executor of its own; a test that hangs fails.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let executor = Executor::default();
    let limit = async {
        smol::Timer::after(Duration::from_secs(120)).await;
        panic!("the test takes too long");
    };
    smol::block_on(executor.run(smol::future::or(test(executor.clone()), limit)));
}

fn options(keep_layers: bool) -> import::Options {
    import::Options { platform: Platform::host(), snapshotter: SNAPSHOTTER.into(), keep_layers }
}

async fn create(client: &Client, id: &str, image: &str, script: &str, stdio: &Stdio) {
    let image = client.image(image, &Platform::host()).await.unwrap().unwrap();
    let container = ContainerSpec {
        id: id.into(),
        image: image.name,
        snapshotter: SNAPSHOTTER.into(),
        snapshot_key: id.into(),
        runtime: "io.containerd.runc.v2".into(),
        options: None,
        spec: spec(client, id, script),
        labels: BTreeMap::from([("midge/pod".into(), id.into())]),
    };
    client.create_container(container.clone()).await.unwrap();
    assert!(client.create_container(container).await.unwrap_err().is_already_exists());
    let mounts = client.ensure_snapshot(SNAPSHOTTER, id, &image.chain_id, &Labels::new()).await.unwrap();
    assert_eq!(
        client.ensure_snapshot(SNAPSHOTTER, id, &image.chain_id, &Labels::new()).await.unwrap(),
        mounts
    );
    client.create_task(id, &mounts, stdio, false).await.unwrap();
}

async fn remove(client: &Client, id: &str) {
    client.delete_container(id).await.unwrap();
    client.remove_snapshot(SNAPSHOTTER, id).await.unwrap();
    assert!(client.container(id).await.unwrap().is_none());
}

async fn exit_event(events: &mut Events, container: &str) -> (u32, u32) {
    loop {
        if let Event::TaskExit { container_id, id, pid, code, .. } = events.next().await.unwrap()
            && container_id == container
        {
            assert_eq!(id, container);
            return (pid, code);
        }
    }
}

fn spec(client: &Client, id: &str, script: &str) -> Vec<u8> {
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": format!("/{}/{id}", client.namespace()), "namespaces": namespaces},
    });
    spec.to_string().into_bytes()
}
