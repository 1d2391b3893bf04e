//! A node's arguments → `agent::Config`.

use super::args::NodeArgs;
use super::error::Error;
use crate::agent::config::{Config, Taint};
use crate::agent::images;
use crate::agent::logger::Limits;
use crate::agent::pressure::{self, threshold};
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::cni::Plugins;
use crate::http::Url;
use crate::plan::shutdown;
use crate::{sys, token::JoinToken};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looked for in this order when no socket is named.
const SOCKETS: &[&str] = &[
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/docker/containerd/containerd.sock",
];
/// Where a machine's own CNI configuration is.
pub const CNI_CONF_DIR: &str = "/etc/cni/net.d";
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Within what the units let a stop take.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(240);

/// What differs between the agents of one machine, derived from the data folder: the default folder gets
/// the plain names, any other one gets names with its hash.
struct Names {
    run_dir: PathBuf,
    /// containerd's namespace, the parent cgroup's and the bridge's name.
    own: String,
    bridge: String,
}

impl Names {
    fn of(data_dir: &Path) -> Names {
        if data_dir == Path::new(super::DEFAULT_DATA_DIR) {
            return Names { run_dir: "/run/midge".into(), own: "midge".into(), bridge: "midge0".into() };
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, data_dir.as_os_str().as_encoded_bytes());
        let suffix = data_encoding::HEXLOWER.encode(&digest.as_ref()[..4]);
        let own = format!("midge-{suffix}");
        Names { run_dir: Path::new("/run").join(&own), bridge: own.clone(), own }
    }
}

/// The data folder: absolute, so that the same folder always gives the same names.
pub fn data_dir(given: Option<&str>) -> Result<PathBuf, Error> {
    let path = given.unwrap_or(super::DEFAULT_DATA_DIR);
    std::path::absolute(path).map_err(|_| Error::BadValue {
        flag: "data-dir",
        value: path.to_string(),
        expected: "a folder's path",
    })
}

/// The run folder of whoever uses this data folder.
pub fn run_dir(given: Option<&str>, data_dir: &Path) -> PathBuf {
    given.map_or_else(|| Names::of(data_dir).run_dir, PathBuf::from)
}

/// The text of the join token that the arguments name, if any.
pub fn join_token_text(args: &NodeArgs) -> Result<Option<String>, Error> {
    match (&args.token, &args.token_file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Some(text.trim().to_string()))
            .map_err(|source| Error::ReadFile { path: path.into(), source }),
        (None, None) => Ok(None),
    }
}

/// Validates what the arguments say about the node. `servers` are its link's addresses.
pub fn config(args: NodeArgs, servers: Vec<Url>) -> Result<Config, Error> {
    let data_dir = data_dir(args.data_dir.as_deref())?;
    let own = Names::of(&data_dir);
    let token =
        join_token_text(&args)?.map(|text| text.parse::<JoinToken>()).transpose().map_err(Error::Token)?;
    let node_name = node_name(args.node_name)?;
    let node_ip = args.node_ip.map(|ip| {
        ip.parse().map_err(|_| Error::BadValue {
            flag: "node-ip",
            value: ip.clone(),
            expected: "an IP address",
        })
    });
    Ok(Config {
        run_dir: run_dir(args.run_dir.as_deref(), &data_dir),
        data_dir,
        node_name,
        servers,
        token,
        containerd_socket: containerd_socket(args.container_runtime_endpoint.as_deref()),
        containerd_namespace: own.own.clone(),
        snapshotter: args.snapshotter.unwrap_or_else(|| "overlayfs".to_string()),
        images: image_settings(
            args.private_registry,
            args.image_gc_high_threshold,
            args.image_gc_low_threshold,
        )?,
        labels: args.node_label.iter().map(|label| self::label(label)).collect::<Result<_, _>>()?,
        taints: args.node_taint.iter().map(|taint| self::taint(taint)).collect::<Result<_, _>>()?,
        node_ip: node_ip.transpose()?,
        cni_bin_dirs: cni_bin_dirs(args.cni_bin_dir.as_deref()),
        cni_conf_dir: args.cni_conf_dir.unwrap_or_else(|| CNI_CONF_DIR.to_string()).into(),
        resolv_conf: args.resolv_conf.unwrap_or_else(|| "/etc/resolv.conf".to_string()).into(),
        cgroup_parent: format!("/{}", own.own),
        pod_max_pids: pod_max_pids(args.pod_max_pids)?,
        bridge: own.bridge,
        log_limits: log_limits(args.container_log_max_size, args.container_log_max_files)?,
        eviction: eviction(args.eviction_hard, args.eviction_pressure_transition_period)?,
        shutdown: shutdown_grace(args.shutdown_grace_period, args.shutdown_grace_period_critical_pods)?,
        set_clock: true,
        executable: std::env::current_exe()
            .map_err(|source| Error::ReadFile { path: "/proc/self/exe".into(), source })?,
    })
}

