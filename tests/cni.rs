//! Pod sandboxes with the real CNI plugins, in a network namespace of their own for each test. Needs
//! root, Debian's containernetworking-plugins, iproute2, iptables, util-linux and busybox.

// What is allowed in tests counts for functions with #[test] only.
#![allow(clippy::unwrap_used, clippy::panic)]

use midge::agent::sandbox::{Error, Options, Sandbox, SandboxSpec, Sandboxes};
use midge::api::Object;
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
            pod_max_pids: None,
            cgroups: cgroup::detect().unwrap(),
            executable: env!("CARGO_BIN_EXE_midge").into(),
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
        for folder in ["run/netns", "run/ipc", "run/uts", "run/shm", "run/pid", "cache"] {
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
        // The plugin's own chains for host ports stay; a pod's is CNI-DN-….
        let is_pods = |line: &&str| {
            line.contains("CNI-") && (!line.contains("CNI-HOSTPORT") || line.contains("CNI-DN-"))
        };
        left.extend(chains.lines().filter(is_pods).map(|line| format!("rule {line}")));
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
    fetch_from(from, address, 80)
}

fn fetch_from(from: &Sandbox, address: IpAddr, port: u16) -> String {
    let netns = File::open(from.netns.as_ref().unwrap()).unwrap();
    let client = move || {
        rustix::thread::move_into_link_name_space(netns.as_fd(), None).unwrap();
        let connect = || TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(2));
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
    pod_with(uid, serde_json::json!({"containers": []}))
}

