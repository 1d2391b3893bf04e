//! The pods' network: the machine's own CNI configuration, or midge's bridge.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::Config;
use super::outbox::Cluster;
use crate::chain;
use crate::cni::{self, Plugins};
use crate::sys::host;

/// Where the pods' network comes from.
pub struct Network {
    /// The machine's own configuration.
    own: Option<cni::Config>,
    /// Where the plugins' results are kept.
    pub cache_dir: PathBuf,
    pub plugins: Plugins,
    bridge: String,
    lease_dir: PathBuf,
}

impl Network {
    /// A configuration of the machine's wins over our bridge. That a plugin is missing keeps a node from
    /// joining; one that has joined says so in its Ready condition: see [`Network::trouble`].
    pub fn choose(config: &Config) -> Result<Network, cni::Error> {
        let own = cni::Config::load(&config.cni_conf_dir)?;
        let network = Network {
            // Addresses that others hand out outlive a reboot; ours are in the run folder and do not.
            cache_dir: if own.is_some() { config.cni_folder() } else { config.run_dir.join("cni") },
            own,
            plugins: Plugins::new(config.cni_bin_dirs.clone()),
            bridge: config.bridge.clone(),
            lease_dir: config.run_dir.join("leases"),
        };
        if !config.node_key_path().exists() {
            network.check()?;
        }
        Ok(network)
    }

    fn check(&self) -> Result<(), cni::Error> {
        match &self.own {
            Some(own) => own.check(&self.plugins),
            // Which plugins it needs does not depend on the range.
            None => self.bridge("").check(&self.plugins),
        }
    }

    /// None until the server has given the node its range.
    pub fn of(&self, cluster: &Cluster) -> Option<cni::Config> {
        if self.own.is_some() {
            return self.own.clone();
        }
        (!cluster.pod_cidr.is_empty()).then(|| self.bridge(&cluster.pod_cidr))
    }

    fn bridge(&self, subnet: &str) -> cni::Config {
        cni::Config::bridge(&cni::BridgeOptions {
            name: self.bridge.clone(),
            bridge: self.bridge.clone(),
            subnet: subnet.to_owned(),
            mtu: None,
            lease_dir: self.lease_dir.clone(),
        })
    }

    /// Why no pod can get a network now, for the node's Ready condition.
    pub fn trouble(&self) -> Option<String> {
        let not_ready = |why: String| Some(format!("container runtime network not ready: {why}"));
        if let Some(path) = self.own.as_ref().and_then(|own| own.path.as_ref()).filter(|path| !path.exists())
        {
            return not_ready(format!("the CNI configuration `{}` is gone", path.display()));
        }
        self.check().err().and_then(|error| not_ready(chain(&error)))
    }

    /// Connects midge's own bridge with the outside: pods' packets pass where the FORWARD chain drops
    /// what nobody lets pass, as Docker sets it, before midge or after; and leave with the node's address. By
    /// interface and range, so once is enough for all pods. Blocks for some milliseconds.
    pub fn open(&self, range: &str) {
        if self.own.is_some() || range.is_empty() {
            return;
        }
        let rules = [
            ("filter", vec!["FORWARD", "-i", &self.bridge, "-j", "ACCEPT"]),
            ("filter", vec!["FORWARD", "-o", &self.bridge, "-j", "ACCEPT"]),
            ("nat", vec!["POSTROUTING", "-s", range, "!", "-o", &self.bridge, "-j", "MASQUERADE"]),
        ];
        for (table, rule) in rules {
            let done = iptables(table, "-C", &rule).and_then(|there| match there {
                Ok(()) => Ok(Ok(())),
                Err(_) => iptables(table, "-I", &rule),
            });
            let why = match done {
                Ok(Ok(())) => continue,
                Ok(Err(said)) => said,
                Err(error) => error.to_string(),
            };
            log::warn!(
                "pods may reach neither each other nor the outside: `iptables -t {table} -I {}` failed ({why})",
                rule.join(" ")
            );
        }
    }
}

