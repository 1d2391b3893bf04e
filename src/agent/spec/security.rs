//! What of the kernel a container may use: capabilities, paths, AppArmor.

use serde_json::Value;

use super::{Error, Inputs, strings, text};

/// All that there are, in the order of the kernel's numbers (capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Those of a container that asks for none, as containerd and Docker have them.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub fn is_privileged(container: &Value) -> bool {
    container.pointer("/securityContext/privileged") == Some(&Value::Bool(true))
}

/// With their `CAP_`. `ours` are those that this process has: `ALL` can't mean more.
pub fn capabilities(container: &Value, ours: u64) -> Vec<String> {
    let list = |field: &str| {
        let names = strings(container, &format!("/securityContext/capabilities/{field}"));
        let short = |name: &String| {
            let name = name.to_ascii_uppercase();
            name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
        };
        names.iter().map(short).collect::<Vec<_>>()
    };
    let (add, drop) = (list("add"), list("drop"));
    let all =
        || CAPABILITIES.iter().enumerate().filter(|(bit, _)| ours >> bit & 1 == 1).map(|(_, name)| *name);
    let mut kept: Vec<&str> = if is_privileged(container) || add.iter().any(|name| name == "ALL") {
        all().collect()
    } else if drop.iter().any(|name| name == "ALL") {
        Vec::new()
    } else {
        DEFAULT_CAPABILITIES.to_vec()
    };
    if !is_privileged(container) {
        for name in add.iter().filter(|name| *name != "ALL") {
            if !kept.contains(&name.as_str()) {
                kept.push(name);
            }
        }
        kept.retain(|name| !drop.iter().any(|dropped| dropped == name));
    }
    kept.iter().map(|name| format!("CAP_{name}")).collect()
}

pub fn masked_paths(inputs: &Inputs<'_>) -> Vec<&'static str> {
    if shows_proc(inputs) { Vec::new() } else { MASKED_PATHS.to_vec() }
}

pub fn readonly_paths(inputs: &Inputs<'_>) -> Vec<&'static str> {
    if shows_proc(inputs) { Vec::new() } else { READONLY_PATHS.to_vec() }
}

fn shows_proc(inputs: &Inputs<'_>) -> bool {
    text(inputs.container, "/securityContext/procMount") == Some("Unmasked")
}

/// A field of the container's securityContext, or else of the pod's.
pub fn effective<'a>(inputs: &Inputs<'a>, field: &str) -> Option<&'a Value> {
    let own = inputs.container.pointer(&format!("/securityContext/{field}")).filter(|value| !value.is_null());
    own.or_else(|| inputs.pod.at(&format!("/spec/securityContext/{field}")))
}

/// What containerd and Docker load for containers that name no profile of their own.
const DEFAULT_PROFILES: [&str; 2] = ["cri-containerd.apparmor.d", "docker-default"];

/// The AppArmor profile to run under. Loading one is the node owner's: RuntimeDefault is the one of a runtime
/// that is there, or what the machine gives a process that names none.
pub fn apparmor(inputs: &Inputs<'_>) -> Result<Option<String>, Error> {
    let Some(profile) = effective(inputs, "appArmorProfile") else { return Ok(None) };
    let kind = text(profile, "/type").unwrap_or("");
    if is_privileged(inputs.container) || !matches!(kind, "Localhost" | "RuntimeDefault" | "Unconfined") {
        return Ok(None);
    }
    let Some(list) = &inputs.machine.apparmor_profiles else {
        return if kind == "Unconfined" { Ok(None) } else { Err(Error::NoAppArmor) };
    };
    // A line is a name and its mode: `docker-default (enforce)`. None: securityfs is not there to be read.
    let loaded = std::fs::read_to_string(list).ok();
    let is_loaded = |name: &str| {
        let mut names =
            loaded.iter().flat_map(|list| list.lines()).map(|line| line.rsplit_once(" (").unzip().0);
        names.any(|loaded| loaded == Some(name))
    };
    match (kind, text(profile, "/localhostProfile")) {
        ("Localhost", Some(name)) if loaded.is_some() && !is_loaded(name) => {
            Err(Error::AppArmorProfile(name.to_owned()))
        }
        ("Localhost", name) => Ok(name.map(str::to_owned)),
        ("RuntimeDefault", _) => {
            Ok(DEFAULT_PROFILES.into_iter().find(|name| is_loaded(name)).map(str::to_owned))
        }
        _ => Ok(Some("unconfined".to_owned())),
    }
}
