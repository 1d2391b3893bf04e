//! Links that break, that are abused, and that end.

use super::*;

#[test]
fn a_node_without_its_agent_becomes_not_ready_and_ready_again() {
    run(|executor| async move {
        let server = Server::start(folder("away"), None, &executor).await;
        let home = folder("away-agent");
        let core = Notes::new("pi");
        let joining = options("pi", server.url(), Some(server.tokens.server_token()), home.clone());
        let agent = session(&joining, &core, &executor);
        eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        drop(agent);
        eventually("the link's end", || (!server.links.connected("pi")).then_some(())).await;
        let node = eventually("Unknown", || server.node("pi").filter(|node| ready(node) == "Unknown")).await;
        assert_eq!(node.array_at("/spec/taints")[0]["key"], "node.kubernetes.io/unreachable");
        assert_eq!(node.array_at("/status/conditions")[0]["reason"], "NodeStatusUnknown");
        let _agent = session(&joining, &core, &executor);
        let node = eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        assert!(node.array_at("/spec/taints").is_empty());
        let events =
            server.registry.list(midge::api::kinds::EVENT, None, &Default::default(), &Default::default());
        let reasons: Vec<String> = events
            .unwrap()
            .items
            .iter()
            .map(|item| item.object().unwrap().str_at("/reason").to_owned())
            .collect();
        assert!(
            reasons.contains(&"NodeNotReady".into()) && reasons.contains(&"NodeReady".into()),
            "{reasons:?}"
        );
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
        // `changes` that end are no reason to stop.
        assert!(stream::iter([()]).next().await.is_some());
    });
}

#[test]
fn what_no_agent_of_ours_sends() {
    run(|executor| async move {
        let server = Server::start(folder("bad"), None, &executor).await;
        for (header, code) in [
            (("midge-version", "0.9.0"), 400),
            (("midge-version", ""), 400),
            (("midge-node", "../x"), 400),
            (("midge-node", ""), 400),
            (("sec-websocket-protocol", "midge.v9"), 400),
            (("upgrade", "h2c"), 400),
            (("authorization", "Bearer "), 401),
            (("authorization", "Basic eA=="), 401),
            (("authorization", "Bearer node:00"), 401),
        ] {
            let refused = dial(&server, &[header], &executor).await.err();
            assert_eq!(refused.map(|refused| refused.0), Some(code), "{header:?}");
        }

        let first = dial(&server, &[], &executor).await.unwrap();
        first.link().send(ToServer::KeySaved.encode()).await.unwrap();
        assert_eq!(farewell(&first).await, close::PROTOCOL);

        let hello = |protocol| {
            let (version, boot_id) = (midge::VERSION.to_owned(), String::new());
            ToServer::Hello(Hello { protocol, version, boot_id, pods: Vec::new(), tokens: None }).encode()
        };
        let newer = dial(&server, &[], &executor).await.unwrap();
        newer.link().send(hello(99)).await.unwrap();
        assert_eq!(farewell(&newer).await, close::VERSION);

        // Another node's pod, what is no JSON or of other types, an unknown message: the link goes on, and
        // nothing is changed.
        let pod = server.pod("web", "good").await;
        let mine = server.pod("mine", "bad").await;
        let own = PodRef { uid: mine.uid().into(), namespace: "default".into(), name: "mine".into() };
        let node = |status: Value| {
            let node = json!({"metadata": {"name": "bad"}, "status": status});
            ToServer::Node(node.to_string().into()).encode()
        };
        let status = |pod: &PodRef, status: Value| {
            ToServer::PodStatus(pod.clone(), status.to_string().into()).encode()
        };
        let event = |kind: &str, name: &str, uid: &str| {
            let about = json!({"kind": kind, "namespace": "default", "name": name, "uid": uid});
            let event = json!({"involvedObject": about, "reason": "Said", "message": name});
            ToServer::Event(event.to_string().into()).encode()
        };
        let link = dial(&server, &[], &executor).await.unwrap();
        link.link().send(hello(1)).await.unwrap();
        let name = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        for message in [
            ToServer::PodStatus(name.clone(), b"{\"phase\":\"Failed\"}".to_vec()).encode(),
            ToServer::PodStatus(name.clone(), b"[".repeat(100_000)).encode(),
            ToServer::PodGone(name).encode(),
            ToServer::Node(b"{\"metadata\":{\"name\":\"good\"}}".to_vec()).encode(),
            ToServer::Event(b"{}".to_vec()).encode(),
            vec![15, 1, 2, 3],
            node(json!({"conditions": 7})),
            node(json!({"conditions": [7, "Ready", []]})),
            node(json!({"addresses": "all of them"})),
            node(json!({"images": [{"names": ["x".repeat(100_000)]}]})),
            event("Pod", "web", pod.uid()),
            event("Node", "good", "u"),
            event("Secret", "web", "u"),
            status(&own, json!({"containerStatuses": [7]})),
            status(&own, json!({"phase": {}})),
            event("Pod", "mine", mine.uid()),
            node(json!({"nodeInfo": {"kernelVersion": "6.1"}})),
        ] {
            link.link().send(message).await.unwrap();
        }
        eventually("Ready", || server.node("bad").filter(|node| ready(node) == "True")).await;
        let after = server.registry.get(POD, "default", "web").unwrap();
        assert_eq!(after.resource_version(), pod.resource_version());
        let after = server.registry.get(POD, "default", "mine").unwrap();
        assert_eq!(after.resource_version(), mine.resource_version());
        assert!(server.node("good").is_none());
        let events =
            server.registry.list(midge::api::kinds::EVENT, None, &Default::default(), &Default::default());
        let events: Vec<Object> = events.unwrap().items.iter().map(|item| item.object().unwrap()).collect();
        let said: Vec<&str> = events
            .iter()
            .filter(|event| event.str_at("/reason") == "Said")
            .map(|event| event.str_at("/message"))
            .collect();
        assert_eq!(said, ["mine"]);
        link.link().send(vec![5, b'{']).await.unwrap();
        assert_eq!(farewell(&link).await, close::PROTOCOL);
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_deleted_nodes_link_ends_even_if_it_takes_nothing() {
    run(|executor| async move {
        let server = Server::start(folder("deaf"), None, &executor).await;
        for number in 0..30 {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p{number}"), "namespace": "default",
                    "annotations": {"much": "x".repeat(240_000)}},
                "spec": {"nodeName": "bad", "containers": [{"name": "c", "image": "busybox"}]},
            });
            let pod = Object::from_value(pod).unwrap();
            server.registry.create(POD, pod, WriteOptions::default()).await.unwrap();
        }
        let connection = dial(&server, &[], &executor).await.unwrap();
        connection.link().send(hello()).await.unwrap();
        eventually("the link", || server.links.connected("bad").then_some(())).await;
        // Nobody calls `next`: what the server says fills the connection.
        Timer::after(Duration::from_secs(1)).await;
        let start = std::time::Instant::now();
        server.registry.delete(NODE, "", "bad", DeleteOptions::default()).await.unwrap();
        eventually("the end", || (!server.links.connected("bad")).then_some(())).await;
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        fs::remove_dir_all(server.stop().await).unwrap();
    });
}

