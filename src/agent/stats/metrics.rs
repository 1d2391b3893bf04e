//! `metrics` and `metrics/resource`, under the kubelet's names.

use super::figures::{Figures, Pod};
use crate::agent::pressure::Pressure;
use crate::http::exposition::{Exposition, seconds};
use crate::sys::cgroup::usage::Usage;
use crate::sys::this_process;

/// The agent's own figures and the node's.
pub fn all(figures: &Figures, pressure: &Pressure, node_name: &str) -> String {
    let mut text = Exposition::default();
    text.build();
    text.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.")
        .sample(&[("node", node_name)], 1);
    text.family("kubelet_running_pods", "gauge", "Number of pods that have a running container")
        .sample(&[], figures.pods.len());
    let running: usize = figures.pods.iter().map(|pod| pod.containers.len()).sum();
    text.family("kubelet_running_containers", "gauge", "Number of containers currently running")
        .sample(&[("container_state", "running")], running);
    text.family("kubelet_evictions", "counter", "Cumulative number of pod evictions by eviction signal");
    for (signal, count) in pressure.counts() {
        text.sample(&[("eviction_signal", signal)], count);
    }
    text.process(&this_process::read());
    text.finish() + &resource(figures)
}

/// What a metrics server scrapes.
pub fn resource(figures: &Figures) -> String {
    let mut text = Exposition::default();
    let node = &figures.node.usage;
    // A family without samples is left out, as by Prometheus' own clients.
    type Read = fn(&Usage) -> Option<String>;
    let cpu: Read = |usage| usage.cpu_nanos.map(cpu_seconds);
    let memory: Read = |usage| usage.memory.map(|memory| memory.working_set.to_string());
    for (names, kind, help, read) in [
        (
            [
                "node_cpu_usage_seconds_total",
                "pod_cpu_usage_seconds_total",
                "container_cpu_usage_seconds_total",
            ],
            "counter",
            "Cumulative cpu time consumed in core-seconds",
            cpu,
        ),
        (
            [
                "node_memory_working_set_bytes",
                "pod_memory_working_set_bytes",
                "container_memory_working_set_bytes",
            ],
            "gauge",
            "Current working set in bytes",
            memory,
        ),
    ] {
        if let Some(value) = read(node) {
            text.family(names[0], kind, help).sample(&[], value);
        }
        if figures.pods.is_empty() {
            continue;
        }
        text.family(names[1], kind, help);
        for pod in &figures.pods {
            if let Some(value) = read(&pod.usage) {
                text.sample(&labels(pod), value);
            }
        }
        text.family(names[2], kind, help);
        for pod in &figures.pods {
            for container in &pod.containers {
                if let Some(value) = read(&container.usage) {
                    let [namespace, pod] = labels(pod);
                    text.sample(&[("container", &container.name), namespace, pod], value);
                }
            }
        }
    }
    if !figures.pods.is_empty() {
        let help = "Start time of the container since unix epoch in seconds";
        text.family("container_start_time_seconds", "gauge", help);
        for pod in &figures.pods {
            for container in &pod.containers {
                if let Some(started) = container.started {
                    let [namespace, pod] = labels(pod);
                    text.sample(&[("container", &container.name), namespace, pod], seconds(started));
                }
            }
        }
    }
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    text.family("resource_scrape_error", "gauge", help).sample(&[], 0).finish()
}

fn labels(pod: &Pod) -> [(&str, &str); 2] {
    [("namespace", &pod.desired.reference.namespace), ("pod", &pod.desired.reference.name)]
}

/// With all of its digits: a difference of two readings is what counts.
fn cpu_seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_digits() {
        assert_eq!(cpu_seconds(1_000_000_001), "1.000000001");
        assert_eq!(cpu_seconds(5), "0.000000005");
    }
}
