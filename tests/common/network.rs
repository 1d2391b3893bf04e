//! Hosts on one machine: network namespaces, each with a veth to a switch that is a bridge in a
//! namespace of its own. Nothing outside them is touched.

use super::command::{Answer, output, run};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Numbers the networks of one process; with its id the names are unique on the machine.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A switch and the hosts at it.
pub struct Network {
    name: String,
    hosts: u8,
}

impl Network {
    pub fn new() -> Network {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mg{}-{number}", std::process::id());
        let network = Network { name, hosts: 0 };
        let switch = network.switch();
        run("ip", ["netns", "add", &switch]);
        run("ip", ["-n", &switch, "link", "add", "switch", "type", "bridge"]);
        run("ip", ["-n", &switch, "link", "set", "switch", "up"]);
        network
    }

    /// Adds a host with the next address of 192.168.77.0/24.
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let (switch, number) = (self.switch(), self.hosts);
        let netns = format!("{}-h{number}", self.name);
        let address = format!("192.168.77.{number}");
        let port = format!("p{number}");
        run("ip", ["netns", "add", &netns]);
        let host = Host { netns, address, switch, port };
        run("ip", ["-n", &host.netns, "link", "set", "lo", "up"]);
        let uplink = ["-n", &host.netns, "link", "add", "eth0", "type", "veth", "peer", "name", &host.port];
        run("ip", uplink.iter().chain(&["netns", &host.switch]));
        run("ip", ["-n", &host.switch, "link", "set", &host.port, "master", "switch", "up"]);
        host.set_address();
        host
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.switch()]).status();
    }
}

/// Moves this thread, and those that it starts, to a network namespace that all tests of this program
/// share. It has no name, so that it goes with the program.
pub fn own() {
    static NETWORK: OnceLock<File> = OnceLock::new();
    let network = NETWORK.get_or_init(|| {
        let name = format!("mg{}-own", std::process::id());
        run("ip", ["netns", "add", &name]);
        run("ip", ["-n", &name, "link", "set", "lo", "up"]);
        let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
        run("ip", ["netns", "del", &name]);
        file
    });
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// A network namespace that stands for a machine.
pub struct Host {
    netns: String,
    pub address: String,
    switch: String,
    port: String,
}

impl Host {
    /// `program`, to be run on this host. The file system is the machine's: `nsenter` changes the network
    /// only, where `ip netns exec` would also give a mount namespace of its own.
    pub fn command(&self, program: &str) -> Command {
        in_netns(&self.netns_path(), program)
    }

    /// Pulls the cable, at the switch's end: the host sees its carrier go.
    pub fn unplug(&self) {
        run("ip", ["-n", &self.switch, "link", "set", &self.port, "down"]);
    }

    pub fn plug_in(&self) {
        run("ip", ["-n", &self.switch, "link", "set", &self.port, "up"]);
    }

    /// Takes away what a boot does: every interface but the uplink, the packet filter's rules.
    pub fn clear(&self) {
        for name in self.interfaces().iter().filter(|name| !matches!(name.as_str(), "lo" | "eth0")) {
            // The other end of one that is gone is gone, too.
            let _ = Command::new("ip").args(["-n", &self.netns, "link", "delete", name]).output();
        }
        for table in ["filter", "nat"] {
            for action in ["-F", "-X"] {
                Answer::of(self.command("iptables").args(["-t", table, action])).success();
            }
        }
    }

    /// Gives the host another address of 192.168.77.0/24.
    pub fn readdress(&mut self, number: u8) {
        self.address = format!("192.168.77.{number}");
        run("ip", ["-n", &self.netns, "addr", "flush", "dev", "eth0"]);
        self.set_address();
    }

    fn set_address(&self) {
        run("ip", ["-n", &self.netns, "addr", "add", &format!("{}/24", self.address), "dev", "eth0"]);
        run("ip", ["-n", &self.netns, "link", "set", "eth0", "up"]);
        run("ip", ["-n", &self.netns, "route", "add", "default", "via", "192.168.77.254"]);
    }

    /// Names of the network interfaces here.
    pub fn interfaces(&self) -> Vec<String> {
        let text = output("ip", ["-n", &self.netns, "-o", "link", "show"]);
        text.lines()
            .filter_map(|line| line.split(": ").nth(1))
            .map(|name| name.split('@').next().unwrap_or(name).to_string())
            .collect()
    }

    /// Bytes of IPv4 packets that this host has received and sent, headers included (`IpExt` of
    /// /proc/net/netstat: a line of names, a line of numbers).
    pub fn bytes(&self) -> u64 {
        let text = Answer::of(self.command("cat").arg("/proc/net/netstat")).success().stdout;
        let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
        let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
        let pairs = names.split_whitespace().zip(numbers.split_whitespace());
        let octets = pairs.filter(|(name, _)| ["InOctets", "OutOctets"].contains(name));
        octets.map(|(_, number)| number.parse::<u64>().unwrap()).sum()
    }

    pub fn netns_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.netns)
    }
}

/// `program`, to be run in the network namespace at `path`.
pub fn in_netns(path: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("--").arg(program);
    command
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
    }
}
