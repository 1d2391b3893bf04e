//! Pod sandboxes with the real CNI plugins, in a network namespace of their own for each test. Needs
//! root, Debian's containernetworking-plugins, iproute2, iptables, util-linux and busybox.

// What is allowed in tests counts for functions with #[test] only.
#![allow(clippy::unwrap_used, clippy::panic)]

use midge::agent::sandbox::{Error, Options, Sandbox, SandboxSpec, Sandboxes};
use midge::cni::{BridgeOptions, Config, Plugins};
use midge::sys::{cgroup, mount, netlink};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A machine as far as the network goes: the test's thread is moved into it, and with it what it runs.
struct Host {
    name: String,
    folder: PathBuf,
}

impl Host {
    /// None, with a word, without root.
    fn new(test: &str) -> Option<Host> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let name = format!("midge-{test}-{}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
        rustix::thread::move_into_link_name_space(file.as_fd(), None).unwrap();
        run(&["ip", "link", "set", "lo", "up"]);
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        Some(Host { name, folder })
    }

    fn bridge(&self, subnet: &str) -> Config {
        Config::bridge(&BridgeOptions {
            name: "midge".into(),
            bridge: "midge0".into(),
            subnet: subnet.into(),
            mtu: Some(1400),
            lease_dir: self.folder.join("leases"),
        })
    }

    fn sandboxes(&self, network: Config) -> Sandboxes {
        Sandboxes::new(Options {
            run_dir: self.folder.join("run"),
            cache_dir: self.folder.join("cache"),
            network: Some(network),
            plugins: Plugins::new(Plugins::default_folders()),
            cgroup_parent: self.cgroup(),
            cgroups: cgroup::detect().unwrap(),
        })
    }

    fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// What pods may leave behind: everything but the bridge.
    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(
            mount::below(&self.folder).unwrap().iter().map(|path| format!("mount {}", path.display())),
        );
        for folder in ["run/netns", "run/ipc", "run/uts", "cache"] {
            left.extend(
                files(&self.folder.join(folder)).into_iter().map(|name| format!("file {folder}/{name}")),
            );
        }
        let leases = files(&self.folder.join("leases/midge"));
        left.extend(
            leases.into_iter().filter(|name| name.parse::<IpAddr>().is_ok()).map(|ip| format!("lease {ip}")),
        );
        let links = run(&["ip", "-o", "link"]);
        left.extend(links.lines().filter(|line| line.contains("veth")).map(|line| format!("link {line}")));
        let chains = run(&["iptables", "-w", "-t", "nat", "-S"]);
        left.extend(chains.lines().filter(|line| line.contains("CNI-")).map(|line| format!("rule {line}")));
        left.extend(
            cgroup::detect()
                .unwrap()
                .children(&self.cgroup())
                .unwrap()
                .into_iter()
                .map(|g| format!("cgroup {g}")),
        );
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for path in mount::below(&self.folder).unwrap_or_default() {
            let _ = mount::unmount(&path);
        }
        let _ = cgroup::detect().and_then(|cgroups| cgroups.remove(&self.cgroup()));
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a command that must succeed; its output.
fn run(command: &[&str]) -> String {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a command in the sandbox's namespaces.
fn inside(sandbox: &Sandbox, command: &[&str]) -> String {
    let mut all = enter(sandbox);
    all.extend(command.iter().map(|word| word.to_string()));
    run(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn enter(sandbox: &Sandbox) -> Vec<String> {
    let net = format!("--net={}", sandbox.netns.as_ref().unwrap().display());
    let uts = format!("--uts={}", sandbox.uts.as_ref().unwrap().display());
    vec!["nsenter".into(), net, uts]
}

/// Killed at the latest when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_inside(sandbox: &Sandbox, command: &[&str]) -> Running {
    let enter = enter(sandbox);
    let mut start = Command::new(&enter[0]);
    start.args(&enter[1..]).args(command);
    Running(start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// `GET /` from inside the sandbox; busybox's own wget does not work on Debian 12 without a resolver.
fn fetch(from: &Sandbox, address: IpAddr) -> String {
    let netns = File::open(from.netns.as_ref().unwrap()).unwrap();
    let client = move || {
        rustix::thread::move_into_link_name_space(netns.as_fd(), None).unwrap();
        let connect = || TcpStream::connect_timeout(&(address, 80).into(), Duration::from_secs(2));
        // The server may not be up yet.
        let until = Instant::now() + Duration::from_secs(5);
        let mut stream = loop {
            match connect() {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    std::thread::spawn(client).join().unwrap()
}

fn pod(uid: &str) -> SandboxSpec {
    SandboxSpec {
        uid: uid.into(),
        namespace: "default".into(),
        name: format!("pod-{uid}"),
        hostname: format!("host-{uid}"),
        host_network: false,
        host_ipc: false,
    }
}

#[test]
fn pods_reach_each_other_and_leave_nothing() {
    let Some(host) = Host::new("reach") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.1.0/24"));
    smol::block_on(async {
        let one = sandboxes.ensure(&pod("1")).await.unwrap();
        let two = sandboxes.ensure(&pod("2")).await.unwrap();
        assert_eq!((one.ips.len(), two.ips.len()), (1, 1));
        assert_ne!(one.ips, two.ips);
        assert_eq!(sandboxes.list().unwrap(), ["1", "2"]);

        assert_eq!(inside(&one, &["busybox", "hostname"]).trim(), "host-1");
        assert!(inside(&one, &["ip", "-o", "link", "show", "eth0"]).contains("mtu 1400"));
        inside(&one, &["busybox", "ping", "-c", "1", "-W", "2", "127.0.0.1"]);
        inside(&two, &["busybox", "ping", "-c", "1", "-W", "2", &one.ips[0].to_string()]);
        fs::create_dir_all(host.folder.join("www")).unwrap();
        fs::write(host.folder.join("www/index.html"), "hello from one").unwrap();
        let www = host.folder.join("www").display().to_string();
        let server = start_inside(&one, &["busybox", "httpd", "-f", "-p", "80", "-h", &www]);
        assert!(fetch(&two, one.ips[0]).ends_with("hello from one"));

        // A new agent finds what the last one made, and makes nothing anew.
        let again = host.sandboxes(host.bridge("10.99.1.0/24"));
        assert_eq!(again.observe(&pod("1")).as_ref(), Some(&one));
        assert_eq!(again.ensure(&pod("1")).await.unwrap(), one);
        assert_eq!(again.observe(&pod("3")), None);

        // A process that still holds the namespace keeps neither pin nor veth.
        again.remove("1").await.unwrap();
        assert_eq!(again.list().unwrap(), ["2"]);
        drop(server);
        again.remove("2").await.unwrap();
        again.remove("2").await.unwrap();
        assert!(again.list().unwrap().is_empty());
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn a_failed_add_leaves_nothing_and_the_address_is_free_again() {
    let Some(host) = Host::new("fail") else { return };
    // Room for one pod: a leaked lease would show.
    let bridge = host.bridge("10.99.2.0/30");
    let text = serde_json::json!({"cniVersion": "0.4.0", "name": "midge", "plugins": [
        {"type": "bridge", "bridge": "midge0", "isGateway": true, "ipMasq": true, "ipam": {
            "type": "host-local", "dataDir": host.folder.join("leases"), "ranges": [[{"subnet": "10.99.2.0/30"}]]}},
        {"type": "tuning", "sysctl": {"net.core.there_is_no_such_thing": "1"}}]});
    let bad = Config::parse(text.to_string().as_bytes(), Path::new("bad.conflist")).unwrap();
    let sandboxes = host.sandboxes(bad);
    smol::block_on(async {
        let error = sandboxes.ensure(&pod("1")).await.unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error:?}");
        assert_eq!(host.leftovers(), [] as [&str; 0]);

        sandboxes.set_network(bridge);
        let one = sandboxes.ensure(&pod("1")).await.unwrap();
        assert_eq!(one.ips, ["10.99.2.2".parse::<IpAddr>().unwrap()]);
        let error = sandboxes.ensure(&pod("2")).await.unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error:?}");
        sandboxes.remove("1").await.unwrap();
        sandboxes.ensure(&pod("2")).await.unwrap();
        sandboxes.remove("2").await.unwrap();
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn after_a_reboot_the_old_lease_is_given_back_first() {
    let Some(host) = Host::new("reboot") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.3.0/30"));
    smol::block_on(async {
        let before = sandboxes.ensure(&pod("1")).await.unwrap();
        // What a reboot takes: the mounts, and with them the namespaces; here the run folder stays.
        for path in mount::below(&host.folder).unwrap() {
            mount::unmount(&path).unwrap();
        }
        assert_eq!(sandboxes.observe(&pod("1")), None);
        assert_eq!(sandboxes.list().unwrap(), ["1"]);
        let after = sandboxes.ensure(&pod("1")).await.unwrap();
        assert_eq!(after.ips, before.ips);
        inside(&after, &["ip", "addr", "show", "eth0"]);
        // The agent was killed before the pins were made whole.
        mount::unmount(after.ipc.as_ref().unwrap()).unwrap();
        fs::remove_file(after.ipc.as_ref().unwrap()).unwrap();
        assert_eq!(sandboxes.observe(&pod("1")), None);
        sandboxes.ensure(&pod("1")).await.unwrap();
        sandboxes.remove("1").await.unwrap();
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn a_pod_on_the_hosts_network_has_its_own_ipc_only() {
    let Some(host) = Host::new("hostnet") else { return };
    let options = Options {
        run_dir: host.folder.join("run"),
        cache_dir: host.folder.join("cache"),
        network: None,
        plugins: Plugins::new(vec![host.folder.join("no-plugins")]),
        cgroup_parent: host.cgroup(),
        cgroups: cgroup::detect().unwrap(),
    };
    let sandboxes = Sandboxes::new(options);
    smol::block_on(async {
        let spec = SandboxSpec { host_network: true, ..pod("1") };
        let sandbox = sandboxes.ensure(&spec).await.unwrap();
        assert!(sandbox.ips.is_empty() && sandbox.netns.is_none() && sandbox.uts.is_none());
        assert!(sandbox.ipc.is_some());
        assert_eq!(sandboxes.observe(&spec), Some(sandbox));
        assert!(matches!(sandboxes.ensure(&pod("2")).await, Err(Error::NoNetwork { .. })));
        sandboxes.set_network(host.bridge("10.99.4.0/24"));
        let error = sandboxes.ensure(&pod("2")).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("containernetworking-plugins"), "{source}");
        assert!(matches!(sandboxes.ensure(&pod("../2")).await, Err(Error::InvalidUid { .. })));
        assert_eq!(sandboxes.list().unwrap(), ["1"]);
        sandboxes.remove("1").await.unwrap();
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn news_of_the_network_are_the_hosts_not_the_pods() {
    let Some(host) = Host::new("news") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.5.0/24"));
    smol::block_on(async {
        // The first pod makes the bridge, which is the host's.
        sandboxes.ensure(&pod("1")).await.unwrap();
        let mut changes = netlink::changes().unwrap();
        while told(&mut changes, Duration::from_secs(2)).await {}

        sandboxes.ensure(&pod("2")).await.unwrap();
        sandboxes.remove("2").await.unwrap();
        assert!(!told(&mut changes, Duration::from_secs(2)).await, "a pod's interface is no news");

        run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run(&["ip", "link", "set", "up1", "up"]);
        run(&["ip", "link", "set", "up0", "up"]);
        run(&["ip", "addr", "add", "192.0.2.1/24", "dev", "up0"]);
        let started = Instant::now();
        assert!(told(&mut changes, Duration::from_secs(3)).await);
        assert!(started.elapsed() < Duration::from_secs(2));
        while told(&mut changes, Duration::from_secs(3)).await {}
        // The cable is pulled at the other end.
        run(&["ip", "link", "set", "up1", "down"]);
        assert!(told(&mut changes, Duration::from_secs(3)).await);
        sandboxes.remove("1").await.unwrap();
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

async fn told(changes: &mut netlink::Changes, patience: Duration) -> bool {
    let change = async { changes.next().await.map(|()| true) };
    let timeout = async {
        smol::Timer::after(patience).await;
        Ok(false)
    };
    futures_lite::future::or(change, timeout).await.unwrap()
}

#[test]
fn pods_that_start_at_once_get_addresses_of_their_own() {
    let Some(host) = Host::new("once") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.6.0/24"));
    let uids: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let executor = smol::LocalExecutor::new();
    let started = Instant::now();
    let ips = smol::block_on(executor.run(async {
        let tasks: Vec<_> = uids
            .iter()
            .map(|uid| {
                let sandboxes = &sandboxes;
                executor.spawn(async move { sandboxes.ensure(&pod(uid)).await.unwrap().ips })
            })
            .collect();
        let mut ips = Vec::new();
        for task in tasks {
            ips.extend(task.await);
        }
        ips
    }));
    eprintln!("{} pods in {:?}", uids.len(), started.elapsed());
    let distinct: BTreeSet<_> = ips.iter().collect();
    assert_eq!(distinct.len(), uids.len());
    smol::block_on(async {
        let one = Instant::now();
        sandboxes.ensure(&pod("one-more")).await.unwrap();
        eprintln!("one pod in {:?}", one.elapsed());
        for uid in sandboxes.list().unwrap() {
            sandboxes.remove(&uid).await.unwrap();
        }
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}