/// A whole server.
async fn api(folder: PathBuf, executor: &Executor) -> (midge::server::Ready, Task<()>) {
    let mut config = midge::server::Config::new(folder);
    config.bind_address = "127.0.0.1".parse().unwrap();
    config.port = 0;
    config.kubeconfig = None;
    let (ready, is_ready) = smol::channel::bounded(1);
    let inner = executor.clone();
    let task = executor.spawn(async move {
        let told = |facts| ready.try_send(facts).unwrap();
        midge::server::run(config, inner, future::pending(), told).await.unwrap();
    });
    (is_ready.recv().await.unwrap(), task)
}

fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_log_that_nobody_reads_slows_nothing_else() {
    run_alone(|executor| async move {
        let home = folder("flood");
        let (ready, _server) = api(home.join("data"), &executor).await;
        let core = Notes::new("pi");
        let joining = options("pi", ready.url.parse().unwrap(), Some(ready.token.clone()), home.join("pi"));
        let _agent = session(&joining, &core, &executor);
        core.synced().await;

        let pem = fs::read_to_string(home.join("data/server/tls/ca.crt")).unwrap();
        let admin = fs::read_to_string(home.join("data/server/tls/admin-token")).unwrap();
        let call = async |method: &str, path: &str, body: String| {
            let tls = client_config_pinned(&pem).unwrap();
            let url: Url = ready.url.parse().unwrap();
            let mut client = Client::connect(&url, tls, Duration::from_secs(5), &executor).await.unwrap();
            let request = hyper::Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", format!("Bearer {}", admin.trim()))
                .header("content-type", "application/json")
                .body(http_body_util::Full::from(body))
                .unwrap();
            let response = client.send(request).await.unwrap();
            (client, response)
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"nodeName": "pi", "automountServiceAccountToken": false, "containers": [
                {"name": "flood", "image": "busybox"}, {"name": "quiet", "image": "busybox"}]},
        });
        let pods = "/api/v1/namespaces/default/pods";
        assert_eq!(call("POST", pods, pod.to_string()).await.1.status(), 201);
        let (_, pod) = core.put().await;
        let reference = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        let running = |phase: &str| {
            let container = |name: &str| {
                json!({"name": name, "image": "busybox", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}})
            };
            let statuses = [container("flood"), container("quiet")];
            let status = json!({"phase": phase, "containerStatuses": statuses}).to_string();
            ToServer::PodStatus(reference.clone(), status.into())
        };
        core.0.say.send(running("Running")).await.unwrap();
        let text = async |path: &str| {
            let (_client, response) = call("GET", path, String::new()).await;
            let bytes = body::read(response.into_body(), 1 << 20, Duration::from_secs(5)).await.unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let web = format!("{pods}/web");
        while !text(&web).await.contains("startedAt") {
            Timer::after(Duration::from_millis(10)).await;
        }

        // Several readers that read nothing.
        let before = resident();
        let mut readers = Vec::new();
        for _ in 0..4 {
            let reader = call("GET", &format!("{web}/log?container=flood&follow=true"), String::new()).await;
            assert_eq!(reader.1.status(), 200);
            readers.push(reader);
        }
        let mut sent = 0;
        let stalled = async {
            loop {
                Timer::after(Duration::from_millis(700)).await;
                let now = core.0.flooded.lock().unwrap().0;
                if std::mem::replace(&mut sent, now) == now {
                    return;
                }
            }
        };
        stalled.await;
        let grown = resident().saturating_sub(before);
        eprintln!("4 readers that read nothing: {sent} bytes under way, {grown} bytes of memory");
        assert!(grown < 4 << 20, "{grown} bytes");
        // Another stream, a status on the same link, and a second pod's way to the node.
        let start = std::time::Instant::now();
        assert_eq!(text(&format!("{web}/log?container=quiet")).await, "log of web\n");
        core.0.say.send(running("Failed")).await.unwrap();
        while !text(&web).await.contains("Failed") {
            Timer::after(Duration::from_millis(10)).await;
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // The readers vanish: the agent's ends are told.
        assert!(!core.0.flooded.lock().unwrap().1);
        drop(readers);
        eventually("the streams' end", || core.0.flooded.lock().unwrap().1.then_some(())).await;
        fs::remove_dir_all(home).unwrap();
    });
}
