//! Addresses and node ports of Services. What is taken is read from the Services themselves: there is nothing
//! else to keep, and nothing to mend after a crash.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::api::hash::fnv;
use crate::api::kinds::SERVICE;
use crate::api::strategy::{is_headless, needs_health_check, needs_node_ports, service_type};
use crate::api::{Cause, Object, Status};
use crate::server::config::Cidr;
use crate::server::registry::Registry;

/// Node ports (upstream's `--service-node-port-range`).
const PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;

/// The first address that a service can have; it is the API server's own.
pub fn first(range: Cidr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.address).saturating_add(1))
}

/// What the other services have.
struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<i64>,
}

impl Taken {
    fn read(registry: &Registry, but: &Object) -> Result<Self, Status> {
        let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for service in registry.objects(SERVICE, None)? {
            if (service.namespace(), service.name()) == (but.namespace(), but.name()) {
                continue;
            }
            addresses.extend(service.str_at("/spec/clusterIP").parse::<Ipv4Addr>());
            let health = service.i64_at("/spec/healthCheckNodePort");
            ports.extend(service.array_at("/spec/ports").iter().filter_map(node_port).chain(health));
        }
        if (but.namespace(), but.name()) != ("default", "kubernetes") {
            addresses.insert(first(registry.admission.services));
        }
        Ok(Self { addresses, ports })
    }
}

fn node_port(port: &Value) -> Option<i64> {
    port["nodePort"].as_i64().filter(|port| *port != 0)
}

/// Gives a service what it lacks, and checks what it asks for.
pub fn allocate(registry: &Registry, service: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let had: BTreeSet<i64> = old
        .map(|old| old.array_at("/spec/ports").iter().filter_map(node_port))
        .into_iter()
        .flatten()
        .chain(old.and_then(|old| old.i64_at("/spec/healthCheckNodePort")))
        .collect();
    let has_address = matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer");
    let kept = old.is_some_and(|old| old.str_at("/spec/clusterIP") == service.str_at("/spec/clusterIP"))
        && !service.str_at("/spec/clusterIP").is_empty();
    let wants_ports = needs_node_ports(service)
        || needs_health_check(service)
        || service.array_at("/spec/ports").iter().any(|port| node_port(port).is_some());
    if !has_address || kept && !wants_ports {
        return Ok(());
    }
    let mut taken = Taken::read(registry, service)?;
    if !kept && !is_headless(service) {
        address(registry.admission.services, &taken, service)?;
    }
    if matches!(service_type(service), "NodePort" | "LoadBalancer") {
        node_ports(&mut taken, &had, service)?;
    }
    Ok(())
}

fn invalid(service: &Object, cause: Cause) -> Status {
    Status::invalid(SERVICE, service.name(), vec![cause])
}

fn address(range: Cidr, taken: &Taken, service: &mut Object) -> Result<(), Status> {
    let text = service.str_at("/spec/clusterIP").to_owned();
    if text.is_empty() {
        // Clients that set `clusterIPs` alone are told so by the kind's rules.
        if service.array_at("/spec/clusterIPs").is_empty() {
            let free = free_address(range, taken, service.uid())
                .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
            service.set("/spec/clusterIP", free.to_string());
            service.set("/spec/clusterIPs", json!([free.to_string()]));
        }
        return Ok(());
    }
    // What is no address is refused with the other rules.
    let Ok(wanted) = text.parse::<Ipv4Addr>() else { return Ok(()) };
    let why = if !usable(range).contains(&u32::from(wanted)) {
        format!("the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {range}")
    } else if taken.addresses.contains(&wanted) {
        "provided IP is already allocated".to_owned()
    } else {
        return Ok(());
    };
    let detail = format!("failed to allocate IP {wanted}: {why}");
    let value = Value::from(service.array_at("/spec/clusterIPs"));
    Err(invalid(service, Cause::invalid("spec.clusterIPs", value, &detail)))
}

/// Every address but the range's first and last.
fn usable(range: Cidr) -> std::ops::Range<u32> {
    let start = u32::from(range.address);
    let count = 1u32.checked_shl(32 - u32::from(range.prefix)).unwrap_or(u32::MAX);
    start.saturating_add(1)..start.saturating_add(count.saturating_sub(1))
}

