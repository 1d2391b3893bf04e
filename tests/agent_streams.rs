//! Streams of a real node: programs in containers, ports, logs. The test plays the server at the other end of a link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use midge::Executor;
use midge::agent::exec::process::{Process, Wanted};
use midge::agent::logger::Limits;
use midge::agent::session::Core;
use midge::agent::{Config, exec};
use midge::link::{
    AttachRequest, Chunk, Connection, End, ExecRequest, Link, LogRequest, Patience, PortForwardRequest,
    Received, Stream, StreamRequest, channel,
};
use serde_json::{Value, json};
use smol::future::{self, block_on};

/// With what a server has of its streams.
struct Node(common::node::Node);

impl Deref for Node {
    type Target = common::node::Node;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Node {
    fn new() -> Node {
        Node(common::node::Node::new())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Node {
        Node(common::node::Node::with(change))
    }

    fn start(&mut self) {
        self.0.start();
        self.0.welcome();
    }

    /// Runs a pod of one container, `web`, and waits until it has this phase.
    fn run(&mut self, uid: &str, phase: &str, container: Value) {
        let mut container = container;
        for (field, value) in [("name", "web"), ("image", "web:1"), ("imagePullPolicy", "Never")] {
            container[field] = value.into();
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": uid, "name": uid, "namespace": "default", "resourceVersion": "1"},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
        });
        self.put(uid, &pod);
        self.until(uid, phase);
    }

    fn until(&mut self, uid: &str, phase: &str) {
        self.0.until(&format!("{uid} {phase}"), |node| node.phase(uid) == phase);
    }

    /// containerd's id of the pod's container.
    fn container(&self, uid: &str) -> String {
        let id = self.statuses[uid]["containerStatuses"][0]["containerID"].as_str().unwrap();
        id.trim_start_matches("containerd://").to_owned()
    }

    /// Runs `test` with the server's end of a link to the node.
    fn with_link<F: Future<Output = ()>>(&self, test: impl FnOnce(Link) -> F) {
        let outbox = self.outbox().clone();
        self.with_client(async |_| {
            let executor = Executor::default();
            let (one, other) = smol::net::unix::UnixStream::pair().unwrap();
            let start =
                |io, end| Connection::start(Box::new(io), Bytes::new(), end, Patience::AGENT, &executor);
            let test = async {
                let (agent, server) = (start(one, End::Agent).await, start(other, End::Server).await);
                let serve = async {
                    loop {
                        if let Received::Open(request, stream) = agent.next().await.unwrap() {
                            outbox.open(request, stream);
                        }
                    }
                };
                // A server reads its link always.
                let read = async {
                    loop {
                        server.next().await.unwrap();
                    }
                };
                future::or(test(server.link().clone()), future::or(serve, read)).await;
            };
            executor.run(test).await;
        });
    }

    fn exec(&self, uid: &str, text: &str) -> ExecRequest {
        ExecRequest {
            namespace: "default".into(),
            pod: uid.into(),
            uid: uid.into(),
            container: "web".into(),
            command: ["sh", "-c", text].map(str::to_owned).into(),
            stdin: false,
            stdout: true,
            stderr: true,
            tty: false,
        }
    }

    /// How many processes of the node's containers have `argument` among theirs.
    fn running(&self, argument: &str) -> usize {
        let has = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let read = |name| std::fs::read(path.join(name)).unwrap_or_default();
            let group = String::from_utf8_lossy(&read("cgroup")).contains(self.containerd.namespace());
            group && read("cmdline").split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
        };
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| has(entry).then_some(())).count()
    }

    /// The folders of programs that run, or are not cleared yet.
    fn programs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.config.run_dir.join("exec"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

/// What comes on stdout and stderr until the stream ends, and its status.
async fn all(stream: &Stream) -> (String, String, Value) {
    let mut text = [Vec::new(), Vec::new()];
    loop {
        match stream.read().await.unwrap() {
            Chunk::Data { channel: channel @ (channel::STDOUT | channel::STDERR), data } => {
                text[usize::from(channel) - 1].extend_from_slice(&data);
            }
            Chunk::Data { .. } => {}
            Chunk::End { status } => {
                let [out, err] = text.map(|text| String::from_utf8_lossy(&text).into_owned());
                let status =
                    if status.is_empty() { Value::Null } else { serde_json::from_slice(&status).unwrap() };
                return (out, err, status);
            }
        }
    }
}

/// Reads until stdout has had `text`.
async fn until(stream: &Stream, text: &str) {
    let mut said = String::new();
    while !said.contains(text) {
        match stream.read().await {
            Ok(Chunk::Data { channel: channel::STDOUT, data }) => said += &String::from_utf8_lossy(&data),
            other => panic!("{other:?} after {said:?}, not {text:?}"),
        }
    }
}

fn script(text: &str) -> Value {
    json!({"command": ["sh", "-c", text]})
}

/// Waits until `done`.
async fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        smol::Timer::after(Duration::from_millis(20)).await;
    }
}

