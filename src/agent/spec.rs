//! The OCI runtime specification of a container (runtime-spec `config.md`), from its pod. Pure.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::env;
use super::sandbox::Sandbox;
use super::volumes::{self, Mount};
use crate::api::Object;
use crate::api::quantity::Quantity;
use crate::containerd::ImageConfig;

/// The capabilities of a container that asks for none, as containerd and Docker have them.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All that there are, in the kernel's order up to 5.9: what `capabilities.add: [ALL]` means.
const ALL_CAPABILITIES: [&str; 27] = [
    "CAP_DAC_READ_SEARCH",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_LEASE",
    "CAP_AUDIT_CONTROL",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The period of a processor quota, microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The kernel's smallest quota.
const MIN_CPU_QUOTA: i64 = 1000;
const MIN_CPU_SHARES: i64 = 2;
const MAX_CPU_SHARES: i64 = 262_144;

/// What the machine allows.
#[derive(Debug, Clone)]
pub struct Machine {
    /// cgroup version 2 alone: containers get a cgroup namespace.
    pub cgroup_v2: bool,
    /// None: the memory controller is there; otherwise how to turn it on.
    pub memory_advice: Option<String>,
    /// Bytes, for the OOM score.
    pub memory: u64,
    /// The lowest OOM score adjustment that this process may give.
    pub oom_floor: i64,
}

/// All that a container's specification comes from.
pub struct Inputs<'a> {
    pub pod: &'a Object,
    /// Of `spec.containers`.
    pub container: &'a Value,
    pub image: &'a ImageConfig,
    pub sandbox: &'a Sandbox,
    pub machine: &'a Machine,
    /// Of the pod on the node; `etc/` in it has hosts, hostname and resolv.conf.
    pub folder: &'a Path,
    /// A file for the container's termination message.
    pub termination_log: &'a Path,
    pub id: &'a str,
    /// What [`env::env`] made.
    pub env: &'a [(String, String)],
    pub volumes: &'a [Mount],
}

/// The specification, and what of the pod it leaves out, for an event.
pub struct Spec {
    pub json: Vec<u8>,
    pub warnings: Vec<String>,
}

/// Why there is no specification: the container waits with the reason CreateContainerConfigError.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    NoCommand,
    /// The image names its user, and only its own files know the number.
    UserName {
        user: String,
    },
    RunAsRoot,
    Resource {
        resource: &'static str,
        value: String,
    },
}

/// `Guaranteed`, `Burstable` or `BestEffort` (Kubernetes' QoS classes).
pub fn qos_class(pod: &Object) -> &'static str {
    let (mut any, mut all) = (false, true);
    for container in pod.array_at("/spec/containers") {
        for resource in ["cpu", "memory"] {
            let limit = resource_text(container, "limits", resource);
            let request = resource_text(container, "requests", resource).or(limit.clone());
            any |= request.is_some();
            let equal = |a: &str, b: &str| match (Quantity::parse(a), Quantity::parse(b)) {
                (Ok(a), Ok(b)) => a.nanos() == b.nanos(),
                _ => false,
            };
            all &= limit.zip(request).is_some_and(|(limit, request)| equal(&limit, &request));
        }
    }
    match (any, all) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

/// Makes the specification.
pub fn spec(inputs: &Inputs<'_>) -> Result<Spec, Error> {
    let mut warnings = Vec::new();
    let args = args(inputs.container, inputs.image, inputs.env)?;
    let (resources, oom_score) = resources(inputs, &mut warnings)?;
    let capabilities = capabilities(inputs.container);
    let (uid, gid, groups) = user(inputs)?;
    // A process that is not root has no capabilities of its own; it may still get them by exec.
    let effective = if uid == 0 { capabilities.clone() } else { Vec::new() };
    let cwd = text(inputs.container, "/workingDir").unwrap_or(&inputs.image.working_dir);
    let mut json = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": gid, "additionalGids": groups},
            "args": args,
            "env": inputs.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "cwd": if cwd.is_empty() { "/" } else { cwd },
            "capabilities": {
                "bounding": capabilities, "effective": effective, "permitted": effective,
            },
            "noNewPrivileges": inputs.container.pointer("/securityContext/allowPrivilegeEscalation")
                == Some(&Value::Bool(false)),
            "oomScoreAdj": oom_score,
        },
        "root": {
            "path": "rootfs",
            "readonly": inputs.container.pointer("/securityContext/readOnlyRootFilesystem")
                == Some(&Value::Bool(true)),
        },
        "mounts": mounts(inputs),
        // The shim's grouping key: all containers of a pod share one shim.
        "annotations": {"io.containerd.runc.v2.group": inputs.pod.uid()},
        "linux": {
            "cgroupsPath": format!("{}/{}", inputs.sandbox.cgroup, inputs.id),
            "namespaces": namespaces(inputs),
            "resources": resources,
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
        },
    });
    if let Some(propagation) = volumes::root_propagation(inputs.volumes) {
        json["linux"]["rootfsPropagation"] = propagation.into();
    }
    Ok(Spec { json: json.to_string().into_bytes(), warnings })
}

