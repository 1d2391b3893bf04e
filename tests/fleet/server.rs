//! The server under test: a process of its own, on the loopback interface of a network of its own.

use crate::common::cluster::midge;
use crate::common::command::eventually;
use crate::common::folder::Folder;
use crate::common::network;
use crate::common::process::Process;
use crate::load::{Client, Target};
use midge::http::Url;
use midge::token::JoinToken;
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 6443;

pub struct Server {
    pub process: Process,
    pub folder: Folder,
}

impl Server {
    /// Starts one, and moves this thread to its network.
    pub fn start(name: &str) -> Server {
        network::own();
        raise_open_files();
        let folder = Folder::new(name);
        let process = spawn(&folder);
        let server = Server { process, folder };
        server.until_ready();
        server
    }

    /// Ends it gracefully and starts it on the same folder.
    pub fn restart(&mut self) {
        self.process.stop(Duration::from_secs(10));
        self.process = spawn(&self.folder);
        self.until_ready();
    }

    fn until_ready(&self) {
        eventually("the server answers", Duration::from_secs(20), || {
            let mut client = Client::connect(&self.try_target()?).ok()?;
            (client.ask("GET", "/readyz", "", b"").ok()?.code == 200).then_some(())
        });
    }

    pub fn url(&self) -> Url {
        format!("https://127.0.0.1:{PORT}").parse().unwrap()
    }

    pub fn token(&self) -> JoinToken {
        std::fs::read_to_string(self.folder.join("data/server/token")).unwrap().trim().parse().unwrap()
    }

    /// The API as its admin.
    pub fn target(&self) -> Target {
        self.try_target().unwrap()
    }

    fn try_target(&self) -> Option<Target> {
        let trust = self.folder.join("data/server/tls");
        let certificate = std::fs::read_to_string(trust.join("ca.crt")).ok()?;
        Some(Target {
            address: ([127, 0, 0, 1], PORT).into(),
            tls: Some(midge::tls::client_config_pinned(&certificate).unwrap()),
            token: std::fs::read_to_string(trust.join("admin-token")).ok()?,
        })
    }

    /// Bytes of the registry's journal.
    pub fn journal(&self) -> u64 {
        std::fs::metadata(self.folder.join("data/server/registry/journal.jsonl")).unwrap().len()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn spawn(folder: &Folder) -> Process {
    let mut command = Command::new(midge());
    std::fs::write(folder.join("config.yaml"), "").unwrap();
    command.args([
        "server",
        "--disable-agent",
        "--bind-address",
        "127.0.0.1",
        "--cluster-cidr",
        "10.0.0.0/12",
    ]);
    command.arg("--https-listen-port").arg(PORT.to_string());
    command.arg("--data-dir").arg(folder.join("data")).arg("--run-dir").arg(folder.join("run"));
    command.arg("--write-kubeconfig").arg(folder.join("kubeconfig"));
    command.env("MIDGE_CONFIG", folder.join("config.yaml")).env_remove("KUBECONFIG");
    Process::start(command, &folder.join("midge.log"))
}

/// A fleet has a socket for each node, here and in the server, which inherits this.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
