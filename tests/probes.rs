//! Probes and network hooks on whole pods, as kubectl shows them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::cluster::{Cluster, IMAGE, Machine};
use common::command::{eventually, run};
use common::process::Process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(25);
/// Goes on until it is told to end.
const SERVES: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";
/// Told to end, it goes on.
const DEAF: &str = "trap '' TERM; while true; do sleep 0.1; done";

fn pod(name: &str, script: &str, rest: Value) -> Value {
    let mut main = json!({"name": "main", "image": IMAGE, "command": ["sh", "-c", script]});
    main.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 3, "containers": [main]},
    })
}

/// A probe that is made each second.
fn probe(handler: Value, failures: u32) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": failures});
    probe.as_object_mut().unwrap().extend(handler.as_object().unwrap().clone());
    probe
}

/// `ready`, `started` or another member of the container's status.
fn status(cluster: &Cluster, pod: &str, member: &str) -> Value {
    let pod = cluster.object(&format!("pod {pod}")).unwrap_or_default();
    pod["status"]["containerStatuses"][0][member].clone()
}

#[track_caller]
fn becomes(cluster: &Cluster, pod: &str, member: &str, value: bool) {
    let what = format!("{pod}'s {member} becomes {value}");
    eventually(&what, PATIENCE, || (status(cluster, pod, member) == value).then_some(()));
}

#[track_caller]
fn says(cluster: &Cluster, pod: &str, text: &str) {
    eventually(&format!("{pod}'s events say: {text}"), PATIENCE, || {
        let events = cluster.kubectl(&format!("get events --field-selector involvedObject.name={pod}"));
        events.stdout.contains(text).then_some(())
    });
}

/// Listens on the machine's network.
fn listen(machine: &Machine) -> TcpListener {
    let path = machine.host.netns_path();
    let bound = thread::spawn(move || {
        let netns = File::open(path).unwrap();
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        TcpListener::bind("0.0.0.0:0").unwrap()
    });
    bound.join().unwrap()
}

/// Makes containerd's own health service one of the machine's network. Returns its port.
fn health_service(machine: &Machine) -> u16 {
    fn pump(mut from: impl Read, mut to: impl Write) {
        let _ = std::io::copy(&mut from, &mut to);
    }
    let listener = listen(machine);
    let port = listener.local_addr().unwrap().port();
    let socket = machine.containerd.as_ref().unwrap().socket();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(other) = UnixStream::connect(&socket) else { continue };
            let (back, from) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
            thread::spawn(move || {
                pump(&stream, &other);
                let _ = other.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                pump(from, &back);
                let _ = back.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// What somebody asked of a listener, which answers 500.
fn asked(listener: TcpListener) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let head = head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
            let _ = sender.send(head);
        }
    });
    receiver
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = vec![0; 4096];
    let length = stream.read(&mut head).unwrap_or(0);
    String::from_utf8_lossy(&head[..length]).into_owned()
}

