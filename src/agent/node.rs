//! What the node says of itself: the Node object.

use crate::agent::config::Taint;
use crate::agent::images::Listed;
use crate::agent::pressure::Lack;
use crate::api::{Object, discovery, kinds, time};
use crate::plan::volume::STORAGE_PATH;
use crate::sys::cgroup::Cgroups;
use crate::sys::host::{self, HugePages};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What the description needs beside what the machine says.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub name: String,
    /// `--node-ip`; None: the address of the default route, else none.
    pub node_ip: Option<IpAddr>,
    /// `key`, `value`. The machine's own labels (`kubernetes.io/arch` …) win.
    pub labels: Vec<(String, String)>,
    /// Taints that it registers with.
    pub taints: Vec<Taint>,
    /// `containerd`'s version, for instance `1.6.20`; "" when unknown.
    pub containerd_version: String,
    /// Its file system is the node's ephemeral storage.
    pub data_dir: PathBuf,
    /// 110 in Kubernetes.
    pub max_pods: u32,
    pub cgroups: Cgroups,
    /// What the node is short of.
    pub lack: Lack,
    /// Why pods can't run just now (no containerd, no network); None: Ready.
    pub not_ready: Option<String>,
    /// None: not known yet, and what the server knows stays.
    pub images: Option<Arc<[Listed]>>,
    pub now: SystemTime,
}

/// What the machine has, in bytes and thousandths of a processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_millis: u64,
    pub memory: u64,
    pub disk: u64,
    /// Memory that is huge pages' of any size, and nothing else's.
    pub huge_pages: u64,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The Node object with labels, taints and status. Conditions carry `now` as their heartbeat and as
/// their transition; whoever stores them keeps the transition of an unchanged one. Reads /proc and
/// blocks for well under a millisecond.
pub fn describe(options: &NodeOptions) -> Object {
    let mut labels = Map::new();
    for (key, value) in &options.labels {
        labels.insert(key.clone(), value.as_str().into());
    }
    labels.insert("kubernetes.io/arch".into(), host::architecture().into());
    labels.insert("kubernetes.io/os".into(), "linux".into());
    labels.insert("kubernetes.io/hostname".into(), options.name.as_str().into());
    let taints: Vec<Value> = options.taints.iter().map(taint).collect();

    let capacity = measure(&options.cgroups, &options.data_dir);
    let pages = host::huge_pages();
    let mut node = Object::new(kinds::NODE, "", &options.name);
    node.set("/metadata/labels", labels);
    node.set("/metadata/annotations", json!({STORAGE_PATH: options.data_dir.join("storage")}));
    if !taints.is_empty() {
        node.set("/spec/taints", taints);
    }
    node.set(
        "/status",
        json!({
            "addresses": addresses(options),
            "capacity": quantities(capacity, options.max_pods, &pages),
            "allocatable": quantities(allocatable(capacity), options.max_pods, &pages),
            "conditions": conditions(options),
            "nodeInfo": info(options),
        }),
    );
    if let Some(images) = &options.images {
        let images = images.iter().map(|image| json!({"names": image.names, "sizeBytes": image.bytes}));
        node.set("/status/images", images.collect::<Vec<Value>>());
    }
    node
}

fn taint(taint: &Taint) -> Value {
    let mut value = json!({ "key": taint.key, "effect": taint.effect });
    if !taint.value.is_empty() {
        value["value"] = taint.value.as_str().into();
    }
    value
}

/// The machine, or the container that it is.
pub fn measure(cgroups: &Cgroups, data_dir: &Path) -> Resources {
    let limits = cgroups.limits();
    let cpu_millis = host::cpus() as u64 * 1000;
    let memory = host::memory_total().unwrap_or(0);
    Resources {
        cpu_millis: limits.cpu_millis.map_or(cpu_millis, |limit| limit.min(cpu_millis)),
        memory: limits.memory.map_or(memory, |limit| limit.min(memory)),
        disk: host::disk(data_dir).map_or(0, |disk| disk.total),
        huge_pages: host::huge_pages().iter().map(|pages| pages.size.saturating_mul(pages.count)).sum(),
    }
}

