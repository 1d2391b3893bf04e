//! Which system calls a container may make (`linux.seccomp` of the runtime-spec).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::spec::{Inputs, effective, is_privileged};

/// What RuntimeDefault allows whatever else a container may do: as containerd's and Docker's profiles, all
/// that is neither about the machine as a whole nor a way around namespaces. runc passes over those that
/// the architecture has not.
const ALWAYS: &str = include_str!("seccomp/calls.txt");

/// What RuntimeDefault allows with a capability, which the kernel then checks as well.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// What personality(2) may set: Linux, Linux 32 bit, either with an uname of 2.6, and the question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Every CLONE_NEW… of clone(2) but the one for time.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// The host's side of a virtual machine, which no network namespace separates.
const AF_VSOCK: u64 = 40;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// A profile that is larger is none.
const LARGEST: u64 = 1 << 20;

#[derive(Debug)]
pub enum Error {
    /// The kernel can't do it.
    Unavailable,
    Name {
        name: String,
    },
    Read {
        path: PathBuf,
        source: io::Error,
    },
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    NoObject {
        path: PathBuf,
    },
}

/// The profile that the pod asks for. None: any call may be made.
pub fn profile(inputs: &Inputs<'_>, capabilities: &[String]) -> Result<Option<Value>, Error> {
    let Some(wanted) = effective(inputs, "seccompProfile") else { return Ok(None) };
    let text = |key: &str| wanted.get(key).and_then(Value::as_str).unwrap_or("");
    let profile = match text("type") {
        _ if is_privileged(inputs.container) => return Ok(None),
        "RuntimeDefault" => runtime_default(capabilities),
        "Localhost" => localhost(&inputs.machine.seccomp_folder, text("localhostProfile"))?,
        _ => return Ok(None),
    };
    // seccomp(2): CONFIG_SECCOMP_FILTER.
    if !Path::new("/proc/sys/kernel/seccomp").exists() {
        return Err(Error::Unavailable);
    }
    Ok(Some(profile))
}

fn localhost(folder: &Path, name: &str) -> Result<Value, Error> {
    if name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(Error::Name { name: name.to_owned() });
    }
    let path = folder.join(name);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| match file.metadata()?.is_file() {
        true => file.take(LARGEST).read_to_end(&mut bytes),
        false => Err(io::Error::other("it is no regular file")),
    });
    read.map_err(|source| Error::Read { path: path.clone(), source })?;
    match serde_json::from_slice(&bytes) {
        Ok(profile @ Value::Object(_)) => Ok(profile),
        Ok(_) => Err(Error::NoObject { path }),
        Err(source) => Err(Error::Parse { path, source }),
    }
}

fn runtime_default(capabilities: &[String]) -> Value {
    let has = |capability: &str| capabilities.iter().any(|has| has == capability);
    let mut names: Vec<&str> = ALWAYS.split_whitespace().collect();
    for (_, calls) in BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        names.extend(calls.split(' '));
    }
    let allow = |name: &str, argument: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]});
    let mut calls = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    calls.push(allow("socket", json!({"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"})));
    for value in PERSONALITIES {
        calls.push(allow("personality", json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"})));
    }
    if !has("CAP_SYS_ADMIN") {
        let no_namespace = json!({
            "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
        });
        calls.push(allow("clone", no_namespace));
        // Its flags are behind a pointer: libraries that hear of no such call use clone.
        calls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM,
        "architectures": architectures(), "syscalls": calls,
    })
}

/// This machine's, with what its kernel runs beside.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "arm" => &["SCMP_ARCH_ARM"],
        "x86" => &["SCMP_ARCH_X86"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => &[],
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unavailable => {
                write!(f, "seccomp is not supported: the kernel is built without CONFIG_SECCOMP_FILTER")
            }
            Error::Name { name } => {
                write!(f, "the seccomp profile `{name}` is no path below the node's folder of profiles")
            }
            Error::Read { path, .. } => write!(f, "failed to read the seccomp profile `{}`", path.display()),
            Error::Parse { path, .. } => write!(f, "the seccomp profile `{}` is not JSON", path.display()),
            Error::NoObject { path } => {
                write!(f, "the seccomp profile `{}` is no JSON object", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { source, .. } => Some(source),
            Error::Parse { source, .. } => Some(source),
            Error::Unavailable | Error::Name { .. } | Error::NoObject { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_brings_its_calls() {
        let allowed = |capabilities: &[&str]| {
            let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
            let profile = runtime_default(&capabilities);
            let names = profile["syscalls"][0]["names"].as_array().unwrap().clone();
            move |call: &str| names.iter().any(|name| name == call)
        };
        let (none, admin) = (allowed(&[]), allowed(&["CAP_SYS_ADMIN", "CAP_SYS_TIME"]));
        for call in ["read", "openat", "futex", "statx", "rt_sigreturn"] {
            assert!(none(call), "{call}");
        }
        for call in ["mount", "unshare", "clone", "clock_settime", "setns", "syslog"] {
            assert!(!none(call) && admin(call), "{call}");
        }
        for call in
            ["reboot", "init_module", "keyctl", "kexec_load", "io_uring_setup", "swapon", "userfaultfd"]
        {
            assert!(!none(call) && !admin(call), "{call}");
        }
    }

    #[test]
    fn a_profile_of_the_nodes() {
        let folder = std::env::temp_dir().join(format!("midge-seccomp-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a")).unwrap();
        std::fs::write(folder.join("a/b.json"), r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        std::fs::write(folder.join("list"), "[]").unwrap();
        std::fs::write(folder.join("text"), "x").unwrap();
        assert_eq!(localhost(&folder, "a/b.json").unwrap(), json!({"defaultAction": "SCMP_ACT_ALLOW"}));
        for name in ["", "/etc/passwd", "../x", "a", "list", "text", "none"] {
            assert!(localhost(&folder, name).is_err(), "{name}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
