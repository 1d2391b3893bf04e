//! exec, attach, port-forward and what else a client reaches a node through, with the real kubectl and with
//! hand-made clients: a real server, and a node that is a test's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "common/command.rs"]
mod command;
#[path = "remote/node.rs"]
mod node;
#[path = "remote/socket.rs"]
mod socket;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command::eventually;
use midge::Executor;
use node::Cluster;
use socket::Socket;

/// kubectl's switches between WebSockets and plain SPDY.
const SPDY: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

#[test]
fn exec_over_websocket() {
    exec(&Cluster::start("exec"));
}

#[test]
fn exec_over_spdy() {
    let mut cluster = Cluster::start("exec-spdy");
    cluster.variables.extend(SPDY);
    exec(&cluster);
}

fn exec(cluster: &Cluster) {
    cluster.kubectl("exec web -- echo one two").success().says(&["one two\n"]);
    cluster.kubectl("exec web -c web -- complain a b").success().says(&["a b\n"]);
    let failed = cluster.kubectl("exec web -- exit 7");
    assert_eq!(failed.code, Some(7), "{failed:?}");
    cluster.kubectl("exec web -- missing").refused(1, &["no such program"]);
    // More words than anybody types, none lost.
    let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let many = many.join(" ");
    assert_eq!(cluster.kubectl(&format!("exec web -- echo {many}")).success().stdout, format!("{many}\n"));

    // Input, its end, and more of both directions at once than is buffered on the way.
    let mut child =
        cluster.command("exec -i web -- cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let input = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());

    // What can't be.
    let refused = |line: &str, words: &[&str]| drop(cluster.kubectl(line).refused(1, words));
    refused("exec web -c nobody -- echo", &["container nobody is not valid for pod web"]);
    refused("exec nobody -- echo", &["\"nobody\" not found"]);
    refused("exec done -- echo", &["completed pod"]);
    refused("exec waiting -- echo", &["not found (\"web\")", "ContainerCreating"]);
}

/// Runs kubectl in a terminal of 33 lines and 99 columns.
fn in_terminal(cluster: &Cluster, line: &str, input: &str) -> String {
    let kubectl = cluster.command(line);
    let words: Vec<_> = kubectl.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty rows 33 cols 99; exec kubectl {}", words.join(" ")), "/dev/null"]);
    for (name, value) in kubectl.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    drop(stdin);
    child.wait().unwrap();
    text
}

#[test]
fn terminals_attach_and_debug() {
    for over_spdy in [false, true] {
        let mut cluster = Cluster::start(if over_spdy { "terminal-spdy" } else { "terminal" });
        if over_spdy {
            cluster.variables.extend(SPDY);
        }
        let size = in_terminal(&cluster, "exec -it -c shell web -- size", "");
        assert!(size.contains(r#"{"Width":99,"Height":33}"#), "{size}");
        let attached = in_terminal(&cluster, "attach -it -c shell web", "hello\nbye\n");
        assert!(attached.contains("attached to shell tty=true"), "{attached}");
        assert!(attached.contains("hello"), "{attached}");
        cluster.kubectl("attach -c web web").success().says(&["attached to web tty=false"]);

        // An ephemeral container, made and attached to.
        let debug = "debug -it web --image=x --target=web -c dbg -- sh";
        let debugged = in_terminal(&cluster, debug, "hello\nbye\n");
        assert!(debugged.contains("attached to dbg tty=true"), "{debugged}");
        let pod = cluster.kubectl("get pod web -o jsonpath={.spec.ephemeralContainers}").success().stdout;
        assert!(pod.contains(r#""targetContainerName":"web""#), "{pod}");
        cluster.kubectl("debug web --image=y --target=nobody -c other").refused(1, &["targetContainerName"]);
    }
}

/// kubectl port-forward, and the local ports that it chose.
fn forward(cluster: &Cluster, line: &str) -> (Child, Vec<u16>) {
    let count = line.split(' ').filter(|word| word.starts_with(':')).count();
    let mut child = cluster.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ports = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        // Forwarding from 127.0.0.1:40001 -> 80
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("Forwarding from 127.0.0.1:") {
            ports.push(rest.split(' ').next().unwrap().parse().unwrap());
        }
        if ports.len() == count {
            break;
        }
    }
    (child, ports)
}

#[test]
fn port_forward() {
    for over_spdy in [false, true] {
        let mut cluster = Cluster::start(if over_spdy { "forward-spdy" } else { "forward" });
        if over_spdy {
            cluster.variables.extend(SPDY);
        }
        let (mut child, ports) = forward(&cluster, "port-forward pod/web :80 :82");
        let connections: Vec<_> = (0..20)
            .map(|number| {
                let port = ports[number % 2];
                std::thread::spawn(move || {
                    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    let data: Vec<u8> = (0..200_000).map(|at| (at * number % 251) as u8).collect();
                    let (mut reader, expected) = (socket.try_clone().unwrap(), data.clone());
                    let writer = std::thread::spawn(move || {
                        socket.write_all(&data).unwrap();
                        socket.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut answer = Vec::new();
                    reader.read_to_end(&mut answer).unwrap();
                    writer.join().unwrap();
                    assert!(answer == [&expected[..], b"200000 bytes\n"].concat(), "{} bytes", answer.len());
                })
            })
            .collect();
        connections.into_iter().for_each(|connection| connection.join().unwrap());
        eventually("the streams' end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));
        // Open when the client vanishes.
        let mut socket = TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
        socket.write_all(b"x").unwrap();
        socket.read_exact(&mut [0]).unwrap();
        assert_eq!(cluster.running(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the stream's end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));

        // A port that nobody listens on: kubectl says what the node said.
        let (mut child, ports) = forward(&cluster, "port-forward pod/web :81");
        let mut socket = TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
        let _ = socket.write_all(b"x");
        let _ = socket.read_to_end(&mut Vec::new());
        let said = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
        assert!(said.contains("error forwarding port 81 to pod web"), "{said}");
        assert!(said.contains("connection refused"), "{said}");
        child.kill().unwrap();
        child.wait().unwrap();
        cluster.kubectl("port-forward pod/waiting :80").refused(1, &["pod is not running"]);
    }
}

const EXEC: &str = "/api/v1/namespaces/default/pods/web/exec?container=web";

#[test]
fn other_clients() {
    let cluster = Cluster::start("others");
    let executor = Executor::default();
    smol::block_on(executor.run(async {
        let open = async |query: &str, protocol: &str| {
            Socket::open(&cluster, &format!("{EXEC}&{query}"), protocol, &executor).await
        };
        let cat = "command=cat&stdin=true&stdout=true";
        let mut v4 = open(cat, "v4.channel.k8s.io").await.unwrap();
        v4.send(b"\0hello").await;
        assert_eq!(v4.next().await.unwrap(), b"\x01hello");
        v4.send(b"\0bye").await;
        assert_eq!(v4.next().await.unwrap(), b"\x01bye");
        assert_eq!(v4.next().await.unwrap(), b"\x03{\"metadata\":{},\"status\":\"Success\"}");
        assert_eq!(v4.next().await, None);
        let mut text = open("command=echo&command=a&stdout=true", "v4.base64.channel.k8s.io").await.unwrap();
        assert_eq!(text.next().await.unwrap(), b"1YQo=");
        let mut old = open("command=missing&stdout=true", "channel.k8s.io").await.unwrap();
        assert_eq!(old.next().await.unwrap(), b"\x03Internal error occurred: no such program");

        assert_eq!(open(cat, "v9.channel.k8s.io").await.err(), Some(400));
        assert_eq!(open("command=cat", "v5.channel.k8s.io").await.err(), Some(400), "no stream at all");
        assert_eq!(open("stdout=true", "v5.channel.k8s.io").await.err(), Some(400), "no command");

        // Bad messages end the session, nothing else.
        for bad in [&b"\xff"[..], b"\x07unknown", b"\x01not for the client to say"] {
            let mut socket = open(cat, "v5.channel.k8s.io").await.unwrap();
            socket.send(bad).await;
            socket.send(b"\0bye").await;
            while socket.next().await.is_some() {}
        }
        eventually("the programs' end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));
    }));
}

const FORWARD: &str = "/api/v1/namespaces/default/pods/web/portforward";

/// As the Python and JavaScript clients do it.
#[test]
fn port_forward_by_channels() {
    let cluster = Cluster::start("forward-channels");
    let executor = Executor::default();
    smol::block_on(executor.run(async {
        let open = async |query: &str, protocol: &str| {
            Socket::open(&cluster, &format!("{FORWARD}{query}"), protocol, &executor).await
        };
        let mut v4 = open("?ports=80&ports=81,258", "v4.channel.k8s.io").await.unwrap();
        for expected in
            [b"\0\x50\0", b"\x01\x50\0", b"\x02\x51\0", b"\x03\x51\0", b"\x04\x02\x01", b"\x05\x02\x01"]
        {
            assert_eq!(v4.next().await.unwrap(), expected);
        }
        let failed = String::from_utf8(v4.next().await.unwrap()).unwrap();
        assert_eq!(
            failed,
            "\x03Internal error occurred: error forwarding port 81 to pod web: connection refused"
        );
        v4.send(b"\x02to nobody").await;
        v4.send(b"\x01nobody listens").await;
        v4.send(b"\xffno channel").await;
        v4.send(b"\x04to the last").await;
        assert_eq!(v4.next().await.unwrap(), b"\x04to the last");
        v4.send(b"\0to the first").await;
        assert_eq!(v4.next().await.unwrap(), b"\0to the first");
        assert_eq!(cluster.running(), 2);
        drop(v4);
        eventually("the streams' end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));

        let mut text = open("?ports=80", "v4.base64.channel.k8s.io").await.unwrap();
        assert_eq!(text.next().await.unwrap(), b"0UAA=");
        assert_eq!(text.next().await.unwrap(), b"1UAA=");
        text.0.send("0aGk=".into()).await.unwrap();
        assert_eq!(text.next().await.unwrap(), b"0aGk=");
        // All connections over: so is the WebSocket.
        let mut over = open("?ports=81", "v4.channel.k8s.io").await.unwrap();
        let mut messages = 0;
        while over.next().await.is_some() {
            messages += 1;
        }
        assert_eq!(messages, 3);
        assert_eq!(open("", "v4.channel.k8s.io").await.err(), Some(400));
        assert_eq!(open("?ports=0", "v4.channel.k8s.io").await.err(), Some(400));
        assert_eq!(open("?ports=80", "v5.channel.k8s.io").await.err(), Some(400));
    }));
}

#[test]
fn a_hundred_sessions_at_once() {
    let cluster = Cluster::start("hundred");
    let executor = Executor::default();
    smol::block_on(executor.run(async {
        let path = format!("{EXEC}&command=cat&stdin=true&stdout=true");
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(Socket::open(&cluster, &path, "v5.channel.k8s.io", &executor).await.unwrap());
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(format!("\0number {number}").as_bytes()).await;
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.next().await.unwrap(), format!("\x01number {number}").into_bytes());
        }
        assert_eq!(cluster.running(), 100);
        // Half say that there is no more, half vanish.
        let rest = sockets.split_off(50);
        drop(rest);
        for socket in &mut sockets {
            socket.send(&[255, 0]).await;
            assert!(socket.next().await.unwrap().starts_with(b"\x03"));
        }
        eventually("their end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));
    }));
}

#[test]
fn a_nodes_own_words() {
    let cluster = Cluster::start("proxy");
    let raw = |path: &str| cluster.kubectl(&format!("get --raw /api/v1/nodes/{path}"));
    assert_eq!(raw("pi/proxy/stats/summary").success().stdout, "figures of stats/summary");
    let light = "pi/proxy/stats/summary?only_cpu_and_memory=true";
    let said = "figures of stats/summary?only_cpu_and_memory=true";
    assert_eq!(raw(light).success().stdout, said);
    assert_eq!(raw("pi:10250/proxy/metrics").success().stdout, "figures of metrics");
    raw("nobody/proxy/metrics").refused(1, &["\"nobody\" not found"]);
}

/// A client that vanishes: what it started is told.
#[test]
fn a_client_that_vanishes() {
    let cluster = Cluster::start("vanish");
    let mut child =
        cluster.command("exec -i web -- cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x").unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(cluster.running(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the program's end", Duration::from_secs(5), || (cluster.running() == 0).then_some(()));
}