/// As the kubelet has it: -1 is no limit.
fn pod_max_pids(text: Option<String>) -> Result<Option<u64>, Error> {
    let Some(value) = text.filter(|text| text != "-1") else { return Ok(None) };
    let most = value.parse().ok().filter(|most| *most > 0);
    let expected = "a number greater than 0, or -1 for no limit";
    most.map(Some).ok_or(Error::BadValue { flag: "pod-max-pids", value, expected })
}

/// As the kubelet has them: a quantity such as `10Mi`, and at least two files.
fn log_limits(size: Option<String>, files: Option<String>) -> Result<Limits, Error> {
    let usual = Limits::default();
    let bad = |flag, value: String, expected| Error::BadValue { flag, value, expected };
    let size = size.map_or(Ok(usual.size), |text| {
        let bytes = Quantity::parse(&text).ok().and_then(|size| u64::try_from(size.value()).ok());
        let size = bytes.filter(|bytes| *bytes > 0);
        size.ok_or_else(|| bad("container-log-max-size", text, "a size such as 10Mi"))
    });
    let files = files.map_or(Ok(usual.files), |text| {
        let files = text.parse().ok().filter(|files| (2..=1000).contains(files));
        files.ok_or_else(|| bad("container-log-max-files", text, "a number from 2 to 1000"))
    });
    Ok(Limits { size: size?, files: files? })
}

fn image_settings(
    registries: Option<String>,
    high: Option<String>,
    low: Option<String>,
) -> Result<images::Settings, Error> {
    let usual = images::Settings::default();
    let percent = |flag, value: Option<String>, usual: u8| match value {
        None => Ok(usual),
        Some(value) => value.parse().ok().filter(|percent| *percent <= 100).ok_or(Error::BadValue {
            flag,
            value,
            expected: "a number from 0 to 100",
        }),
    };
    let gc_high = percent("image-gc-high-threshold", high, usual.gc_high)?;
    let gc_low = percent("image-gc-low-threshold", low, usual.gc_low.min(gc_high))?;
    if gc_low > gc_high {
        return Err(Error::BadValue {
            flag: "image-gc-low-threshold",
            value: gc_low.to_string(),
            expected: "at most --image-gc-high-threshold",
        });
    }
    let registries = registries.map_or(usual.registries, PathBuf::from);
    Ok(images::Settings { registries, gc_high, gc_low, ..usual })
}

fn eviction(hard: Option<String>, transition: Option<String>) -> Result<pressure::Options, Error> {
    let mut options = pressure::Options::default();
    if let Some(value) = hard {
        options.hard = threshold::parse(&value);
        if options.hard.is_none() {
            return Err(Error::BadValue { flag: "eviction-hard", value, expected: threshold::EXPECTED });
        }
    }
    if let Some(value) = transition {
        options.transition = duration(&value).ok_or(Error::BadValue {
            flag: "eviction-pressure-transition-period",
            value,
            expected: "a time such as 30s, 5m or 1h",
        })?;
    }
    Ok(options)
}

/// Without a time of their own the critical pods have what they have by default, or all if that is less.
fn shutdown_grace(all: Option<String>, critical: Option<String>) -> Result<shutdown::Grace, Error> {
    let usual = shutdown::Grace::default();
    let time = |flag, value: Option<String>, usual| match value {
        None => Ok(usual),
        Some(value) => duration(&value).filter(|time| *time <= LONGEST_SHUTDOWN).ok_or(Error::BadValue {
            flag,
            value,
            expected: "a time such as 30s or 2m, 4m at most",
        }),
    };
    let all = time("shutdown-grace-period", all, usual.all)?;
    let flag = "shutdown-grace-period-critical-pods";
    let given = critical.clone().unwrap_or_default();
    let critical = time(flag, critical, usual.critical.min(all))?;
    if critical > all {
        let expected = "at most --shutdown-grace-period";
        return Err(Error::BadValue { flag, value: given, expected });
    }
    Ok(shutdown::Grace { all, critical })
}

