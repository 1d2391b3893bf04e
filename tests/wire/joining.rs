//! How nodes get in, and who does not.

use super::*;

#[test]
fn a_node_joins_runs_pods_and_survives_restarts_of_both_ends() {
    run(|executor| async move {
        let server = Server::start(folder("life"), None, &executor).await;
        let home = folder("life-agent");
        let core = Notes::new("pi");
        let joining = options("pi", server.url(), Some(server.tokens.server_token()), home.clone());
        let agent = session(&joining, &core, &executor);
        let ToAgent::Welcome(welcome) = core.heard().await else { panic!() };
        assert_eq!((welcome.pod_cidr.as_str(), welcome.node_key), ("10.42.0.0/24", None));
        let node = eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        assert_eq!(node.label("kubernetes.io/arch"), Some("arm64"));
        assert_eq!(welcome.node_uid, node.uid());

        // A pod: told, its status stored (and not told back), its log read.
        core.synced().await;
        let pod = server.pod("web", "pi").await;
        server.pod("other", "elsewhere").await;
        assert_eq!(core.put().await.1.uid(), pod.uid());
        let reference = PodRef { uid: pod.uid().into(), namespace: "default".into(), name: "web".into() };
        let status = br#"{"phase":"Running","podIP":"10.42.0.2"}"#.to_vec();
        core.0.say.send(ToServer::PodStatus(reference.clone(), status)).await.unwrap();
        let running = || {
            server
                .registry
                .get(POD, "default", "web")
                .ok()
                .filter(|pod| pod.str_at("/status/phase") == "Running")
        };
        eventually("the status", running).await;
        let log = LogRequest { pod: "web".into(), ..Default::default() };
        let stream = server.links.open("pi", &StreamRequest::Log(log)).await.unwrap();
        let Chunk::Data { data, .. } = stream.read().await.unwrap() else { panic!() };
        assert_eq!(data, "log of web\n");
        assert_eq!(stream.read().await.unwrap(), Chunk::End { status: Vec::new() });
        let away: Status =
            server.links.open("mars", &StreamRequest::Log(Default::default())).await.unwrap_err();
        assert_eq!(away.code, 503);

        // The agent restarts, without a token: its key opens the link, and nothing is told anew.
        drop(agent);
        let keyed = Options { token: None, ..joining.clone() };
        let agent = session(&keyed, &core, &executor);
        assert!(matches!(&core.synced().await[..], [ToAgent::Welcome(_)]));
        assert!(core.0.heard.is_empty());

        // The server restarts: the agent comes back by itself.
        let address = server.address;
        let server = Server::start(server.stop().await, Some(address), &executor).await;
        core.synced().await;
        eventually("the link", || server.links.connected("pi").then_some(())).await;

        // Deletion: a new Put with deletionTimestamp; the pod's end; the object goes; the agent forgets.
        while !core.0.heard.is_empty() {
            core.heard().await;
        }
        let deleted = DeleteOptions { grace_seconds: Some(5), ..Default::default() };
        server.registry.delete(POD, "default", "web", deleted).await.unwrap();
        assert!(core.put().await.1.deletion_timestamp().is_some());
        core.0.say.send(ToServer::PodGone(reference)).await.unwrap();
        assert!(matches!(core.heard().await, ToAgent::Remove(remove) if remove.uid == pod.uid()));
        assert!(server.registry.get(POD, "default", "web").is_err());

        // The node is deleted: its link ends, its key is of no use, a token lets it in again.
        server.registry.delete(NODE, "", "pi", DeleteOptions::default()).await.unwrap();
        let why = ends(agent).await;
        assert!(why.contains("was deleted"), "{why}");
        assert!(ends(session(&keyed, &core, &executor)).await.contains("revoked"));
        let rejoining = Options { token: Some(server.tokens.server_token()), ..keyed };
        let _agent = session(&rejoining, &core, &executor);
        eventually("Ready again", || server.node("pi").filter(|node| ready(node) == "True")).await;
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
    });
}

