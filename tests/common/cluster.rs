//! A cluster of hosts, each a network namespace with its own containerd, and the real kubectl.

use super::command::{Answer, eventually, run};
use super::containerd::Containerd;
use super::folder::{Folder, unmount_below};
use super::network::{Host, Network, in_netns};
use super::process::Process;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The binary under test: this build's, or the one that MIDGE_BINARY names.
pub fn midge() -> String {
    std::env::var("MIDGE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_midge").to_string())
}
/// The image that every node has.
pub const IMAGE: &str = "localhost/busybox:1";

/// A server and any number of nodes. Fields are dropped in this order: processes before what they use.
pub struct Cluster {
    pub server: Machine,
    pub agents: Vec<Machine>,
    network: Network,
    /// Dropped last, and kept when the test failed.
    folder: Folder,
}

/// A host with what runs on it.
pub struct Machine {
    pub name: String,
    pub midge: Option<Process>,
    pub containerd: Option<Arc<Containerd>>,
    pub host: Arc<Host>,
    pub folder: PathBuf,
    /// The program that runs here: [`midge`], unless a test wants another.
    pub program: String,
}

impl Cluster {
    /// A server without a node. `name` tells this test's folder from others'.
    pub fn new(name: &str) -> Cluster {
        Cluster::with_server(name, &["--disable-agent"], false)
    }

    /// A server with a node in the same process.
    pub fn with_node(name: &str) -> Cluster {
        Cluster::with_server(name, &[], true)
    }

    /// A server without a node that is told more.
    pub fn told(name: &str, arguments: &[&str]) -> Cluster {
        Cluster::with_server(name, &[&["--disable-agent"], arguments].concat(), false)
    }

    fn with_server(name: &str, arguments: &[&str], node: bool) -> Cluster {
        let folder = Folder::new(name);
        let mut network = Network::new();
        let server = Machine::new("server", &mut network, &folder, node);
        let mut cluster = Cluster { server, agents: Vec::new(), network, folder };
        cluster.start_server(arguments);
        cluster
    }

    /// Starts the server, without waiting for it.
    pub fn spawn_server(&mut self, arguments: &[&str]) {
        let machine = &mut self.server;
        let mut command = machine.command(&["server"]);
        command.args(arguments).arg("--write-kubeconfig").arg(machine.folder.join("kubeconfig"));
        machine.midge = Some(Process::start(command, &machine.folder.join("midge.log")));
    }

    /// Starts the server, again after it was killed, and waits until it answers.
    pub fn start_server(&mut self, arguments: &[&str]) {
        self.spawn_server(arguments);
        eventually("the server answers", Duration::from_secs(20), || {
            self.kubectl("get --raw /readyz").stdout.contains("ok").then_some(())
        });
    }

    /// Adds a host with containerd and an agent that joins with the server's token.
    pub fn agent(mut self, name: &str) -> Cluster {
        self.add_agent(name);
        self
    }

    pub fn add_agent(&mut self, name: &str) -> &mut Machine {
        let machine = Machine::new(name, &mut self.network, &self.folder, true);
        self.agents.push(machine);
        let at = self.agents.len() - 1;
        self.start_agent(at);
        &mut self.agents[at]
    }

    /// A host with containerd and no agent yet.
    pub fn machine(&mut self, name: &str, containerd: bool) -> Machine {
        Machine::new(name, &mut self.network, &self.folder, containerd)
    }

    /// Starts agent number `at`, again after it was killed.
    pub fn start_agent(&mut self, at: usize) {
        let (url, token) = (self.url(), self.token());
        let machine = &mut self.agents[at];
        let mut command = machine.command(&["agent"]);
        command.env("MIDGE_URL", url).env("MIDGE_TOKEN", token);
        machine.midge = Some(Process::start(command, &machine.folder.join("midge.log")));
    }

    /// Waits until every node is Ready.
    pub fn up(self) -> Cluster {
        let nodes = self.agents.len() + usize::from(self.server.containerd.is_some());
        eventually("all nodes are Ready", Duration::from_secs(30), || {
            let ready = self.kubectl("get nodes --no-headers").stdout;
            (ready.lines().filter(|line| line.contains(" Ready ")).count() == nodes).then_some(())
        });
        self
    }

    pub fn url(&self) -> String {
        format!("https://{}:6443", self.server.host.address)
    }

    pub fn token(&self) -> String {
        let path = self.server.folder.join("data/server/token");
        std::fs::read_to_string(path).unwrap().trim().to_string()
    }