/// `30s`, `5m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) =
        [('s', 1), ('m', 60), ('h', 3600)].into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// The socket that is named, or the first of the usual ones that is there.
pub fn containerd_socket(given: Option<&str>) -> PathBuf {
    let usual = || *SOCKETS.iter().find(|socket| Path::new(socket).exists()).unwrap_or(&SOCKETS[0]);
    PathBuf::from(given.map_or_else(usual, |socket| socket.trim_start_matches("unix://")))
}

/// The folder that is named, or the usual ones.
pub fn cni_bin_dirs(given: Option<&str>) -> Vec<PathBuf> {
    given.map_or_else(Plugins::default_folders, |folder| vec![folder.into()])
}

/// Containers need root.
pub fn require_root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

/// `--node-name`, or the host's name in lower case, as the kubelet takes it.
pub fn node_name(given: Option<String>) -> Result<String, Error> {
    let name = given.unwrap_or_else(|| sys::host::hostname().to_lowercase());
    match names::is_dns_subdomain(&name) {
        Ok(()) => Ok(name),
        Err(_) => Err(Error::BadValue {
            flag: "node-name",
            value: name,
            expected: "a DNS name of lower-case letters, digits, `-` and `.`",
        }),
    }
}

fn label(text: &str) -> Result<(String, String), Error> {
    let bad =
        || Error::BadValue { flag: "node-label", value: text.to_string(), expected: "a label KEY=VALUE" };
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    if names::is_label_key(key).is_err() || names::is_label_value(value).is_err() {
        return Err(bad());
    }
    Ok((key.to_string(), value.to_string()))
}

fn taint(text: &str) -> Result<Taint, Error> {
    let bad = || Error::BadValue {
        flag: "node-taint",
        value: text.to_string(),
        expected: "a taint KEY[=VALUE]:EFFECT",
    };
    let (rest, effect) = text.rsplit_once(':').ok_or_else(bad)?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    if names::is_label_key(key).is_err()
        || names::is_label_value(value).is_err()
        || !EFFECTS.contains(&effect)
    {
        return Err(bad());
    }
    Ok(Taint { key: key.to_string(), value: value.to_string(), effect: effect.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_on_one_machine_share_no_names() {
        let (default, a, b) =
            (Names::of(Path::new("/var/lib/midge")), Names::of(Path::new("/a")), Names::of(Path::new("/b")));
        assert_eq!(default.own, "midge");
        assert_ne!(a.own, b.own);
        assert_ne!(a.run_dir, b.run_dir);
        // IFNAMSIZ
        assert!(a.bridge.len() <= 15);
    }

    #[test]
    fn critical_pods_have_a_part_of_the_time() {
        let grace = |all: &str, critical: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| text.to_string());
            let grace = shutdown_grace(given(all), given(critical)).map_err(|error| error.to_string());
            grace.map(|grace| (grace.all.as_secs(), grace.critical.as_secs()))
        };
        for (all, critical, wanted) in [
            ("", "", (30, 10)),
            ("2m", "", (120, 10)),
            ("5s", "", (5, 5)),
            ("0s", "", (0, 0)),
            ("20s", "20s", (20, 20)),
        ] {
            assert_eq!(grace(all, critical), Ok(wanted), "{all} {critical}");
        }
        let why = grace("20s", "21s").unwrap_err();
        assert_eq!(
            why,
            "--shutdown-grace-period-critical-pods: `21s` is not at most --shutdown-grace-period"
        );
        for (all, critical) in [("soon", ""), ("5m", ""), ("30", ""), ("", "-1s")] {
            assert!(grace(all, critical).is_err(), "{all} {critical}");
        }
    }

    #[test]
    fn labels_and_taints() {
        assert_eq!(label("a.b/c=d").unwrap(), ("a.b/c".to_string(), "d".to_string()));
        assert!(label("novalue").is_err());
        let taint = taint("k=v:NoSchedule").unwrap();
        assert_eq!((taint.key.as_str(), taint.value.as_str()), ("k", "v"));
        assert_eq!(super::taint("k:NoExecute").unwrap().value, "");
        assert!(super::taint("k=v:Sometimes").is_err());
        assert!(super::taint("k=v").is_err());
    }
}