#[test]
fn programs_of_probes() {
    let mut node = Node::new();
    node.run("probed", "Running", script("exec sleep 1000"));
    let (id, run_dir) = (node.container("probed"), node.config.run_dir.clone());
    node.with_client(async |client| {
        let run = async |script: &str, seconds: u64| {
            let command = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
            exec::run(&client, &run_dir, &id, &command, Duration::from_secs(seconds), 10_000).await
        };
        let ran = run("echo out; echo err >&2; echo $COLOR; exit 3", 30).await.unwrap();
        let mut lines: Vec<_> = std::str::from_utf8(&ran.output).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!((ran.code, lines), (3, vec!["err", "green", "out"]));
        // Of much output the beginning is kept, and the program does not block on the rest.
        let ran = run("head -c 3000000 /dev/zero", 30).await.unwrap();
        assert_eq!((ran.code, ran.output.len()), (0, 10_000));
        assert_eq!(run("kill -9 $$", 30).await.unwrap().code, 137);
        // What it leaves behind holds its output, and nobody up.
        let begun = Instant::now();
        assert_eq!(run("sleep 4321 & exit 0", 30).await.unwrap().code, 0);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(node.running("4321"), 1);

        let late = run("sleep 4322 & sleep 4323; true", 1).await.unwrap_err();
        assert_eq!(late.to_string(), "command timed out after 1 s");
        eventually("the late program's children live", || node.running("4322") + node.running("4323") == 0)
            .await;

        let command = ["/no/such".to_owned()];
        let missing = exec::run(&client, &run_dir, &id, &command, Duration::from_secs(30), 100).await;
        let missing = missing.unwrap_err().to_string();
        assert!(missing.contains("no such file"), "{missing}");
        let gone = exec::run(&client, &run_dir, "nobody", &command, Duration::from_secs(30), 100).await;
        assert_eq!(gone.unwrap_err().to_string(), "the container is gone");
        // Dropped at any time.
        for milliseconds in [1, 5, 20, 60, 200] {
            let timer = async {
                smol::Timer::after(Duration::from_millis(milliseconds)).await;
            };
            let running = async {
                let _ = run("sleep 4324", 30).await;
            };
            future::or(running, timer).await;
        }
        eventually("programs are left", || node.programs().is_empty()).await;
        assert_eq!(node.running("4324"), 0);
    });
}