fn pod_with(uid: &str, spec: serde_json::Value) -> SandboxSpec {
    let metadata = serde_json::json!({"uid": uid, "namespace": "default", "name": format!("pod-{uid}")});
    let mut pod = Object::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap();
    pod.set("/spec/hostname", format!("host-{uid}"));
    SandboxSpec::of(&pod, "cluster.local")
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
        pod_max_pids: None,
        cgroups: cgroup::detect().unwrap(),
        executable: env!("CARGO_BIN_EXE_midge").into(),
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

#[test]
fn a_host_port_leads_to_the_pod_until_it_goes() {
    let Some(host) = Host::new("port") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.7.0/24"));
    let ports = serde_json::json!([{"ports": [{"containerPort": 80, "hostPort": 8080}]}]);
    let spec = pod_with("1", serde_json::json!({"containers": ports}));
    smol::block_on(async {
        let one = sandboxes.ensure(&spec).await.unwrap();
        let rules = run(&["iptables", "-w", "-t", "nat", "-S"]);
        let to = format!("--dport 8080 -j DNAT --to-destination {}:80", one.ips[0]);
        assert!(rules.contains(&to), "{rules}");
        fs::create_dir_all(host.folder.join("www")).unwrap();
        fs::write(host.folder.join("www/index.html"), "hello by port").unwrap();
        let www = host.folder.join("www").display().to_string();
        let _server = start_inside(&one, &["busybox", "httpd", "-f", "-p", "80", "-h", &www]);
        // Another pod reaches it by the host's address on the bridge.
        let two = sandboxes.ensure(&pod("2")).await.unwrap();
        assert!(fetch_from(&two, "10.99.7.1".parse().unwrap(), 8080).ends_with("hello by port"));
        // An agent that starts anew and knows nothing of the pod takes it away.
        host.sandboxes(host.bridge("10.99.7.0/24")).remove("1").await.unwrap();
        sandboxes.remove("2").await.unwrap();
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn what_is_set_in_a_pods_namespaces() {
    let Some(host) = Host::new("inside") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.8.0/24"));
    let sysctls = serde_json::json!([
        {"name": "net.ipv4.tcp_keepalive_time", "value": "77"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]);
    let context = serde_json::json!({"sysctls": sysctls});
    let spec = serde_json::json!({"containers": [], "subdomain": "db", "setHostnameAsFQDN": true, "securityContext": context});
    let read = |path: &str| fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap();
    let before = (read("net/ipv4/tcp_keepalive_time"), read("kernel/shm_rmid_forced"));
    smol::block_on(async {
        let one = sandboxes.ensure(&pod_with("1", spec)).await.unwrap();
        let ipc = format!("--ipc={}", one.ipc.as_ref().unwrap().display());
        let sysctl =
            |name: &str| inside(&one, &["nsenter", &ipc, "busybox", "sysctl", "-n", name]).trim().to_owned();
        for (name, value) in [
            ("net.ipv4.tcp_keepalive_time", "77"),
            ("kernel.shm_rmid_forced", "1"),
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0\t2147483647"),
        ] {
            assert_eq!(sysctl(name), value, "{name}");
        }
        assert_eq!(inside(&one, &["busybox", "hostname"]).trim(), "host-1.db.default.svc.cluster.local");
        let shm = one.shm.clone().unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.contains(shm.to_str().unwrap())).unwrap();
        assert!(line.contains("tmpfs") && line.contains("size=65536k"), "{line}");

        let bad = serde_json::json!({"sysctls": [{"name": "net.ipv4.none", "value": "1"}]});
        let bad = pod_with("2", serde_json::json!({"containers": [], "securityContext": bad}));
        let error = sandboxes.ensure(&bad).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "failed to set the sysctl net.ipv4.none to `1`");
        let long =
            serde_json::json!({"containers": [], "subdomain": "x".repeat(50), "setHostnameAsFQDN": true});
        let error = sandboxes.ensure(&pod_with("3", long)).await.unwrap_err();
        assert!(error.to_string().contains("is too long (64 characters is the max"), "{error}");
        sandboxes.remove("1").await.unwrap();
    });
    assert_eq!((read("net/ipv4/tcp_keepalive_time"), read("kernel/shm_rmid_forced")), before);
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn pods_are_in_the_groups_of_their_classes() {
    let Some(host) = Host::new("class") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.9.0/24"));
    let amounts =
        |kind: &str, cpu: &str| serde_json::json!({"resources": {kind: {"cpu": cpu, "memory": "32Mi"}}});
    let with = |uid: &str, containers: serde_json::Value| {
        pod_with(uid, serde_json::json!({"hostNetwork": true, "containers": containers}))
    };
    let guaranteed = with("g", serde_json::json!([amounts("limits", "500m")]));
    let burstable = with("b", serde_json::json!([amounts("requests", "250m"), amounts("limits", "250m")]));
    let other = with("c", serde_json::json!([amounts("requests", "1")]));
    let best_effort = with("e", serde_json::json!([{}]));
    let group = |path: &str| format!("{}/{path}", host.cgroup());
    smol::block_on(async {
        for (spec, expected) in [
            (&guaranteed, "podg"),
            (&burstable, "burstable/podb"),
            (&other, "burstable/podc"),
            (&best_effort, "besteffort/pode"),
        ] {
            assert_eq!(sandboxes.ensure(spec).await.unwrap().cgroup, group(expected));
        }
        // What is there is found where it is, whatever the class says.
        let moved = SandboxSpec { class: best_effort.class, ..guaranteed.clone() };
        assert_eq!(sandboxes.observe(&moved).unwrap().cgroup, group("podg"));
        let read = |controller: &str, path: &str, file: &str| {
            let path = Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(group(path).trim_start_matches('/'))
                .join(file);
            fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .trim()
                .to_owned()
        };
        match cgroup::detect().unwrap().version {
            cgroup::Version::V2 => {
                assert_eq!(read("", "podg", "cpu.max"), "50000 100000");
                assert_eq!(read("", "podg", "memory.max"), (32 << 20).to_string());
                assert_eq!(read("", "burstable/podb", "memory.max"), "max");
                assert_eq!(read("", "besteffort", "cpu.weight"), "1");
            }
            _ => {
                assert_eq!(read("cpu", "podg", "cpu.cfs_quota_us"), "50000");
                assert_eq!(read("memory", "podg", "memory.limit_in_bytes"), (32 << 20).to_string());
                assert_eq!(read("cpu", "burstable/podb", "cpu.cfs_quota_us"), "-1");
                assert_eq!(read("cpu", "burstable", "cpu.shares"), (512 + 1024).to_string());
                assert_eq!(read("cpu", "besteffort", "cpu.shares"), "2");
            }
        }
        assert_eq!(sandboxes.list().unwrap(), ["b", "c", "e", "g"]);
        sandboxes.remove("c").await.unwrap();
        if cgroup::detect().unwrap().version != cgroup::Version::V2 {
            assert_eq!(read("cpu", "burstable", "cpu.shares"), "512");
        }
        for uid in ["b", "e", "g"] {
            sandboxes.remove(uid).await.unwrap();
        }
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}

#[test]
fn a_shared_pid_namespace_lives_with_its_sandbox() {
    let Some(host) = Host::new("pid") else { return };
    let sandboxes = host.sandboxes(host.bridge("10.99.10.0/24"));
    let shared = serde_json::json!({"hostNetwork": true, "containers": [{}], "shareProcessNamespace": true});
    let spec = pod_with("1", shared);
    let pause =
        || cgroup::detect().unwrap().processes(&format!("{}/besteffort/pod1", host.cgroup())).unwrap();
    smol::block_on(async {
        let one = sandboxes.ensure(&spec).await.unwrap();
        assert_eq!(pause().len(), 1);
        let enter = format!("--pid={}", one.pid.as_ref().unwrap().display());
        let own = run(&["nsenter", &enter, "busybox", "sh", "-c", "echo $$"]);
        assert_eq!(own.trim(), "2", "its shell is the second process in there");
        // An orphan that ends there leaves no zombie with the first process.
        run(&["nsenter", &enter, "busybox", "sh", "-c", "(busybox sleep 0.05 &) ; busybox sleep 0.2"]);
        let children = format!("/proc/{0}/task/{0}/children", pause()[0]);
        assert_eq!(fs::read_to_string(children).unwrap_or_default(), "");

        let again = host.sandboxes(host.bridge("10.99.10.0/24"));
        assert_eq!(again.observe(&spec).as_ref(), Some(&one));
        // Without its first process there is no such namespace: the sandbox is made anew.
        let pid = rustix::process::Pid::from_raw(i32::try_from(pause()[0]).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while !pause().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(sandboxes.observe(&spec), None);
        sandboxes.ensure(&spec).await.unwrap();
        let last = pause()[0];
        sandboxes.remove("1").await.unwrap();
        assert!(!Path::new(&format!("/proc/{last}")).exists(), "it is gone, and no zombie");
    });
    assert_eq!(host.leftovers(), [] as [&str; 0]);
}
