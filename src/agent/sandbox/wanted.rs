//! What a pod wants of its sandbox.

use serde_json::{Value, json};

use super::groups::Class;
use crate::agent::{etc, spec};
use crate::api::Object;
use crate::api::quantity::Quantity;
use crate::sys::cgroup::{self, Settings};
use crate::sys::namespace::{Inside, Kinds};

/// Bytes: the kernel's, for what sethostname(2) takes.
pub const LONGEST_HOSTNAME: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Names files and groups: letters, digits, `-`, `_`, `.`.
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub inside: Inside,
    /// The host's network and UTS namespaces instead of own ones.
    pub host_network: bool,
    /// The host's IPC namespace instead of an own one.
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub share_pid: bool,
    /// As CNI's `portMappings`.
    pub port_mappings: Vec<Value>,
    pub class: Class,
    pub settings: Settings,
}

impl SandboxSpec {
    /// Of `pod` in the cluster's `domain`.
    pub fn of(pod: &Object, domain: &str) -> SandboxSpec {
        let host_network = pod.bool_at("/spec/hostNetwork");
        let class = Class::named(spec::qos_class(pod));
        let sysctls = pod.array_at("/spec/securityContext/sysctls").iter().filter_map(|sysctl| {
            let text = |key: &str| sysctl.get(key).and_then(Value::as_str);
            Some((text("name")?.replace('/', "."), text("value")?.to_owned()))
        });
        SandboxSpec {
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            inside: Inside { hostname: etc::kernel_name(pod, domain), sysctls: sysctls.collect() },
            host_network,
            host_ipc: pod.bool_at("/spec/hostIPC"),
            share_pid: pod.bool_at("/spec/shareProcessNamespace") && !pod.bool_at("/spec/hostPID"),
            port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
            class,
            settings: settings(pod, class),
        }
    }

    pub(super) fn kinds(&self) -> Kinds {
        Kinds { net: !self.host_network, ipc: !self.host_ipc, uts: !self.host_network }
    }
}

/// The containers that run together: the restartable init containers and the others.
fn lasting(pod: &Object) -> impl Iterator<Item = &Value> {
    let sidecars = pod.array_at("/spec/initContainers").iter();
    let sidecars = sidecars.filter(|container| is_restartable(container));
    sidecars.chain(pod.array_at("/spec/containers"))
}

fn is_restartable(container: &Value) -> bool {
    container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
}

fn port_mappings(pod: &Object) -> Vec<Value> {
    let ports = lasting(pod).filter_map(|container| container.get("ports")?.as_array()).flatten();
    let mappings = ports.filter_map(|port| {
        let number =
            |key: &str| port.get(key).and_then(Value::as_u64).filter(|port| (1..=65535).contains(port));
        let text = |key: &str| port.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let mut mapping = json!({
            "hostPort": number("hostPort")?,
            "containerPort": number("containerPort")?,
            "protocol": text("protocol").unwrap_or("TCP").to_lowercase(),
        });
        if let Some(ip) = text("hostIP") {
            mapping["hostIP"] = ip.into();
        }
        Some(mapping)
    });
    mappings.collect()
}

/// As the kubelet sets a pod's group: a limit holds where every container has one.
fn settings(pod: &Object, class: Class) -> Settings {
    let amount = |container: &Value, table: &str, resource: &str| {
        let value = container.pointer("/resources")?.get(table)?.get(resource)?;
        Quantity::from_json(value).ok().filter(|amount| amount.nanos() > 0)
    };
    let request = |container: &Value| {
        let given = amount(container, "requests", "cpu").or_else(|| amount(container, "limits", "cpu"));
        given.map_or(0, Quantity::milli)
    };
    let cpu = |container: &Value| amount(container, "limits", "cpu").map(Quantity::milli);
    let memory = |container: &Value| amount(container, "limits", "memory").map(Quantity::value);
    let shares = spec::cpu_shares(most(pod, |container| Some(request(container))).unwrap_or(0));
    let mut huge_pages: Vec<(String, u64)> = Vec::new();
    for container in lasting(pod) {
        let limits = container.pointer("/resources/limits").and_then(Value::as_object);
        for name in limits.into_iter().flat_map(|limits| limits.keys()) {
            let Some(Ok(bytes)) = name.strip_prefix("hugepages-").map(Quantity::parse) else { continue };
            let size = cgroup::page_size(bytes.value().unsigned_abs());
            let limit = amount(container, "limits", name).map_or(0, |amount| amount.value().unsigned_abs());
            match huge_pages.iter_mut().find(|(known, _)| *known == size) {
                Some((_, known)) => *known = known.saturating_add(limit),
                None => huge_pages.push((size, limit)),
            }
        }
    }
    Settings {
        cpu_shares: if class == Class::BestEffort { cgroup::MIN_CPU_SHARES } else { shares.unsigned_abs() },
        cpu_quota: most(pod, cpu).and_then(spec::cpu_quota).map(i64::unsigned_abs),
        memory: most(pod, memory).map(i64::unsigned_abs),
        huge_pages,
    }
}