/// Some free address, another for each uid, so that one that was just given back is not soon another's. The low
/// ones go last: they are for services that name theirs (upstream's `ServiceIPStaticSubrange`).
fn free_address(range: Cidr, taken: &Taken, uid: &str) -> Option<Ipv4Addr> {
    let all = usable(range);
    let named = (all.end.saturating_sub(all.start) / 16).clamp(16, 256);
    let split = all.start.saturating_add(named).min(all.end);
    let pick = |part: std::ops::Range<u32>| {
        let length = part.end.saturating_sub(part.start);
        let offset = fnv(uid.as_bytes()).checked_rem(length)?;
        let mut candidates = (0..length).map(|index| {
            Ipv4Addr::from(part.start + ((u64::from(offset) + u64::from(index)) % u64::from(length)) as u32)
        });
        candidates.find(|address| !taken.addresses.contains(address))
    };
    pick(split..all.end).or_else(|| pick(all.start..split))
}

fn node_ports(taken: &mut Taken, had: &BTreeSet<i64>, service: &mut Object) -> Result<(), Status> {
    let ports = service.array_at("/spec/ports").to_vec();
    for (index, port) in ports.iter().enumerate() {
        if let Some(wanted) = node_port(port).filter(|port| !had.contains(port)) {
            check_port(taken, wanted, &format!("spec.ports[{index}].nodePort"), service)?;
        }
    }
    let mut own: BTreeSet<i64> = ports.iter().filter_map(node_port).collect();
    if needs_node_ports(service) {
        for (index, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port).is_none()) {
            // TCP and UDP of one port share a node port.
            let number = &port["port"];
            let shared = service.array_at("/spec/ports").iter().find_map(|other| {
                let twin = other["port"] == *number && other["protocol"] != port["protocol"];
                node_port(other).filter(|_| twin)
            });
            let chosen = match shared {
                Some(shared) => shared,
                None => free_port(taken, &own, service.uid(), index)?,
            };
            own.insert(chosen);
            service.set(&format!("/spec/ports/{index}/nodePort"), chosen);
        }
    }
    let (pointer, field) = ("/spec/healthCheckNodePort", "spec.healthCheckNodePort");
    if needs_health_check(service) {
        match service.i64_at(pointer).unwrap_or(0) {
            0 => {
                let chosen = free_port(taken, &own, service.uid(), ports.len())?;
                service.set(pointer, chosen);
            }
            wanted if !had.contains(&wanted) => check_port(taken, wanted, field, service)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_port(taken: &Taken, wanted: i64, field: &str, service: &Object) -> Result<(), Status> {
    let why = if !PORTS.contains(&wanted) {
        format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            PORTS.start(),
            PORTS.end()
        )
    } else if taken.ports.contains(&wanted) {
        "provided port is already allocated".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid(service, Cause::invalid(field, wanted, &why)))
}

fn free_port(taken: &Taken, own: &BTreeSet<i64>, uid: &str, index: usize) -> Result<i64, Status> {
    let count = PORTS.end() - PORTS.start() + 1;
    let offset = (i64::from(fnv(uid.as_bytes())) + index as i64) % count;
    let free = |port: &i64| !taken.ports.contains(port) && !own.contains(port);
    (0..count)
        .map(|step| PORTS.start() + (offset + step) % count)
        .find(free)
        .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let range: Cidr = "10.43.0.0/29".parse().unwrap();
        assert_eq!(first(range).to_string(), "10.43.0.1");
        let mut taken = Taken { addresses: BTreeSet::new(), ports: BTreeSet::new() };
        for uid in ["a", "b", "c", "d", "e", "f"] {
            let free = free_address(range, &taken, uid).unwrap();
            assert!(usable(range).contains(&u32::from(free)) && taken.addresses.insert(free), "{free}");
        }
        assert_eq!(free_address(range, &taken, "g"), None);
        for odd in ["0.0.0.0/0", "10.0.0.0/32", "10.0.0.0/31"] {
            let range = odd.parse().unwrap();
            assert_eq!(free_address(range, &taken, "a").is_some(), odd == "0.0.0.0/0", "{odd}");
        }
        let large: Cidr = "10.43.0.0/16".parse().unwrap();
        let free = free_address(large, &taken, "some uid").unwrap();
        assert!(u32::from(free) > u32::from(Ipv4Addr::new(10, 43, 1, 0)), "{free}");
    }
}
