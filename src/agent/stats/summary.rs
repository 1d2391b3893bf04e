//! `stats/summary` (kubelet stats/v1alpha1 `Summary`).

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::figures::{Container, Disk, Figures, Pod};
use crate::api::time;
use crate::sys::cgroup::usage::Usage;
use crate::sys::host;
use crate::sys::traffic::Interface;
use crate::sys::usage::Used;

pub fn summary(figures: &Figures, node_name: &str) -> Value {
    let now = time::format(figures.time);
    let node = &figures.node;
    let mut about_node = json!({
        "nodeName": node_name,
        "systemContainers": [{
            "name": "pods",
            "cpu": cpu(&now, &node.pods, None),
            "memory": memory(&now, &node.pods, None),
        }],
        "cpu": cpu(&now, &node.usage, node.cpu_rate),
        "memory": memory(&now, &node.usage, node.available),
        "rlimit": {"time": now, "maxpid": host::pid_max(), "curproc": node.usage.processes},
    });
    start(&mut about_node, host::boot_time());
    if let Some(storage) = &figures.storage {
        about_node["network"] = network(&now, &crate::sys::traffic::of(None));
        about_node["fs"] = fs(&now, &storage.node, None);
        let images = fs(&now, &storage.images, None);
        about_node["runtime"] = json!({"imageFs": images, "containerFs": images});
    }
    let pods: Vec<Value> = figures.pods.iter().map(|each| pod(each, figures, &now)).collect();
    json!({"node": about_node, "pods": pods})
}

fn pod(pod: &Pod, figures: &Figures, now: &str) -> Value {
    let reference = &pod.desired.reference;
    let containers: Vec<Value> = pod.containers.iter().map(|each| container(each, figures, now)).collect();
    let mut value = json!({
        "podRef": {"name": reference.name, "namespace": reference.namespace, "uid": reference.uid},
        "containers": containers,
        "cpu": cpu(now, &pod.usage, pod.cpu_rate),
        "memory": memory(now, &pod.usage, None),
    });
    start(&mut value, pod.started);
    if let Some(processes) = pod.usage.processes {
        value["process_stats"] = json!({"process_count": processes});
    }
    if let Some(storage) = &figures.storage {
        if !pod.network.is_empty() {
            value["network"] = network(now, &pod.network);
        }
        let volumes = pod.volumes.iter().map(|volume| {
            let mut value = fs(now, &storage.node, Some(volume.used));
            value["name"] = volume.name.as_str().into();
            value
        });
        value["volume"] = volumes.collect();
        value["ephemeral-storage"] = fs(now, &storage.node, Some(pod.disk()));
    }
    value
}

fn container(container: &Container, figures: &Figures, now: &str) -> Value {
    let mut value = json!({
        "name": container.name,
        "cpu": cpu(now, &container.usage, container.cpu_rate),
        "memory": memory(now, &container.usage, available(&container.usage)),
    });
    start(&mut value, container.started);
    if let Some(storage) = &figures.storage {
        value["rootfs"] = fs(now, &storage.images, container.rootfs);
        value["logs"] = fs(now, &storage.node, container.logs);
    }
    value
}

/// Of a container with a limit.
fn available(usage: &Usage) -> Option<u64> {
    usage.memory.and_then(|memory| Some(memory.limit?.saturating_sub(memory.working_set)))
}

fn start(value: &mut Value, started: Option<SystemTime>) {
    if let Some(started) = started {
        value["startTime"] = time::format(started).into();
    }
}

/// An object of the numbers that are known.
fn numbers<const N: usize>(now: &str, fields: [(&str, Option<u64>); N]) -> Value {
    let mut map = Map::new();
    map.insert("time".to_owned(), now.into());
    map.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    Value::Object(map)
}

fn cpu(now: &str, usage: &Usage, rate: Option<u64>) -> Value {
    numbers(now, [("usageNanoCores", rate), ("usageCoreNanoSeconds", usage.cpu_nanos)])
}

fn memory(now: &str, usage: &Usage, available: Option<u64>) -> Value {
    let memory = usage.memory;
    numbers(
        now,
        [
            ("availableBytes", available),
            ("usageBytes", memory.map(|memory| memory.usage)),
            ("workingSetBytes", memory.map(|memory| memory.working_set)),
            ("rssBytes", memory.map(|memory| memory.rss)),
            ("pageFaults", memory.map(|memory| memory.page_faults)),
            ("majorPageFaults", memory.map(|memory| memory.major_page_faults)),
        ],
    )
}

/// A file system, or what something takes of it.
fn fs(now: &str, disk: &Disk, used: Option<Used>) -> Value {
    let whole = Used {
        bytes: disk.capacity.saturating_sub(disk.available),
        inodes: disk.inodes.map_or(0, |(total, free)| total.saturating_sub(free)),
    };
    let used = used.unwrap_or(whole);
    numbers(
        now,
        [
            ("availableBytes", Some(disk.available)),
            ("capacityBytes", Some(disk.capacity)),
            ("usedBytes", Some(used.bytes)),
            ("inodesFree", disk.inodes.map(|(_, free)| free)),
            ("inodes", disk.inodes.map(|(total, _)| total)),
            ("inodesUsed", Some(used.inodes)),
        ],
    )
}

/// The first one is the one that is named outside of the list: a pod has only that.
fn network(now: &str, interfaces: &[Interface]) -> Value {
    let interface = |interface: &Interface| {
        json!({
            "name": interface.name, "rxBytes": interface.rx_bytes, "rxErrors": interface.rx_errors,
            "txBytes": interface.tx_bytes, "txErrors": interface.tx_errors,
        })
    };
    let mut value = interfaces.first().map_or_else(|| json!({}), interface);
    value["time"] = now.into();
    value["interfaces"] = interfaces.iter().map(interface).collect();
    value
}