#[test]
fn programs_of_people() {
    let mut node = Node::new();
    node.run("shell", "Running", script("exec sleep 1000"));
    node.with_link(async |link| {
        let open = |request: ExecRequest| link.open(&StreamRequest::Exec(request)).unwrap();
        let (out, err, status) = all(&open(node.exec("shell", "echo out; echo err >&2; exit 3"))).await;
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
        assert_eq!(
            (&status["reason"], &status["details"]["causes"][0]),
            (&json!("NonZeroExitCode"), &json!({"reason": "ExitCode", "message": "3"}))
        );
        assert_eq!(status["message"], "command terminated with non-zero exit code: exit status 3");
        assert_eq!(all(&open(node.exec("shell", "true"))).await.2, Value::Null);

        // Megabytes each way, and the end of the input, which is not the end of the output.
        let data = vec![b'x'; 1_000_000];
        let cat = open(ExecRequest { stdin: true, ..node.exec("shell", "cat; echo end") });
        let send = async {
            cat.write(channel::STDIN, &data).await.unwrap();
            cat.write(channel::CLOSE, &[channel::STDIN]).await.unwrap();
        };
        let ((), (out, _, status)) = future::zip(send, all(&cat)).await;
        assert_eq!((out.len(), out.ends_with("xend\n"), status), (1_000_004, true, Value::Null));
        // An input that ends at once.
        for _ in 0..5 {
            let wc = open(ExecRequest { stdin: true, ..node.exec("shell", "wc -c") });
            wc.write(channel::CLOSE, &[channel::STDIN]).await.unwrap();
            assert_eq!(all(&wc).await.0, "0\n");
        }
        // A program that closes its input, or reads none, is not waited for by what is sent.
        let deaf = open(ExecRequest { stdin: true, ..node.exec("shell", "exec <&-; sleep 0.2; echo done") });
        let (_, (out, ..)) = future::zip(deaf.write(channel::STDIN, &data), all(&deaf)).await;
        assert_eq!(out, "done\n");

        // A terminal, its size, and what is typed.
        let shell = ExecRequest { stdin: true, stderr: false, tty: true, ..node.exec("shell", "") };
        let shell = open(ExecRequest { command: vec!["sh".into()], ..shell });
        shell.write(channel::RESIZE, br#"{"Width":91,"Height":37}"#).await.unwrap();
        shell.write(channel::RESIZE, b"{\"Width\":-1").await.unwrap();
        shell.write(channel::STDIN, b"stty size; echo $TERM.; tty\n").await.unwrap();
        until(&shell, "37 91\r\nxterm.\r\n/dev/pts/").await;
        shell.write(channel::STDIN, b"exit 5\n").await.unwrap();
        assert_eq!(all(&shell).await.2["details"]["causes"][0]["message"], "5");

        // What is not there.
        let nobody = ExecRequest { container: "db".into(), ..node.exec("shell", "true") };
        assert!(
            all(&open(nobody)).await.2["message"].as_str().unwrap().contains("container not found (\"db\")")
        );
        let elsewhere = ExecRequest { uid: "../shell".into(), ..node.exec("shell", "true") };
        assert_eq!(all(&open(elsewhere)).await.2["code"], 404);
        let missing = ExecRequest { command: vec!["nonesuch".into()], ..node.exec("shell", "") };
        let (_, _, status) = all(&open(missing)).await;
        assert!(
            status["message"].as_str().unwrap().contains("executable file not found in $PATH"),
            "{status}"
        );
    });
}

#[test]
fn nobody_stays_when_a_client_vanishes() {
    let mut node = Node::new();
    node.run("shell", "Running", script("exec sleep 1000"));
    node.with_link(async |link| {
        let open = |request: ExecRequest| link.open(&StreamRequest::Exec(request)).unwrap();
        // With and without a terminal; one that ignores signals, does not read, and has children.
        for tty in [false, true] {
            let stubborn =
                "trap '' HUP TERM PIPE; sleep 4331 & (sleep 4332 | sleep 4333) & echo up; sleep 4334";
            let stream = open(ExecRequest { stdin: true, stderr: !tty, tty, ..node.exec("shell", stubborn) });
            until(&stream, "up").await;
            let busy = async {
                loop {
                    stream.write(channel::STDIN, &[b'x'; 10_000]).await.unwrap();
                }
            };
            let alive = eventually("it does not run", || {
                ["4331", "4332", "4333", "4334"].map(|number| node.running(number)) == [1; 4]
            });
            future::or(alive, busy).await;
            drop(stream);
            let gone = || {
                ["4331", "4332", "4333", "4334"].map(|number| node.running(number)) == [0; 4]
                    && node.programs().is_empty()
            };
            eventually("a program outlives its client", gone).await;
        }
        // One whose output nobody reads, and one that has not started yet.
        let flood = open(node.exec("shell", "sleep 4335 & yes"));
        eventually("yes does not run", || node.running("4335") == 1).await;
        drop((flood, open(node.exec("shell", "sleep 4336"))));
        eventually("a program outlives its client", || {
            node.running("4335") + node.running("4336") == 0 && node.programs().is_empty()
        })
        .await;
    });
    // An agent that is killed leaves what it had started to the next one.
    let (id, run_dir) = (node.container("shell"), node.config.run_dir.clone());
    node.with_client(async |client| {
        let command = ["sleep", "4337"].map(str::to_owned).into();
        let wanted = Wanted { command, ..Wanted::default() };
        std::mem::forget(Process::start(&client, &run_dir, &id, wanted).await.unwrap());
    });
    // It is runc's own process for a moment.
    block_on(eventually("it does not run", || (node.running("4337"), node.programs().len()) == (1, 1)));
    node.stop();
    node.start();
    block_on(eventually("a program outlives two agents", || {
        node.running("4337") == 0 && node.programs().is_empty()
    }));
}

#[test]
fn a_hundred_sessions_at_once() {
    let mut node = Node::new();
    node.run("shell", "Running", script("exec sleep 1000"));
    node.with_link(async |link| {
        let request = ExecRequest { stdin: true, ..node.exec("shell", "echo up; cat") };
        let streams: Vec<Stream> =
            (0..100).map(|_| link.open(&StreamRequest::Exec(request.clone())).unwrap()).collect();
        for stream in &streams {
            until(stream, "up").await;
        }
        for (number, stream) in streams.iter().enumerate() {
            stream.write(channel::STDIN, number.to_string().as_bytes()).await.unwrap();
            stream.write(channel::CLOSE, &[channel::STDIN]).await.unwrap();
        }
        for (number, stream) in streams.iter().enumerate() {
            let (out, _, status) = all(stream).await;
            assert_eq!((out, status), (number.to_string(), Value::Null));
        }
        eventually("programs are left", || node.programs().is_empty()).await;
    });
}

#[test]
fn ports() {
    let mut node = Node::new();
    let serve = "echo hello > /tmp/index.html; httpd -p 127.0.0.1:8080 -h /tmp; \
        nc -ll -p 8081 -e sh -c 'cat; echo end' & exec sleep 1000";
    node.run("web", "Running", script(serve));
    node.with_link(async |link| {
        let open = |port| {
            let (namespace, pod, uid) = ("default".into(), "web".into(), "web".into());
            link.open(&StreamRequest::PortForward(PortForwardRequest { namespace, pod, uid, port })).unwrap()
        };
        let answer = async |port, question: &[u8]| {
            let stream = open(port);
            let (mut answer, mut closed) = (Vec::new(), false);
            let send = async {
                stream.write(0, question).await?;
                stream.write(channel::CLOSE, &[0]).await
            };
            let receive = async {
                loop {
                    match stream.read().await.unwrap() {
                        Chunk::Data { channel: 0, data } => answer.extend_from_slice(&data),
                        Chunk::Data { data, .. } => closed = *data == [0],
                        Chunk::End { status } => break String::from_utf8(status).unwrap(),
                    }
                }
            };
            let (_, status) = future::zip(send, receive).await;
            (String::from_utf8(answer).unwrap(), closed, status)
        };
        while !answer(8080, b"").await.2.is_empty() || !answer(8081, b"").await.2.is_empty() {
            smol::Timer::after(Duration::from_millis(50)).await;
        }
        let (page, closed, _) = answer(8080, b"GET / HTTP/1.0\r\n\r\n").await;
        assert!(page.ends_with("hello\n") && closed, "{page}");
        let large = vec![b'y'; 1_000_000];
        let (echoed, ..) = answer(8081, &large).await;
        assert_eq!((echoed.len(), echoed.ends_with("yend\n")), (1_000_004, true));
        let (_, _, refused) = answer(8082, b"").await;
        let refused: Value = serde_json::from_str(&refused).unwrap();
        let netns = node.config.run_dir.join("netns/web");
        let expected = format!(
            "error forwarding port 8082 to pod web, uid web: failed to execute portforward in network \
             namespace \"{}\": failed to connect to localhost:8082 inside namespace \"web\", IPv4: dial tcp4 \
             127.0.0.1:8082: connect: connection refused IPv6 dial tcp6 [::1]:8082: connect: connection refused",
            netns.display()
        );
        assert_eq!(refused["message"], expected);
    });
}

fn attach(uid: &str) -> AttachRequest {
    let (namespace, pod, container) = ("default".into(), uid.into(), "web".into());
    let (stdin, stdout, stderr, tty) = (true, true, true, false);
    AttachRequest { namespace, pod, uid: uid.into(), container, stdin, stdout, stderr, tty }
}

#[test]
fn people_at_a_containers_own_program() {
    let mut node = Node::new();
    let reader =
        json!({"command": ["sh", "-c", "echo begun; cat; echo end >&2"], "stdin": true, "stdinOnce": true});
    node.run("once", "Running", reader);
    let mut talker = script("while read line; do echo said $line; [ $line != bye ] || exit 0; done");
    talker["stdin"] = true.into();
    node.run("talker", "Running", talker);
    node.run("shell", "Running", json!({"command": ["sh"], "stdin": true, "tty": true}));
    node.run("plain", "Running", script("while :; do echo tick; sleep 0.1; done"));
    node.with_link(async |link| {
        let open = |uid| link.open(&StreamRequest::Attach(attach(uid))).unwrap();
        // The end of the input of the first one is that of the program's.
        let once = open("once");
        let data = vec![b'x'; 300_000];
        let send = async {
            once.write(channel::STDIN, &data).await.unwrap();
            once.write(channel::CLOSE, &[channel::STDIN]).await.unwrap();
        };
        let ((), (out, err, status)) = future::zip(send, all(&once)).await;
        assert_eq!(
            (out.trim_start_matches("begun\n").len(), err.as_str(), status),
            (300_000, "end\n", Value::Null)
        );

        // Two at once hear the same; who leaves takes nothing along.
        let (one, two) = (open("talker"), open("talker"));
        one.write(channel::STDIN, b"hello\n").await.unwrap();
        until(&one, "said hello\n").await;
        drop(one);
        two.write(channel::STDIN, b"again\n").await.unwrap();
        until(&two, "said again\n").await;
        // What comes to its end here leaves the program its input.
        two.write(channel::CLOSE, &[channel::STDIN]).await.unwrap();
        assert_eq!(all(&two).await.2, Value::Null);
        let three = open("talker");
        three.write(channel::STDIN, b"bye\n").await.unwrap();
        assert_eq!(all(&three).await, ("said bye\n".into(), String::new(), Value::Null));

        // A terminal that is left and found again.
        for size in ["30 90", "31 91"] {
            let shell = open("shell");
            let (height, width) = size.split_once(' ').unwrap();
            let resize = format!("{{\"Width\":{width},\"Height\":{height}}}");
            shell.write(channel::RESIZE, resize.as_bytes()).await.unwrap();
            shell.write(channel::STDIN, b"sleep 0.2; stty size\n").await.unwrap();
            until(&shell, &format!("{size}\r\n")).await;
        }
        // Without an input; what was said before is not repeated.
        until(&open("plain"), "tick\ntick\n").await;
    });
    node.until("once", "Succeeded");
    node.until("talker", "Succeeded");
    let log = |uid: &str| LogRequest {
        uid: uid.into(),
        pod: uid.into(),
        container: "web".into(),
        ..Default::default()
    };
    node.with_link(async |link| {
        let stream = link.open(&StreamRequest::Log(log("talker"))).unwrap();
        assert_eq!(all(&stream).await.0, "said hello\nsaid again\nsaid bye\n");
        let stream = link.open(&StreamRequest::Attach(attach("once"))).unwrap();
        assert!(all(&stream).await.2["message"].as_str().unwrap().contains("container not found"));
    });
}

#[test]
fn logs_are_followed_over_rotation() {
    let mut node = Node::with(|config| config.log_limits = Limits { size: 100_000, files: 3 });
    // Slow enough for a reader that looks every 150 ms: what is rotated away is gone.
    let count = "for j in $(seq 0 19); do for i in $(seq $((j*500+1)) $((j*500+500))); do echo line $i; done; \
                 sleep 0.1; done; echo done >&2; sleep 0.5";
    node.run("count", "Running", script(&format!("sleep 0.5; {count}")));
    let log = LogRequest {
        uid: "count".into(),
        pod: "count".into(),
        container: "web".into(),
        follow: true,
        ..LogRequest::default()
    };
    node.with_link(async |link| {
        let stream = link.open(&StreamRequest::Log(log.clone())).unwrap();
        let (text, _, status) = all(&stream).await;
        let expected = (1..=10_000).map(|number| format!("line {number}\n")).collect::<String>() + "done\n";
        assert_eq!((text == expected, text.len(), status), (true, expected.len(), Value::Null));
        // Of what was rotated away nothing is left, and what is left is whole.
        let rest = all(&link.open(&StreamRequest::Log(log.clone())).unwrap()).await.0;
        assert!(
            expected.ends_with(&rest) && (35_000..expected.len()).contains(&rest.len()),
            "{}",
            rest.len()
        );
        let tail = LogRequest { tail: Some(3000), ..log.clone() };
        assert_eq!(all(&link.open(&StreamRequest::Log(tail)).unwrap()).await.0.lines().count(), 3000);
        let stderr = LogRequest { stream: Some("stderr".into()), ..log };
        assert_eq!(all(&link.open(&StreamRequest::Log(stderr)).unwrap()).await.0, "done\n");
    });
    let folder = node.config.pods_folder().join("count/logs/web");
    let sizes = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 100_000), "{sizes:?}");
}
