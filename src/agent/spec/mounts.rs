//! What a container finds mounted.

use std::path::Path;

use serde_json::{Value, json};

use super::{Inputs, security, text};

/// The system's, the pod's files, the volumes. A volume takes the place of what would be mounted where it is,
/// and comes after the ones that it lies in.
pub fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let mut mounts: Vec<(String, Value)> = Vec::new();
    for (destination, kind, options) in system(inputs) {
        mounts.push((destination.to_owned(), json!({"type": kind, "source": kind, "options": options})));
    }
    let options = ["nosuid", "noexec", "nodev"];
    let shm = match &inputs.sandbox.shm {
        Some(shm) => bind(shm, &["rbind", "nosuid", "noexec", "nodev", "rw"]),
        // The host's shared memory comes with its IPC.
        None if inputs.sandbox.ipc.is_none() => {
            bind(Path::new("/dev/shm"), &["rbind", "nosuid", "noexec", "nodev", "rw"])
        }
        // A sandbox of an earlier midge has none to share.
        None => {
            let options = [&options[..], &["mode=1777", "size=65536k"]].concat();
            json!({"type": "tmpfs", "source": "shm", "options": options})
        }
    };
    mounts.push(("/dev/shm".to_owned(), shm));
    for name in ["hosts", "hostname", "resolv.conf"] {
        let file = inputs.folder.join("etc").join(name);
        // As containerd has it: the pod's other containers share them.
        let root_is_read_only =
            inputs.container.pointer("/securityContext/readOnlyRootFilesystem") == Some(&Value::Bool(true));
        let access = if root_is_read_only && name != "hosts" { "ro" } else { "rw" };
        mounts.push((format!("/etc/{name}"), bind(&file, &["rbind", "rprivate", access])));
    }
    let message = text(inputs.container, "/terminationMessagePath").unwrap_or("/dev/termination-log");
    mounts.push((message.to_owned(), bind(inputs.termination_log, &["rbind", "rprivate", "rw"])));

    let path = |destination: &str| destination.trim_end_matches('/').to_owned();
    mounts.retain(|(destination, _)| {
        !inputs.volumes.iter().any(|volume| path(&volume.destination) == path(destination))
    });
    for volume in inputs.volumes {
        let options: Vec<&str> = volume.options.iter().map(String::as_str).collect();
        mounts.push((volume.destination.clone(), bind(&volume.source, &options)));
    }
    // Stable: what is equally deep keeps its order.
    mounts.sort_by_key(|(destination, _)| destination.split('/').filter(|part| !part.is_empty()).count());
    let described = mounts.into_iter().map(|(destination, mut mount)| {
        mount["destination"] = destination.into();
        mount
    });
    described.collect()
}

fn bind(source: &Path, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "options": options})
}

fn system(inputs: &Inputs<'_>) -> [(&'static str, &'static str, Vec<&'static str>); 6] {
    let access = if security::is_privileged(inputs.container) { "rw" } else { "ro" };
    [
        ("/proc", "proc", vec!["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", vec!["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/mqueue", "mqueue", vec!["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", vec!["nosuid", "noexec", "nodev", access]),
        ("/sys/fs/cgroup", "cgroup", vec!["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}
