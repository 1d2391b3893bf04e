//! The OCI runtime specification of a container (runtime-spec `config.md`), from its pod.

mod mounts;
mod resources;
mod security;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use self::resources::{cpu_quota, cpu_shares};
pub use self::security::{effective, is_privileged};
use super::env;
use super::node::Resources;
use super::sandbox::Sandbox;
use super::seccomp;
use super::users::User;
use super::volumes::{self, Mount};
use crate::api::Object;
pub use crate::api::strategy::qos_class;
use crate::containerd::ImageConfig;
use crate::sys::device;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the machine allows.
#[derive(Debug, Clone)]
pub struct Machine {
    /// cgroup version 2 alone: containers get a cgroup namespace.
    pub cgroup_v2: bool,
    /// None: the memory controller is there; otherwise how to turn it on.
    pub memory_advice: Option<String>,
    /// Processor quotas are there.
    pub has_cpu_quota: bool,
    /// Sizes of huge pages that can be limited, as the runtime-spec names them: `2MB`.
    pub huge_pages: Vec<String>,
    /// Bytes, for the OOM score.
    pub memory: u64,
    /// What containers without a limit are told for one.
    pub allocatable: Resources,
    /// The lowest OOM score adjustment that this process may give.
    pub oom_floor: i64,
    /// The kernel's bits of what this process may pass on.
    pub capabilities: u64,
    /// AppArmor is on: the list of profiles that are loaded.
    pub apparmor_profiles: Option<PathBuf>,
    /// Where `localhostProfile` of a seccompProfile is looked for.
    pub seccomp_folder: PathBuf,
}

/// All that a container's specification comes from.
pub struct Inputs<'a> {
    pub pod: &'a Object,
    /// Of `spec.containers`.
    pub container: &'a Value,
    pub image: &'a ImageConfig,
    pub sandbox: &'a Sandbox,
    pub machine: &'a Machine,
    pub user: &'a User,
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

/// Why there is no specification.
#[derive(Debug)]
pub enum Error {
    NoCommand,
    Resource { resource: String, value: String },
    Seccomp(seccomp::Error),
    NoAppArmor,
    AppArmorProfile(String),
}

/// Makes the specification. Reads a seccomp profile that the pod names, AppArmor's list of them and, for a privileged container, /dev.
pub fn spec(inputs: &Inputs<'_>) -> Result<Spec, Error> {
    let mut warnings = Vec::new();
    let container = inputs.container;
    let args = args(container, inputs.image, inputs.env)?;
    let privileged = is_privileged(container);
    let mut resources = resources::resources(inputs, &mut warnings)?;
    let capabilities = security::capabilities(container, inputs.machine.capabilities);
    // A process that is not root has no capabilities of its own; it may still get them by exec.
    let effective = if inputs.user.uid == 0 { capabilities.clone() } else { Vec::new() };
    let cwd = text(container, "/workingDir").unwrap_or(&inputs.image.working_dir);
    let mut linux = json!({
        "cgroupsPath": format!("{}/{}", inputs.sandbox.cgroup, inputs.id),
        "namespaces": namespaces(inputs),
    });
    if privileged {
        linux["devices"] = device::all().iter().map(device_node).collect();
        resources["devices"] = json!([{"allow": true, "access": "rwm"}]);
    } else {
        linux["maskedPaths"] = security::masked_paths(inputs).into();
        linux["readonlyPaths"] = security::readonly_paths(inputs).into();
        if let Some(profile) = seccomp::profile(inputs, &capabilities).map_err(Error::Seccomp)? {
            linux["seccomp"] = profile;
        }
    }
    linux["resources"] = resources;
    if let Some(propagation) = volumes::root_propagation(inputs.volumes) {
        linux["rootfsPropagation"] = propagation.into();
    }
    let mut process = json!({
        "terminal": container.get("tty") == Some(&Value::Bool(true)),
        "user": {"uid": inputs.user.uid, "gid": inputs.user.gid, "additionalGids": inputs.user.groups},
        "args": args,
        "env": environment(inputs),
        "cwd": if cwd.is_empty() { "/" } else { cwd },
        "capabilities": {
            "bounding": capabilities, "effective": effective, "permitted": effective,
        },
        "noNewPrivileges": container.pointer("/securityContext/allowPrivilegeEscalation")
            == Some(&Value::Bool(false)),
        "oomScoreAdj": resources::oom_score(inputs)?,
    });
    if let Some(profile) = security::apparmor(inputs)? {
        process["apparmorProfile"] = profile.into();
    }
    let json = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {
            "path": "rootfs",
            "readonly": container.pointer("/securityContext/readOnlyRootFilesystem")
                == Some(&Value::Bool(true)),
        },
        "mounts": mounts::mounts(inputs),
        // The shim's grouping key: all containers of a pod share one shim.
        "annotations": {"io.containerd.runc.v2.group": inputs.pod.uid()},
        "linux": linux,
    });
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

/// `NAME=value`: the image's, in whose place the container's come.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let image = inputs.image.env.iter().map(|variable| variable.split_once('=').unwrap_or((variable, "")));
    let mut env: Vec<(&str, &str)> = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", &inputs.sandbox.hostname)];
    if inputs.container.get("tty") == Some(&Value::Bool(true)) {
        env.push(("TERM", "xterm"));
    }
    let own = inputs.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in image.chain(own) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => env.push((name, value)),
        }
    }
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let sandbox = inputs.sandbox;
    let mut namespaces = vec![json!({"type": "mount"})];
    if sandbox.pid.is_none() && !inputs.pod.bool_at("/spec/hostPID") {
        namespaces.push(json!({"type": "pid"}));
    }
    if inputs.machine.cgroup_v2 && !is_privileged(inputs.container) {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let pinned =
        [("network", &sandbox.netns), ("ipc", &sandbox.ipc), ("uts", &sandbox.uts), ("pid", &sandbox.pid)];
    for (kind, path) in pinned {
        if let Some(path) = path {
            namespaces.push(json!({"type": kind, "path": path}));
        }
    }
    namespaces
}

fn device_node(device: &device::Device) -> Value {
    json!({
        "path": device.path, "type": if device.is_block { "b" } else { "c" },
        "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
    })
}

impl Error {
    /// Why the container waits.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Resource { .. } => "CreateContainerConfigError",
            _ => "CreateContainerError",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoCommand => {
                write!(f, "no command specified: the image has none, so the container needs `command`")
            }
            Error::Resource { resource, value } => {
                write!(f, "the amount `{value}` of {resource} is no quantity")
            }
            Error::Seccomp(error) => error.fmt(f),
            Error::NoAppArmor => write!(f, "Cannot enforce AppArmor: AppArmor is not enabled on the host"),
            Error::AppArmorProfile(name) => write!(f, "apparmor profile not found {name}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Seccomp(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