#[test]
fn refusals_name_the_way_out() {
    run(|executor| async move {
        let server = Server::start(folder("refuse"), None, &executor).await;
        let homes = folder("refuse-agents");
        let token = server.tokens.server_token();
        let try_joining = |name: &str, token: JoinToken, home: &str| {
            let core = Notes::new(name);
            let options = options(name, server.url(), Some(token), homes.join(home));
            let executor = executor.clone();
            async move { ends(session(&options, &core, &executor)).await }
        };
        let wrong: JoinToken = format!("{}x", token.reveal()).parse().unwrap();
        let why = try_joining("pi", wrong, "a").await;
        assert!(why.contains("(401)") && why.contains("midge token create"), "{why}");
        assert!(!why.contains(&token.credential.reveal()), "{why}");
        assert!(server.node("pi").is_none());

        let mut elsewhere = token.clone();
        elsewhere.ca_hash = Some([1; 32]);
        assert!(try_joining("pi", elsewhere, "a").await.contains("not for the cluster"), "other CA");
        assert!(try_joining("Pi_1", token.clone(), "a").await.contains("--node-name"), "bad name");
        assert!(!homes.join("a/node-key").exists());

        // A taken name, unless the first is deleted.
        let core = Notes::new("pi");
        let first = options("pi", server.url(), Some(token.clone()), homes.join("first"));
        let agent = session(&first, &core, &executor);
        core.synced().await;
        // KeySaved and what comes after it are in order: once the node is ready, the key is settled.
        eventually("Ready", || server.node("pi").filter(|node| ready(node) == "True")).await;
        let why = try_joining("pi", token.clone(), "second").await;
        assert!(why.contains("(409)") && why.contains("kubectl delete node pi"), "{why}");
        assert!(server.links.connected("pi"), "the first is left alone");
        drop(agent);

        // A token for one node admits one.
        let once = server.tokens.create("", None, Some(1)).await.unwrap();
        let core = Notes::new("one");
        let agent =
            session(&options("one", server.url(), Some(once.clone()), homes.join("one")), &core, &executor);
        core.synced().await;
        let why = try_joining("two", once, "two").await;
        assert!(why.contains("used as often"), "{why}");
        let (one, pi) = (server.node("one").unwrap(), server.node("pi").unwrap());
        assert_ne!(one.str_at("/spec/podCIDR"), pi.str_at("/spec/podCIDR"));
        drop(agent);

        let core = Notes::new("x");
        let none = options("x", server.url(), None, homes.join("x"));
        assert!(ends(session(&none, &core, &executor)).await.contains("MIDGE_TOKEN"));
        // A server that is not there: the agent goes on trying.
        let nowhere = options("x", "https://127.0.0.1:1".parse().unwrap(), Some(token), homes.join("x"));
        let trying = session(&nowhere, &core, &executor);
        Timer::after(Duration::from_millis(500)).await;
        assert!(!trying.is_finished());
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(homes).unwrap();
    });
}

#[test]
fn a_key_that_was_never_confirmed_locks_nobody_out() {
    run(|executor| async move {
        let server = Server::start(folder("pending"), None, &executor).await;
        let home = folder("pending-agent");
        let token = server.tokens.server_token();
        // The agent can't save its key: something is in the way of its files. It is refused by nobody, and tries again.
        let broken = home.join("broken");
        fs::create_dir_all(broken.join("server-ca.crt.tmp")).unwrap();
        let core = Notes::new("pi");
        let failing = session(&options("pi", server.url(), Some(token.clone()), broken), &core, &executor);
        eventually("a first attempt", || server.node("pi")).await;
        drop(failing);
        let agent = session(&options("pi", server.url(), Some(token), home.join("good")), &core, &executor);
        core.synced().await;
        drop(agent);
        let folder = server.stop().await;
        fs::remove_dir_all(folder).unwrap();
        fs::remove_dir_all(home).unwrap();
    });
}