/// What pods may ask for. Processors are all of it: an idle midge takes none, and the kernel shares
/// them out. Of memory, room for the kernel, containerd and shims: a tenth, at least 16 MiB and at
/// most 100 MiB, which is where Kubernetes begins to evict. Of the disk nine tenths, as there.
pub fn allocatable(capacity: Resources) -> Resources {
    let reserve = (capacity.memory / 10).clamp(16 * MIB, 100 * MIB);
    Resources {
        cpu_millis: capacity.cpu_millis,
        memory: capacity.memory.saturating_sub(reserve).saturating_sub(capacity.huge_pages),
        disk: capacity.disk / 10 * 9,
        huge_pages: capacity.huge_pages,
    }
}

/// In the units that Kubernetes' own nodes use, so that they read alike.
fn quantities(resources: Resources, pods: u32, pages: &[HugePages]) -> Value {
    let cpu = match resources.cpu_millis {
        whole if whole % 1000 == 0 => format!("{}", whole / 1000),
        millis => format!("{millis}m"),
    };
    let mut value = json!({
        "cpu": cpu,
        "memory": format!("{}Ki", resources.memory / KIB),
        "ephemeral-storage": format!("{}Ki", resources.disk / KIB),
        "pods": pods.to_string(),
    });
    for HugePages { size, count } in pages {
        value[format!("hugepages-{}", in_units(*size))] = in_units(size.saturating_mul(*count)).into();
    }
    value
}

