//! `midge check`: can this machine be a node? One line a check; what fails names the way out.

use super::args::CheckArgs;
use super::error::Error;
use super::{block_on, node};
use crate::cni::Plugins;
use crate::{Executor, chain, cni, containerd, sys};
use std::path::Path;
use std::time::SystemTime;

/// overlayfs without surprises, and the namespaces that midge uses.
const OLDEST_KERNEL: (u32, u32) = (4, 19);
/// Below this much free disk an image hardly fits.
const LITTLE_DISK: u64 = 256 << 20;

enum Outcome {
    Good(String),
    /// Works, but not all of it.
    Poor(String),
    /// A node cannot run until it is mended.
    Bad(String),
}
use Outcome::{Bad, Good, Poor};

pub fn run(args: CheckArgs) -> Result<(), Error> {
    let socket = node::containerd_socket(args.container_runtime_endpoint.as_deref());
    let plugins = Plugins::new(node::cni_bin_dirs(args.cni_bin_dir.as_deref()));
    let conf_dir = args.cni_conf_dir.unwrap_or_else(|| node::CNI_CONF_DIR.to_string());
    let data_dir = node::data_dir(args.data_dir.as_deref())?;
    let checks = [
        ("kernel", kernel()),
        ("cgroups", cgroups()),
        ("containerd", block_on(async |executor| containerd(&socket, &executor).await)),
        ("CNI", network(Path::new(&conf_dir), &plugins)),
        ("clock", clock(SystemTime::now())),
        ("disk", disk(&data_dir)),
    ];
    let mut failed = 0;
    for (name, outcome) in checks {
        let (word, text) = match outcome {
            Good(text) => ("ok", text),
            Poor(text) => ("warning", text),
            Bad(text) => {
                failed += 1;
                ("FAILED", text)
            }
        };
        super::print(&format!("{word:<8} {name:<11} {text}"));
    }
    if failed > 0 { Err(Error::CheckFailed { failed }) } else { Ok(()) }
}

fn kernel() -> Outcome {
    let release = sys::host::kernel_release();
    if sys::host::kernel_version().is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        return Bad(format!("{release} is too old: midge needs Linux {major}.{minor} or later"));
    }
    if !sys::host::has_file_system("overlay") && !sys::host::has_module("overlay") {
        return Bad(format!(
            "{release} has no overlay file system: enable CONFIG_OVERLAY_FS, or `modprobe overlay`"
        ));
    }
    Good(format!("{release}, {}, overlay", sys::host::architecture()))
}

fn cgroups() -> Outcome {
    match sys::cgroup::detect() {
        Err(error) => Bad(chain(&error)),
        Ok(groups) => match groups.memory_advice() {
            // Pods run all the same, those with a limit with an event that says so.
            Some(advice) => Poor(format!("memory limits do not hold: {advice}")),
            None if !groups.has("cpu") => Poor("no cpu controller: CPU limits do not hold".to_string()),
            None => Good(format!("{:?}, with memory controller", groups.version).to_lowercase()),
        },
    }
}

async fn containerd(socket: &Path, executor: &Executor) -> Outcome {
    let version = async {
        let client = containerd::Client::connect(socket, "midge", executor).await?;
        client.version().await
    };
    match version.await {
        Ok(version) => Good(format!("{} at {}", version.version, socket.display())),
        Err(error) => Bad(chain(&error)),
    }
}

fn network(conf_dir: &Path, plugins: &Plugins) -> Outcome {
    let own = || {
        // The subnet is the server's to say; which plugins are needed does not depend on it.
        cni::Config::bridge(&cni::BridgeOptions {
            name: "midge".to_string(),
            bridge: "midge0".to_string(),
            subnet: "10.42.0.0/24".to_string(),
            mtu: None,
            lease_dir: "/nonexistent".into(),
        })
    };
    let config = match cni::Config::load(conf_dir) {
        Ok(config) => config,
        Err(error) => return Bad(chain(&error)),
    };
    let described = match config.as_ref().and_then(|config| config.path.as_ref()) {
        Some(path) => format!("configuration {}", path.display()),
        None => "midge's own bridge".to_string(),
    };
    let has_own = config.is_some();
    match config.unwrap_or_else(own).check(plugins) {
        Ok(()) if !has_own && sys::host::program("iptables").is_none() => {
            Bad(format!("{described} needs iptables, to hide pods' addresses from the outside: install it"))
        }
        Ok(()) => Good(described),
        Err(error) => Bad(chain(&error)),
    }
}

fn clock(now: SystemTime) -> Outcome {
    let shown = crate::api::time::format(now);
    match sys::host::clock_is_sane(now) {
        true => Good(shown),
        false => Poor(format!("{shown} is in the past: an agent takes the time from its server; set up NTP")),
    }
}

fn disk(data_dir: &Path) -> Outcome {
    // The folder may not be there yet: its nearest parent that is tells.
    let Some(folder) = data_dir.ancestors().find(|folder| folder.exists()) else {
        return Bad(format!("there is no {}", data_dir.display()));
    };
    match sys::host::disk(folder) {
        Err(error) => Bad(format!("{}: {error}", folder.display())),
        Ok(disk) => {
            let free = format!("{} MB free at {}", disk.available >> 20, folder.display());
            if disk.available < LITTLE_DISK {
                Poor(format!("{free}: hardly an image fits"))
            } else {
                Good(free)
            }
        }
    }
}