/// The most that the pod's containers take at one time: those that run together, or an init container beside
/// the restartable ones before it. None: one of them has no limit.
fn most(pod: &Object, of: impl Fn(&Value) -> Option<i64>) -> Option<i64> {
    let (mut beside, mut most) = (0i64, 0i64);
    for container in pod.array_at("/spec/initContainers") {
        let with = beside.saturating_add(of(container)?);
        most = most.max(with);
        if is_restartable(container) {
            beside = with;
        }
    }
    for container in pod.array_at("/spec/containers") {
        beside = beside.saturating_add(of(container)?);
    }
    Some(most.max(beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: Value) -> SandboxSpec {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": "u"});
        SandboxSpec::of(
            &Object::from_value(json!({"metadata": metadata, "spec": spec})).unwrap(),
            "cluster.local",
        )
    }

    #[test]
    fn a_pods_share_and_limits() {
        let container =
            |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
        let one = || {
            container(json!({"cpu": "500m"}), json!({"cpu": "1", "memory": "64Mi", "hugepages-2Mi": "4Mi"}))
        };
        let settings = |cpu_shares, cpu_quota, memory| Settings {
            cpu_shares,
            cpu_quota,
            memory,
            huge_pages: Vec::new(),
        };
        let none = || container(json!({}), json!({}));
        let sidecar = || {
            let mut sidecar = container(json!({"cpu": "250m"}), json!({"cpu": "250m", "memory": "16Mi"}));
            sidecar["restartPolicy"] = "Always".into();
            sidecar
        };
        for (spec, class, expected) in [
            (json!({"containers": [none()]}), Class::BestEffort, settings(2, None, None)),
            (json!({"containers": [one()]}), Class::Burstable, settings(512, Some(100_000), Some(64 << 20))),
            (json!({"containers": [one(), none()]}), Class::Burstable, settings(512, None, None)),
            (
                json!({"containers": [one(), one()], "initContainers": [sidecar()]}),
                Class::Burstable,
                settings(1280, Some(225_000), Some(144 << 20)),
            ),
            (
                json!({"containers": [one()], "initContainers": [container(json!({"cpu": 3}), json!({"cpu": 4, "memory": "1Gi"}))]}),
                Class::Burstable,
                settings(3072, Some(400_000), Some(1 << 30)),
            ),
        ] {
            let mut found = of(spec.clone());
            let pages = std::mem::take(&mut found.settings.huge_pages);
            assert_eq!((found.class, found.settings), (class, expected), "{spec}");
            assert_eq!(pages.is_empty(), !spec.to_string().contains("hugepages"), "{spec}");
        }
    }

    #[test]
    fn ports_and_sysctls() {
        let ports = json!([
            {"containerPort": 80},
            {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
        ]);
        let sysctls = json!([{"name": "net/ipv4/tcp_syncookies", "value": "1"}]);
        let spec = json!({"containers": [{"ports": ports}], "securityContext": {"sysctls": sysctls}});
        let found = of(spec.clone());
        let expected =
            json!({"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"});
        assert_eq!(found.port_mappings, [expected]);
        assert_eq!(found.inside.sysctls, [("net.ipv4.tcp_syncookies".to_owned(), "1".to_owned())]);
        let mut host = spec;
        host["hostNetwork"] = true.into();
        assert!(of(host).port_mappings.is_empty());
    }
}