#[test]
fn a_crash_at_any_step_of_joining_locks_nobody_out() {
    run(|executor| async move {
        let mut server = Server::start(folder("crash"), None, &executor).await;
        let once = server.tokens.create("", None, Some(1)).await.unwrap().credential.reveal();
        // The agent is killed before it saves its key: a token for one node is still good for this one.
        let first = joins(&server, "a", &once, &executor).await.unwrap().unwrap();
        let second = joins(&server, "a", &once, &executor).await.unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!(joins(&server, "b", &once, &executor).await, Err(401), "it is no other node's");
        let other = server.tokens.create("", None, Some(1)).await.unwrap().credential.reveal();
        assert!(joins(&server, "a", &other, &executor).await.unwrap().is_some());
        assert_eq!(joins(&server, "b", &other, &executor).await, Err(401), "a use was taken off it");
        // The server is killed before it hears of the key: the next one takes the key, and a token.
        let key = joins(&server, "c", &server_token(&server), &executor).await.unwrap().unwrap();
        let folder = server.folder.clone();
        drop(server);
        server = Server::start(folder, None, &executor).await;
        assert!(joins(&server, "c", &server_token(&server), &executor).await.unwrap().is_some());
        assert_eq!(joins(&server, "c", &format!("node:{key}"), &executor).await, Err(401), "it was replaced");
        let key = joins(&server, "d", &server_token(&server), &executor).await.unwrap().unwrap();
        let folder = server.folder.clone();
        drop(server);
        server = Server::start(folder, None, &executor).await;
        // The agent was killed between saving its key and saying so: the key settles itself.
        assert_eq!(joins(&server, "d", &format!("node:{key}"), &executor).await, Ok(None));
        assert_eq!(joins(&server, "d", &server_token(&server), &executor).await, Err(409));
        fs::remove_dir_all(server.stop().await).unwrap();
    });
}

fn server_token(server: &Server) -> String {
    server.tokens.server_token().credential.reveal()
}

#[test]
fn a_token_for_so_many_nodes_admits_no_more_at_once() {
    run(|executor| async move {
        let server = Arc::new(Server::start(folder("uses"), None, &executor).await);
        let token = server.tokens.create("", None, Some(3)).await.unwrap().credential.reveal();
        let attempts: Vec<_> = (0..8)
            .map(|number| {
                let (server, token, inner) = (server.clone(), token.clone(), executor.clone());
                let join = async move { joins(&server, &format!("n{number}"), &token, &inner).await };
                executor.spawn(join)
            })
            .collect();
        let mut refused = Vec::new();
        for attempt in attempts {
            refused.extend(attempt.await.err());
        }
        assert_eq!(refused, [401; 5]);
        fs::remove_dir_all(&server.folder).unwrap();
    });
}

#[test]
fn an_attacker_locks_out_no_neighbour() {
    run(|executor| async move {
        let server = Arc::new(Server::start(folder("neighbour"), None, &executor).await);
        let key = joins(&server, "pi", &server_token(&server), &executor).await.unwrap().unwrap();
        // Guesses from the same address, until so many wait for their answers that one is turned away.
        let turned_away = Arc::new(AtomicBool::new(false));
        let mut guesses = Vec::new();
        while !turned_away.load(Ordering::Relaxed) {
            let (server, inner, turned_away) = (server.clone(), executor.clone(), turned_away.clone());
            guesses.push(executor.spawn(async move {
                let answer = joins(&server, "x", "server:guess", &inner).await;
                turned_away.fetch_or(answer == Err(429), Ordering::Relaxed);
                answer
            }));
            Timer::after(Duration::from_millis(50)).await;
        }
        let start = std::time::Instant::now();
        assert_eq!(joins(&server, "pi", &format!("node:{key}"), &executor).await, Ok(None));
        assert!(joins(&server, "new", &server_token(&server), &executor).await.is_ok());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        for guess in guesses {
            assert!(matches!(guess.await, Err(401 | 429)));
        }
        fs::remove_dir_all(&server.folder).unwrap();
    });
}