/// A non-empty string.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    let items = value.pointer(pointer).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `command` takes the place of the image's entrypoint and drops its arguments too.
fn args(container: &Value, image: &ImageConfig, env: &[(String, String)]) -> Result<Vec<String>, Error> {
    let expand =
        |words: Vec<String>| words.into_iter().map(|word| env::expand(&word, env)).collect::<Vec<_>>();
    let command = expand(strings(container, "/command"));
    let arguments = expand(strings(container, "/args"));
    let mut args = if command.is_empty() { image.entrypoint.clone() } else { command.clone() };
    if !arguments.is_empty() {
        args.extend(arguments);
    } else if command.is_empty() {
        args.extend(image.cmd.iter().cloned());
    }
    if args.first().is_none_or(String::is_empty) { Err(Error::NoCommand) } else { Ok(args) }
}

/// The container's securityContext wins over the pod's, and both over the image.
fn user(inputs: &Inputs<'_>) -> Result<(u32, u32, Vec<u32>), Error> {
    let number = |field: &str| {
        let own = inputs.container.pointer(&format!("/securityContext/{field}"));
        let value = own.or_else(|| inputs.pod.at(&format!("/spec/securityContext/{field}")));
        value.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    };
    let (image_user, image_group) = inputs.image.user.split_once(':').unwrap_or((&inputs.image.user, ""));
    let parse = |name: &str| match name {
        "" | "root" => Ok(0),
        name => name.parse().map_err(|_| Error::UserName { user: inputs.image.user.clone() }),
    };
    let uid = number("runAsUser").map_or_else(|| parse(image_user), Ok)?;
    let gid = match number("runAsGroup") {
        Some(gid) => gid,
        // The image's group belongs to its user.
        None if number("runAsUser").is_some() => 0,
        None => parse(image_group)?,
    };
    let own = inputs.container.pointer("/securityContext/runAsNonRoot");
    let non_root = own.or_else(|| inputs.pod.at("/spec/securityContext/runAsNonRoot"));
    if non_root == Some(&Value::Bool(true)) && uid == 0 {
        return Err(Error::RunAsRoot);
    }
    let mut groups = vec![gid];
    let pod_groups = inputs.pod.array_at("/spec/securityContext/supplementalGroups").iter();
    let fs_group = inputs.pod.at("/spec/securityContext/fsGroup");
    for group in pod_groups.chain(fs_group).filter_map(Value::as_u64) {
        groups.extend(u32::try_from(group).ok().filter(|group| !groups.contains(group)));
    }
    Ok((uid, gid, groups))
}