/// Bytes in the largest unit that leaves no rest.
fn in_units(bytes: u64) -> String {
    let units = [(1 << 30, "Gi"), (MIB, "Mi"), (KIB, "Ki")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes % unit == 0);
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn addresses(options: &NodeOptions) -> Vec<Value> {
    let internal = options.node_ip.or_else(host::default_address);
    let internal = internal.map(|ip| json!({ "type": "InternalIP", "address": ip.to_string() }));
    let hostname = json!({ "type": "Hostname", "address": options.name });
    internal.into_iter().chain([hostname]).collect()
}

fn info(options: &NodeOptions) -> Value {
    let runtime = match options.containerd_version.as_str() {
        "" => "containerd://unknown".to_string(),
        version => format!("containerd://{}", version.trim_start_matches('v')),
    };
    let machine_id = host::machine_id();
    json!({
        "architecture": host::architecture(),
        "bootID": host::boot_id(),
        "containerRuntimeVersion": runtime,
        "kernelVersion": host::kernel_release(),
        "kubeProxyVersion": "",
        "kubeletVersion": discovery::git_version(),
        "machineID": machine_id,
        "operatingSystem": "linux",
        "osImage": host::os_name(),
        // Boards have no firmware that gives them a UUID.
        "systemUUID": machine_id,
    })
}

fn conditions(options: &NodeOptions) -> Vec<Value> {
    let now = time::format(options.now);
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": if status { "True" } else { "False" },
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    // The conditions' reasons and messages are the kubelet's: people and tools match on them.
    let pressure = |kind: &str, pressed: bool, bad: [&str; 2], good: [&str; 2]| {
        let [reason, message] = if pressed { bad } else { good };
        condition(kind, pressed, reason, message)
    };
    let ready = match &options.not_ready {
        None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(why) => condition("Ready", false, "KubeletNotReady", why),
    };
    let mut conditions = vec![
        pressure(
            "MemoryPressure",
            options.lack.memory,
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        ),
        pressure(
            "DiskPressure",
            options.lack.disk,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ),
        pressure(
            "PIDPressure",
            options.lack.processes,
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        ),
        ready,
    ];
    // There only where it is the case: Kubernetes has no word for it.
    if let Some(missing) = options.cgroups.missing() {
        conditions.push(condition("CgroupControllersMissing", true, "LimitsNotEnforced", &missing));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cgroup;

    fn options() -> NodeOptions {
        NodeOptions {
            name: "pi-1".into(),
            node_ip: Some("192.0.2.7".parse().unwrap()),
            labels: vec![("kubernetes.io/arch".into(), "vax".into()), ("room".into(), "attic".into())],
            taints: vec![Taint { key: "edge".into(), value: String::new(), effect: "NoSchedule".into() }],
            containerd_version: "v1.7.24".into(),
            data_dir: "/".into(),
            max_pods: 110,
            cgroups: cgroup::detect().unwrap(),
            lack: Lack::default(),
            not_ready: None,
            images: None,
            now: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn describes_this_machine() {
        let node = describe(&options());
        assert_eq!((node.kind(), node.name()), ("Node", "pi-1"));
        assert_eq!(node.label("room"), Some("attic"));
        assert_eq!(node.label("kubernetes.io/arch"), Some(host::architecture()));
        assert_eq!(node.str_at("/spec/taints/0/effect"), "NoSchedule");
        assert_eq!(node.str_at("/status/addresses/0/address"), "192.0.2.7");
        assert_eq!(node.str_at("/status/nodeInfo/containerRuntimeVersion"), "containerd://1.7.24");
        assert!(node.str_at("/status/nodeInfo/kubeletVersion").starts_with("v1.37.0+midge"));
        assert!(node.str_at("/status/capacity/memory").ends_with("Ki"));
        assert_eq!(node.str_at("/status/allocatable/pods"), "110");
        assert_eq!(node.str_at("/status/conditions/3/reason"), "KubeletReady");
        assert_eq!(node.at("/status/images"), None);
    }

    #[test]
    fn says_its_images() {
        let images = [Listed { names: vec!["x.org/a@sha256:a".into(), "x.org/a:1".into()], bytes: 7 }];
        let node = describe(&NodeOptions { images: Some(images.into()), ..options() });
        let said = json!([{"names": ["x.org/a@sha256:a", "x.org/a:1"], "sizeBytes": 7}]);
        assert_eq!(node.at("/status/images"), Some(&said));
    }

    #[test]
    fn says_why_it_is_not_ready() {
        let node =
            describe(&NodeOptions { not_ready: Some("containerd does not answer".into()), ..options() });
        assert_eq!(node.str_at("/status/conditions/3/status"), "False");
        assert_eq!(node.str_at("/status/conditions/3/message"), "containerd does not answer");
    }

    #[test]
    fn says_what_lacks() {
        let lack = Lack { memory: true, ..Lack::default() };
        let node = describe(&NodeOptions { lack, cgroups: Cgroups::none(), ..options() });
        assert_eq!(node.str_at("/status/conditions/0/reason"), "KubeletHasInsufficientMemory");
        assert_eq!(node.str_at("/status/conditions/1/reason"), "KubeletHasNoDiskPressure");
        assert_eq!(node.str_at("/status/conditions/4/type"), "CgroupControllersMissing");
        let message = node.str_at("/status/conditions/4/message");
        assert!(message.contains("cpu, memory, pids") && message.contains("CONFIG_CGROUP_PIDS"), "{message}");
    }

    #[test]
    fn a_small_board_keeps_most_of_its_memory_for_pods() {
        let board = |mib: u64| Resources { cpu_millis: 1000, memory: mib * MIB, ..Resources::default() };
        assert_eq!(allocatable(board(64)).memory, 48 * MIB);
        assert_eq!(allocatable(board(500)).memory, 450 * MIB);
        assert_eq!(allocatable(board(8000)).memory, 7900 * MIB);
        assert_eq!(allocatable(board(8)).memory, 0);
        assert_eq!(quantities(Resources { cpu_millis: 1500, ..board(1) }, 9, &[])["cpu"], "1500m");
    }

    #[test]
    fn huge_pages_are_no_other_memory() {
        let pages = [HugePages { size: 2 * MIB, count: 16 }, HugePages { size: 1 << 30, count: 0 }];
        let board = Resources { memory: 500 * MIB, huge_pages: 32 * MIB, ..Resources::default() };
        assert_eq!(allocatable(board).memory, 418 * MIB);
        let told = quantities(board, 9, &pages);
        assert_eq!((&told["hugepages-2Mi"], &told["hugepages-1Gi"]), (&json!("32Mi"), &json!("0")));
        assert_eq!(in_units(1500 * MIB), "1500Mi");
    }
}