    /// kubectl on the server's host, with `line`'s words as arguments.
    pub fn kubectl(&self, line: &str) -> Answer {
        Answer::of(&mut self.kubectl_command(line))
    }

    pub fn kubectl_command(&self, line: &str) -> Command {
        let mut command = self.server.host.command("kubectl");
        command.env("KUBECONFIG", self.server.folder.join("kubeconfig"));
        command.env("HOME", &self.server.folder).env_remove("KUBERNETES_SERVICE_HOST");
        command.args(line.split_whitespace());
        command
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) -> Answer {
        let mut command = self.kubectl_command("apply -f -");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
        Answer::from_output("kubectl apply".to_string(), child.wait_with_output().unwrap())
    }

    /// Waits until a pod's phase is `phase`, and returns the object.
    #[track_caller]
    pub fn phase(&self, pod: &str, phase: &str) -> serde_json::Value {
        eventually(&format!("{pod} is {phase}"), Duration::from_secs(40), || {
            let pod = self.object(&format!("pod {pod}"))?;
            (pod["status"]["phase"] == phase).then_some(pod)
        })
    }

    /// The Ready condition of a node: status and reason.
    pub fn ready(&self, node: &str) -> (String, String) {
        let node = self.object(&format!("node {node}")).unwrap_or_default();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready =
            conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_string();
        (text("status"), text("reason"))
    }

    /// The objects of a list.
    pub fn items(&self, what: &str) -> Vec<serde_json::Value> {
        self.object(what).unwrap()["items"].as_array().unwrap().clone()
    }

    /// An object as kubectl prints it, `None` when there is none.
    pub fn object(&self, what: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.kubectl(&format!("get {what} -o json")).stdout).ok()
    }
}

impl Machine {
    fn new(name: &str, network: &mut Network, cluster: &Folder, containerd: bool) -> Machine {
        let host = Arc::new(network.host());
        let netns = host.netns_path();
        let containerd =
            containerd.then(|| Arc::new(Containerd::start_by(move |program| in_netns(&netns, program))));
        Machine::on(name, host, containerd, cluster.join(name), &image(cluster))
    }

    fn on(
        name: &str,
        host: Arc<Host>,
        containerd: Option<Arc<Containerd>>,
        folder: PathBuf,
        image: &Path,
    ) -> Machine {
        for sub in ["data/agent/images", "run", "cni"] {
            std::fs::create_dir_all(folder.join(sub)).unwrap();
        }
        std::fs::copy(image, folder.join("data/agent/images/busybox.tar")).unwrap();
        Machine { name: name.to_string(), midge: None, containerd, host, folder, program: midge() }
    }

    /// Another node on the same host and the same containerd, with folders of its own.
    pub fn neighbour(&self, name: &str) -> Machine {
        let image = self.folder.join("data/agent/images/busybox.tar");
        let folder = self.folder.with_file_name(name);
        Machine::on(name, Arc::clone(&self.host), self.containerd.clone(), folder, &image)
    }

