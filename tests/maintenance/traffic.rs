//! Clients of a Service that ask its ready pods all the time. Nothing routes between nodes: each host's client asks the
//! pods of its own host.

use crate::common::cluster::Cluster;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Deserializer, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests of a client, so that the clients leave some of the machine to the pods.
const PACE: Duration = Duration::from_millis(20);

pub struct Traffic {
    told: Arc<Mutex<Told>>,
    watch: Child,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    /// Nodes and addresses of ready endpoints, by slice.
    ready: BTreeMap<String, Vec<(String, SocketAddr)>>,
    /// How many requests were answered with what.
    answers: BTreeMap<String, usize>,
    failures: Vec<String>,
    is_over: bool,
}

impl Traffic {
    /// Begins to ask the pods of a Service at `port`.
    pub fn start(cluster: &Cluster, service: &str, port: u16) -> Traffic {
        let told = Arc::new(Mutex::new(Told::default()));
        let get = format!("get endpointslices -l kubernetes.io/service-name={service} -o json");
        let mut command = cluster.kubectl_command(&format!("{get} --watch --output-watch-events"));
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let news = watch.stdout.take().unwrap();
        let mut threads = vec![std::thread::spawn({
            let told = Arc::clone(&told);
            move || follow(news, port, &told)
        })];
        for machine in &cluster.agents {
            let (told, node) = (Arc::clone(&told), machine.name.clone());
            let netns = File::open(machine.host.netns_path()).unwrap();
            threads.push(std::thread::spawn(move || {
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                ask_all(&node, &told);
            }));
        }
        Traffic { told, watch, threads }
    }

    /// How many requests were answered with `body`.
    pub fn answers(&self, body: &str) -> usize {
        self.told.lock().unwrap().answers.get(body).copied().unwrap_or(0)
    }

    /// Requests that got no answer or none of a server.
    pub fn failures(&self) -> Vec<String> {
        self.told.lock().unwrap().failures.clone()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        if let Ok(mut told) = self.told.lock() {
            told.is_over = true;
        }
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Keeps what a watch of EndpointSlices says.
fn follow(news: impl Read, port: u16, told: &Mutex<Told>) {
    for event in Deserializer::from_reader(news).into_iter::<Value>() {
        // The end of kubectl.
        let Ok(event) = event else { return };
        let slice = &event["object"];
        let mut ready = Vec::new();
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if event["type"] != "DELETED" && endpoint["conditions"]["ready"] == true {
                let address = endpoint["addresses"][0].as_str().unwrap().parse().unwrap();
                let node = endpoint["nodeName"].as_str().unwrap().to_owned();
                ready.push((node, SocketAddr::new(address, port)));
            }
        }
        let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
        told.lock().unwrap().ready.insert(name, ready);
    }
}

/// Asks one ready pod of `node` after the other.
fn ask_all(node: &str, told: &Mutex<Told>) {
    for turn in 0.. {
        let address = {
            let told = told.lock().unwrap();
            if told.is_over {
                return;
            }
            let ready: Vec<_> = told.ready.values().flatten().filter(|(on, _)| on == node).collect();
            (!ready.is_empty()).then(|| ready[turn % ready.len()].1)
        };
        if let Some(address) = address {
            let answer = ask(address);
            let mut told = told.lock().unwrap();
            match answer {
                Ok(body) => *told.answers.entry(body).or_default() += 1,
                Err(error) => told.failures.push(format!("{address} on {node}: {error}")),
            }
        }
        std::thread::sleep(PACE);
    }
}

/// What a pod answers to `GET /`.
fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").filter(|_| answer.contains(" 200 OK\r\n"));
    body.map(|(_, body)| body.trim().to_owned()).ok_or_else(|| io::Error::other(answer.clone()))
}