fn capabilities(container: &Value) -> Vec<String> {
    let name = |name: &String| match name.to_ascii_uppercase() {
        full if full.starts_with("CAP_") => full,
        short => format!("CAP_{short}"),
    };
    let list = |field: &str| strings(container, &format!("/securityContext/capabilities/{field}"));
    let (add, drop): (Vec<_>, Vec<_>) =
        (list("add").iter().map(name).collect(), list("drop").iter().map(name).collect());
    let mut kept: Vec<String> = CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
    if drop.iter().any(|name| name == "CAP_ALL") {
        kept.clear();
    }
    if add.iter().any(|name| name == "CAP_ALL") {
        kept = CAPABILITIES.iter().chain(&ALL_CAPABILITIES).map(|name| (*name).to_owned()).collect();
    }
    for name in add.into_iter().filter(|name| name != "CAP_ALL") {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept.retain(|name| !drop.contains(name));
    kept
}

fn resource_text(container: &Value, group: &str, resource: &str) -> Option<String> {
    match container.pointer(&format!("/resources/{group}/{resource}"))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn resource(container: &Value, group: &str, resource: &'static str) -> Result<Option<Quantity>, Error> {
    let Some(value) = resource_text(container, group, resource) else { return Ok(None) };
    Quantity::parse(&value).map(Some).map_err(|_| Error::Resource { resource, value })
}

/// `linux.resources`, and the OOM score adjustment.
fn resources(inputs: &Inputs<'_>, warnings: &mut Vec<String>) -> Result<(Value, i64), Error> {
    let container = inputs.container;
    let cpu_limit = resource(container, "limits", "cpu")?.map(Quantity::milli);
    let cpu_request = resource(container, "requests", "cpu")?.map(Quantity::milli).or(cpu_limit).unwrap_or(0);
    let memory_limit =
        resource(container, "limits", "memory")?.map(Quantity::value).filter(|bytes| *bytes > 0);
    let memory_request = resource(container, "requests", "memory")?.map(Quantity::value).or(memory_limit);

    let shares = (cpu_request.max(0).saturating_mul(1024) / 1000).clamp(MIN_CPU_SHARES, MAX_CPU_SHARES);
    let mut cpu = json!({"shares": shares});
    if let Some(limit) = cpu_limit.filter(|milli| *milli > 0) {
        cpu["quota"] = (limit.saturating_mul(CPU_PERIOD) / 1000).max(MIN_CPU_QUOTA).into();
        cpu["period"] = CPU_PERIOD.into();
    }
    // runc adds the devices that every container has.
    let mut resources = json!({"cpu": cpu, "devices": [{"allow": false, "access": "rwm"}]});
    match (memory_limit, &inputs.machine.memory_advice) {
        (Some(limit), None) => resources["memory"] = json!({"limit": limit}),
        (Some(_), Some(advice)) => warnings.push(format!(
            "memory limit of container {} is not enforced: {advice}",
            text(container, "/name").unwrap_or("")
        )),
        (None, _) => {}
    }
    let wanted = oom_score(qos_class(inputs.pod), memory_request.unwrap_or(0), inputs.machine.memory);
    let oom_score = wanted.max(inputs.machine.oom_floor);
    if oom_score != wanted {
        log::debug!("OOM score {wanted} needs CAP_SYS_RESOURCE: container {} has {oom_score}", inputs.id);
    }
    Ok((resources, oom_score))
}

/// As the kubelet scores: the more of its request's share a container leaves, the later it is killed.
fn oom_score(class: &str, request: i64, memory: u64) -> i64 {
    match class {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let memory = i64::try_from(memory).unwrap_or(i64::MAX).max(1);
            (1000 - request.max(0).saturating_mul(1000) / memory).clamp(2, 999)
        }
    }
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let mut namespaces = vec![json!({"type": "mount"})];
    if !inputs.pod.bool_at("/spec/hostPID") {
        namespaces.push(json!({"type": "pid"}));
    }
    if inputs.machine.cgroup_v2 {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let pinned =
        [("network", &inputs.sandbox.netns), ("ipc", &inputs.sandbox.ipc), ("uts", &inputs.sandbox.uts)];
    for (kind, path) in pinned {
        if let Some(path) = path {
            namespaces.push(json!({"type": kind, "path": path}));
        }
    }
    namespaces
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let system = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        system(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        system("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        system("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    let bind = |destination: &str, source: &Path| {
        json!({
            "destination": destination, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", "rw"],
        })
    };
    for name in ["hosts", "hostname", "resolv.conf"] {
        mounts.push(bind(&format!("/etc/{name}"), &inputs.folder.join("etc").join(name)));
    }
    let message = text(inputs.container, "/terminationMessagePath").unwrap_or("/dev/termination-log");
    mounts.push(bind(message, inputs.termination_log));
    mounts.extend(inputs.volumes.iter().map(|volume| {
        json!({
            "destination": volume.destination, "type": "bind", "source": volume.source,
            "options": volume.options,
        })
    }));
    mounts
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoCommand => {
                write!(f, "no command specified: the image has none, so the container needs `command`")
            }
            Error::UserName { user } => write!(
                f,
                "the image's user `{user}` is a name, and midge takes only numbers and `root` from an image: set \
                 securityContext.runAsUser"
            ),
            Error::RunAsRoot => write!(f, "container has runAsNonRoot and image will run as root"),
            Error::Resource { resource, value } => {
                write!(f, "the amount `{value}` of {resource} is no quantity")
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
