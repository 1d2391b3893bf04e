//! A real etcd (Debian's `etcd-server`), by its JSON gateway without TLS.

use super::common::command::eventually;
use super::common::folder::Folder;
use super::common::process::Process;
use super::load::{Client, Request, Target};
use data_encoding::BASE64;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

pub struct Etcd {
    process: Process,
    pub target: Target,
    _folder: Folder,
}

impl Etcd {
    /// In this thread's network.
    pub fn start() -> Etcd {
        let folder = Folder::new("bench-etcd");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join("data")).args(["--log-level", "error"]);
        let process = Process::start(command, &folder.join("etcd.log"));
        let target = Target { address: ([127, 0, 0, 1], 2379).into(), tls: None, token: String::new() };
        let etcd = Etcd { process, target, _folder: folder };
        eventually("etcd answers", Duration::from_secs(20), || {
            let mut client = Client::connect(&etcd.target).ok()?;
            (client.ask("GET", "/health", "", b"").ok()?.code == 200).then_some(())
        });
        etcd
    }

    pub fn put(&self, key: &str, value: &str) -> Request {
        let of = |text: &str| BASE64.encode(text.as_bytes());
        call("/v3/kv/put", &json!({"key": of(key), "value": of(value)}))
    }

    pub fn get(&self, key: &str) -> Request {
        call("/v3/kv/range", &json!({"key": BASE64.encode(key.as_bytes())}))
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn call(path: &str, body: &serde_json::Value) -> Request {
    let body = body.to_string().into_bytes();
    Request { method: "POST", path: path.to_owned(), content_type: "application/json", body }
}