/// Takes back the rules that [`Network::open`] made for `bridge`, whichever the range was. Returns each
/// rule with why it could not be removed, if so. Without iptables there are none.
pub fn close(bridge: &str) -> io::Result<Vec<(String, Result<(), String>)>> {
    let mut closed = Vec::new();
    for (table, chain) in [("filter", "FORWARD"), ("nat", "POSTROUTING")] {
        let output = match run_iptables(table, "-S", &[chain]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(closed),
            other => other?,
        };
        match output.status.code() {
            Some(0) => {}
            // The kernel does not have this table, and so no rule in it.
            Some(NO_TABLE) => continue,
            _ => return Err(io::Error::other(said(&output))),
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some(rule) = line.strip_prefix("-A ").filter(|rule| is_ours(rule, bridge)) else { continue };
            let words: Vec<&str> = rule.split(' ').collect();
            closed.push((format!("{table} {rule}"), iptables(table, "-D", &words)?));
        }
    }
    Ok(closed)
}

/// Whether [`Network::open`] makes such a rule, in the words of `iptables -S`.
fn is_ours(rule: &str, bridge: &str) -> bool {
    match rule.split(' ').collect::<Vec<_>>()[..] {
        ["FORWARD", "-i" | "-o", name, "-j", "ACCEPT"] => name == bridge,
        ["POSTROUTING", "-s", _, "!", "-o", name, "-j", "MASQUERADE"] => name == bridge,
        _ => false,
    }
}

/// iptables' exit code when it can't open a table.
const NO_TABLE: i32 = 3;

/// Runs it; the inner error is what it complained about.
fn iptables(table: &str, command: &str, rule: &[&str]) -> io::Result<Result<(), String>> {
    let output = run_iptables(table, command, rule)?;
    Ok(if output.status.success() { Ok(()) } else { Err(said(&output)) })
}

fn run_iptables(table: &str, command: &str, rule: &[&str]) -> io::Result<Output> {
    let mut process = Command::new("iptables");
    process.env_clear().env("PATH", host::program_path()).stdin(Stdio::null());
    // Others may be at it for a while.
    process.args(["-w", "5", "-t", table, command]).args(rule).output()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_own_rules_are_its_own() {
        for ours in [
            "FORWARD -i midge0 -j ACCEPT",
            "FORWARD -o midge0 -j ACCEPT",
            "POSTROUTING -s 10.42.0.0/24 ! -o midge0 -j MASQUERADE",
        ] {
            assert!(is_ours(ours, "midge0"), "{ours}");
            assert!(!is_ours(ours, "midge"), "{ours}");
        }
        for other in ["FORWARD -i midge0 -j DROP", "FORWARD -i midge0 -o eth0 -j ACCEPT", ""] {
            assert!(!is_ours(other, "midge0"), "{other}");
        }
    }

    #[test]
    fn says_what_was_taken_away() {
        let folder = std::env::temp_dir().join(format!("midge-network-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let add = |name: &str| {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let path = folder.join("10-net.conflist");
        let text = r#"{"cniVersion":"0.4.0","name":"net","plugins":[{"type":"ptp"}]}"#;
        fs::write(&path, text).unwrap();
        let mut network = Network {
            own: Some(cni::Config::parse(text.as_bytes(), &path).unwrap()),
            cache_dir: folder.clone(),
            plugins: Plugins::new(vec![folder.clone()]),
            bridge: "midge0".into(),
            lease_dir: folder.clone(),
        };
        let trouble = |network: &Network| network.trouble().unwrap_or_default();
        assert!(trouble(&network).contains("`ptp`"), "{}", trouble(&network));
        add("ptp");
        assert_eq!(network.trouble(), None);
        fs::remove_file(&path).unwrap();
        assert!(trouble(&network).contains("10-net.conflist` is gone"), "{}", trouble(&network));
        network.own = None;
        assert!(trouble(&network).contains("`bridge`"), "{}", trouble(&network));
        add("bridge");
        add("host-local");
        assert_eq!(network.trouble(), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