/// An HTTPS server whose certificate is of the first version, for another name and from nobody known.
fn https_server(machine: &Machine) -> Process {
    let path = |name: &str| machine.folder.join(name).to_string_lossy().into_owned();
    let (key, request, certificate) = (path("key"), path("request"), path("certificate"));
    let name = ["-subj", "/CN=elsewhere.example"];
    run(
        "openssl",
        [&["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request], &name[..]]
            .concat(),
    );
    run("openssl", ["x509", "-req", "-in", &request, "-signkey", &key, "-days", "2", "-out", &certificate]);
    let mut command = machine.host.command("openssl");
    command.args(["s_server", "-accept", "4443", "-www", "-key", &key, "-cert", &certificate]);
    Process::start(command, Path::new(&path("openssl.log")))
}

/// Processes with these words in their command lines.
fn processes(words: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let command = |path: &PathBuf| fs::read(path.join("cmdline")).unwrap_or_default();
    all.filter(|path| String::from_utf8_lossy(&command(path)).replace('\0', " ").contains(words)).collect()
}

#[test]
fn http_and_tcp_probes_of_a_web_server() {
    let mut cluster = Cluster::new("probes-web").agent("pi-1").up();
    let www = cluster.agents[0].folder.join("www");
    fs::create_dir(&www).unwrap();
    let get = |path: &str| json!({"httpGet": {"path": path, "port": "http"}});
    let mut web = pod(
        "web",
        "exec httpd -f -p 8080 -h /www",
        json!({
            "ports": [{"name": "http", "containerPort": 8080}],
            "volumeMounts": [{"name": "www", "mountPath": "/www"}],
            "startupProbe": probe(get("/started"), 100),
            "readinessProbe": probe(get("/ready"), 1),
            "livenessProbe": probe(json!({"tcpSocket": {"port": 8080}}), 3),
        }),
    );
    web["spec"]["volumes"] = json!([{"name": "www", "hostPath": {"path": www}}]);
    let mut sick = pod("sick", DEAF, json!({"livenessProbe": probe(json!({"tcpSocket": {"port": 81}}), 2)}));
    // Its own grace is shorter than the pod's.
    sick["spec"]["terminationGracePeriodSeconds"] = 300.into();
    sick["spec"]["containers"][0]["livenessProbe"]["terminationGracePeriodSeconds"] = 1.into();
    for manifest in [&web, &sick] {
        cluster.apply(&manifest.to_string()).success();
    }

    cluster.phase("web", "Running");
    says(&cluster, "web", "Startup probe failed: HTTP probe failed with statuscode: 404");
    assert_eq!(
        (status(&cluster, "web", "started"), status(&cluster, "web", "ready")),
        (json!(false), json!(false))
    );
    fs::write(www.join("started"), "").unwrap();
    becomes(&cluster, "web", "started", true);
    says(&cluster, "web", "Readiness probe failed: HTTP probe failed with statuscode: 404");
    assert_eq!(status(&cluster, "web", "ready"), false);
    fs::write(www.join("ready"), "").unwrap();
    becomes(&cluster, "web", "ready", true);
    fs::remove_file(www.join("ready")).unwrap();
    becomes(&cluster, "web", "ready", false);
    let conditions =
        cluster.kubectl("get pod web -o jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}");
    assert_eq!(conditions.stdout, "ContainersNotReady");
    fs::write(www.join("ready"), "").unwrap();
    becomes(&cluster, "web", "ready", true);

    eventually("the sick one starts again", PATIENCE, || {
        status(&cluster, "sick", "restartCount").as_i64().filter(|count| *count > 0)
    });
    says(&cluster, "sick", ":81: connect: connection refused");
    says(&cluster, "sick", "Container main failed liveness probe, will be restarted");

    // A new agent believes the old one until it knows better.
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.start_agent(0);
    fs::remove_file(www.join("started")).unwrap();
    fs::remove_file(www.join("ready")).unwrap();
    becomes(&cluster, "web", "ready", false);
    assert_eq!(status(&cluster, "web", "started"), true);
    assert_eq!(status(&cluster, "web", "restartCount"), 0);
    cluster.kubectl("delete pod --all --grace-period=1 --timeout=30s").success();
}

#[test]
fn grpc_https_and_exec_probes_and_a_hook() {
    let cluster = Cluster::new("probes-grpc").agent("pi-1").up();
    let machine = &cluster.agents[0];
    let before = machine.host.interfaces();
    let (grpc, _https) = (health_service(machine), https_server(machine));
    let listener = listen(machine);
    let port = listener.local_addr().unwrap().port();
    let asked = asked(listener);
    let address = machine.host.address.to_string();

    let health = |service: &str| probe(json!({"grpc": {"port": grpc, "service": service}}), 1);
    let mut healthy = pod("healthy", SERVES, json!({"readinessProbe": health("")}));
    let mut unknown = pod("unknown", SERVES, json!({"readinessProbe": health("nobody")}));
    for pod in [&mut healthy, &mut unknown] {
        pod["spec"]["hostNetwork"] = true.into();
    }
    let get = json!({"httpGet": {"host": address, "port": 4443, "scheme": "HTTPS", "path": "/"}});
    let bye = json!({"httpGet": {"host": address, "port": port, "path": "/bye", "httpHeaders": [{"name": "X-From", "value": "hook"}]}});
    let secure =
        pod("secure", SERVES, json!({"readinessProbe": probe(get, 1), "lifecycle": {"preStop": bye}}));
    let late = json!({"exec": {"command": ["sh", "-c", "sleep 98127"]}});
    let late = pod("late", SERVES, json!({"readinessProbe": probe(late, 1)}));
    for manifest in [&healthy, &unknown, &secure, &late] {
        cluster.apply(&manifest.to_string()).success();
    }
    for pod in ["healthy", "secure"] {
        becomes(&cluster, pod, "ready", true);
    }
    says(
        &cluster,
        "unknown",
        "Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound",
    );
    says(
        &cluster,
        "late",
        "Readiness probe failed: command timed out: \"sh -c sleep 98127\" timed out after 1s",
    );
    for pod in ["unknown", "late"] {
        assert_eq!(status(&cluster, pod, "ready"), false);
    }

    cluster.kubectl("delete pod --all --timeout=30s").success();
    let head = asked.recv_timeout(Duration::from_secs(5)).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /bye http/1.1\r\n"), "{head}");
    assert!(head.contains("user-agent: kube-lifecycle/") && head.contains("x-from: hook"), "{head}");
    eventually("no program of a probe is left", Duration::from_secs(10), || {
        processes("sleep 98127").is_empty().then_some(())
    });
    machine.assert_nothing_left(&before);
}