    /// midge on this host, with folders of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(&self.program);
        command.args(arguments);
        command.arg("--data-dir").arg(self.folder.join("data"));
        command.arg("--run-dir").arg(self.folder.join("run"));
        command.arg("--cni-conf-dir").arg(self.folder.join("cni"));
        command.args(["--node-name", &self.name]);
        if let Some(containerd) = &self.containerd {
            command.arg("--container-runtime-endpoint").arg(containerd.socket());
        }
        command.env_remove("KUBECONFIG").env("MIDGE_CONFIG", empty_config(&self.folder));
        command
    }

    /// containerd's own client, in the namespace of the agent here.
    pub fn ctr(&self, line: &str) -> String {
        let mut command = self.host.command("ctr");
        command.arg("--address").arg(self.containerd.as_ref().unwrap().socket());
        command.args(["-n", &self.own_name()]).args(line.split_whitespace());
        Answer::of(&mut command).success().stdout
    }

    /// What the agent here calls its containerd namespace, its cgroup and its bridge.
    pub fn own_name(&self) -> String {
        let hash = midge::token::sha256(self.folder.join("data").as_os_str().as_encoded_bytes());
        hash[..4].iter().fold("midge-".to_string(), |name, byte| format!("{name}{byte:02x}"))
    }

    /// Stops containerd and starts it again; containers go on.
    pub fn restart_containerd(&mut self) {
        self.own_containerd().restart();
    }

    /// Cuts the power: all that runs here ends at once and says nothing more; what a boot clears is gone.
    pub fn power_off(&mut self) {
        self.host.unplug();
        self.midge.as_mut().unwrap().kill();
        self.own_containerd().power_off();
        unmount_below(&self.folder);
        std::fs::remove_dir_all(self.folder.join("run")).unwrap();
        self.host.clear();
    }

    /// Boots the host, without an agent yet, and gives it address `number` if it has another now.
    pub fn power_on(&mut self, number: Option<u8>) {
        if let Some(number) = number {
            Arc::get_mut(&mut self.host).expect("it has a neighbour").readdress(number);
        }
        self.host.plug_in();
        self.own_containerd().up();
    }

    fn own_containerd(&mut self) -> &mut Containerd {
        Arc::get_mut(self.containerd.as_mut().unwrap()).expect("it has a neighbour")
    }

    /// That a deleted pod has left no container, process, mount, namespace, interface, lease or cgroup.
    #[track_caller]
    pub fn assert_nothing_left(&self, interfaces_before: &[String]) {
        assert_eq!(self.ctr("tasks ls -q"), "");
        assert_eq!(self.ctr("containers ls -q"), "");
        // Committed ones are the images' layers.
        let snapshots = self.ctr("snapshots ls");
        assert!(!snapshots.contains("Active"), "snapshots are left: {snapshots}");
        assert_eq!(self.ctr("leases ls -q"), "", "leases of content are left");
        let shims = || self.containerd.as_ref().unwrap().shims();
        // An agent that was killed may have left one that containerd has lost; the next agent looks for such.
        eventually("the shims are gone", Duration::from_secs(20), || shims().is_empty().then_some(()));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let ours = self.folder.to_string_lossy().into_owned();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&ours)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        for folder in ["run/netns", "run/ipc", "run/uts", "data/agent/pods"] {
            let entries = std::fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
            let entries: Vec<_> = entries.map(|entry| entry.path()).collect();
            assert!(entries.is_empty(), "{entries:?} are left");
        }
        // The bridge stays; the pods' ends are gone.
        let left: Vec<String> = self
            .host
            .interfaces()
            .into_iter()
            .filter(|name| !interfaces_before.contains(name) && name.starts_with("veth"))
            .collect();
        assert!(left.is_empty(), "interfaces are left: {left:?}");
        let leases = Answer::of(Command::new("find").arg(&self.folder).args(["-name", "10.42.*"]));
        assert_eq!(leases.success().stdout, "", "addresses are still leased");
        let rules = Answer::of(&mut self.host.command("iptables-save")).success().stdout;
        let of_pods = |line: &&str| line.contains("id: \\\"") || line.contains("/32 ");
        let left: Vec<&str> = rules.lines().filter(of_pods).collect();
        assert!(left.is_empty(), "packet filter rules are left: {left:?}");
        let left = self.cgroups();
        assert!(left.is_empty(), "cgroups are left: {left:?}");
    }

    /// The cgroups below the agent's own, in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let own = self.own_name();
        let hierarchies = entries(Path::new("/sys/fs/cgroup"));
        let parents = hierarchies.into_iter().chain([PathBuf::from("/sys/fs/cgroup")]);
        let below = parents.flat_map(|hierarchy| entries(&hierarchy.join(&own)));
        below.filter(|path| path.is_dir()).collect()
    }

    /// Looks all the time until `moment` has come, then kills midge as a power cut does.
    #[track_caller]
    pub fn kill_when(&mut self, what: &str, moment: impl Fn(&Machine) -> bool) {
        let start = std::time::Instant::now();
        while !moment(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
            std::thread::yield_now();
        }
        self.midge.as_mut().unwrap().kill();
    }

    /// The process that runs midge here: what `nsenter` became.
    pub fn midge_id(&self) -> u32 {
        self.midge.as_ref().unwrap().id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("midge.log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for machine in std::iter::once(&self.server).chain(&self.agents) {
                let log = machine.log();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("-- the end of {}'s log", machine.name);
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// The archive of the image that every node has, made the way users make it.
fn image(cluster: &Folder) -> PathBuf {
    let path = cluster.join("busybox.tar");
    if !path.exists() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/busybox-image.sh");
        run("sh", [script, "/bin/busybox", IMAGE, &path.to_string_lossy()]);
    }
    path
}

/// What is in a folder; nothing when it is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A configuration file that says nothing, so that the machine's own is not read.
fn empty_config(folder: &Path) -> PathBuf {
    let path = folder.join("config.yaml");
    std::fs::write(&path, "").unwrap();
    path
}
