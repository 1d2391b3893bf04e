//! Services: what a client leaves out, what a change of type drops, what must fit together. Addresses and
//! node ports are given out by the server, between the two.

use serde_json::{Value, json};

use super::shape::{self, member, named, number, one_of, ruled, text};
use super::{Strategy, metadata, restore};
use crate::api::{Cause, Object, names};

mod clusterip;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// The longest that a client stays with its endpoint, in seconds: a day.
const STICKY: i64 = 86400;
/// Source ranges of a load balancer, before they became a field.
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/status", json!({"loadBalancer": {}}));
        default(new);
        clusterip::synchronize(new, None);
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        restore(new, old, "/status");
        default(new);
        clusterip::synchronize(new, Some(old));
        keep_allocated(new, old);
        drop_of_other_type(new, old);
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        if let Some(old) = old {
            clusterip::validate_update(new, old, &mut causes);
            if needs_health_check(old)
                && needs_health_check(new)
                && new.at("/spec/healthCheckNodePort") != old.at("/spec/healthCheckNodePort")
            {
                causes.push(Cause::forbidden("spec.healthCheckNodePort", "field is immutable"));
            }
        }
        of_type(new, &mut causes);
        ports(new, &mut causes);
        metadata::labels("spec.selector", new.at("/spec/selector"), &mut causes);
        affinity(new, &mut causes);
        clusterip::validate(new, &mut causes);
        for (index, address) in new.array_at("/spec/externalIPs").iter().enumerate() {
            let field = format!("spec.externalIPs[{index}]");
            ruled(field, address.as_str().unwrap_or(""), shape::is_foreign_ip, &mut causes);
        }
        one_of("spec.type".to_owned(), service_type(new), TYPES, &mut causes);
        load_balancer(new, old, &mut causes);
        traffic(new, &mut causes);
        causes
    }
}

/// The type, "" when it has none.
pub fn service_type(service: &Object) -> &str {
    service.str_at("/spec/type")
}

/// Whether it has no address of its own by its owner's wish.
pub fn is_headless(service: &Object) -> bool {
    service.str_at("/spec/clusterIP") == "None"
}

/// Whether its ports are ports of the nodes, too.
pub fn needs_node_ports(service: &Object) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service.at("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// Whether a load balancer has to ask the nodes which of them have endpoints.
pub fn needs_health_check(service: &Object) -> bool {
    service_type(service) == "LoadBalancer" && service.str_at("/spec/externalTrafficPolicy") == "Local"
}

fn is_external(service: &Object) -> bool {
    matches!(service_type(service), "NodePort" | "LoadBalancer")
        || service_type(service) == "ClusterIP" && !service.array_at("/spec/externalIPs").is_empty()
}

/// What follows from other fields; constants are the schema's.
fn default(service: &mut Object) {
    let unset = |service: &Object, pointer: &str| service.at(pointer).is_none_or(|value| value == "");
    if is_external(service) && unset(service, "/spec/externalTrafficPolicy") {
        service.set("/spec/externalTrafficPolicy", "Cluster");
    }
    if matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer")
        && unset(service, "/spec/internalTrafficPolicy")
    {
        service.set("/spec/internalTrafficPolicy", "Cluster");
    }
    let allocate = "/spec/allocateLoadBalancerNodePorts";
    if service_type(service) == "LoadBalancer" && service.at(allocate).is_none() {
        service.set(allocate, true);
    }
    match service.str_at("/spec/sessionAffinity") {
        "None" => drop(service.remove("/spec/sessionAffinityConfig")),
        "ClientIP" => {
            let timeout = "/spec/sessionAffinityConfig/clientIP/timeoutSeconds";
            if service.at(timeout).is_none() {
                service.set(timeout, 10800);
            }
        }
        _ => {}
    }
    if let Some(Value::Array(ports)) = service.at_mut("/spec/ports") {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            let given = port.get("targetPort");
            let unsaid = given.is_none_or(|target| target.is_null() || *target == 0 || target == "");
            if let (true, Some(number)) = (unsaid, port.get("port").cloned()) {
                port.insert("targetPort".to_owned(), number);
            }
        }
    }
}

/// Whoever puts an object from a file back does not know what the server has given out.
fn keep_allocated(new: &mut Object, old: &Object) {
    if needs_node_ports(old) && needs_node_ports(new) {
        let was = old.array_at("/spec/ports");
        let mut taken: Vec<i64> =
            new.array_at("/spec/ports").iter().map(|port| number(port, "nodePort")).collect();
        if let Some(Value::Array(ports)) = new.at_mut("/spec/ports") {
            for port in ports.iter_mut().filter(|port| number(port, "nodePort") == 0) {
                let same = |other: &&Value| {
                    number(other, "port") == number(port, "port")
                        && text(other, "protocol") == text(port, "protocol")
                };
                let known = was.iter().find(same).map_or(0, |other| number(other, "nodePort"));
                if let (true, Value::Object(port)) = (known != 0 && !taken.contains(&known), port) {
                    taken.push(known);
                    port.insert("nodePort".to_owned(), known.into());
                }
            }
        }
    }
    let check = "/spec/healthCheckNodePort";
    if needs_health_check(old) && needs_health_check(new) && new.i64_at(check).unwrap_or(0) == 0 {
        restore(new, old, check);
    }
}

/// A patch of the type alone need not name what only the old type had; what the patch did change stays, and
/// is refused.
fn drop_of_other_type(new: &mut Object, old: &Object) {
    let mut drop_unchanged = |needed: fn(&Object) -> bool, pointers: &[&str]| {
        if needed(old) && !needed(new) && pointers.iter().all(|pointer| new.at(pointer) == old.at(pointer)) {
            for pointer in pointers {
                new.remove(pointer);
            }
        }
    };
    drop_unchanged(clusterip::needs_one, &["/spec/clusterIP", "/spec/clusterIPs"]);
    drop_unchanged(clusterip::needs_one, &["/spec/ipFamilies"]);
    drop_unchanged(clusterip::needs_one, &["/spec/ipFamilyPolicy"]);
    drop_unchanged(needs_health_check, &["/spec/healthCheckNodePort"]);
    drop_unchanged(is_external, &["/spec/externalTrafficPolicy"]);
    let balanced = |service: &Object| service_type(service) == "LoadBalancer";
    drop_unchanged(balanced, &["/spec/allocateLoadBalancerNodePorts"]);
    drop_unchanged(balanced, &["/spec/loadBalancerClass"]);
    let external = |service: &Object| matches!(service_type(service), "NodePort" | "LoadBalancer");
    if external(old) && !external(new) {
        let was: Vec<i64> = old.array_at("/spec/ports").iter().map(|port| number(port, "nodePort")).collect();
        if let Some(Value::Array(ports)) = new.at_mut("/spec/ports") {
            for port in ports.iter_mut().filter(|port| was.contains(&number(port, "nodePort"))) {
                if let Value::Object(port) = port {
                    port.remove("nodePort");
                }
            }
        }
    }
}

fn of_type(service: &Object, causes: &mut Vec<Cause>) {
    let kind = service_type(service);
    if service.array_at("/spec/ports").is_empty() && !is_headless(service) && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            causes.push(Cause::invalid("spec.clusterIPs[0]", "None", &detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let value = service.at(&format!("/spec/{field}"));
                if value.is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty())) {
                    let detail = "may not be set for ExternalName services";
                    causes.push(Cause::forbidden(format!("spec.{field}"), detail));
                }
            }
            // A CNAME may end in a dot.
            let name = service.str_at("/spec/externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            named("spec.externalName".to_owned(), name, names::is_dns_subdomain, causes);
        }
        _ => {}
    }
}

fn ports(service: &Object, causes: &mut Vec<Cause>) {
    let ports = service.array_at("/spec/ports");
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let before = || ports.iter().take(index);
        let (name, protocol, node_port) =
            (text(port, "name"), text(port, "protocol"), number(port, "nodePort"));
        match name {
            "" if ports.len() > 1 => causes.push(Cause::required(format!("{field}.name"), "")),
            "" => {}
            name => {
                ruled(format!("{field}.name"), name, names::is_dns_label, causes);
                if before().any(|other| text(other, "name") == name) {
                    causes.push(Cause::duplicate(format!("{field}.name"), name));
                }
            }
        }
        shape::port(format!("{field}.port"), number(port, "port"), causes);
        one_of(format!("{field}.protocol"), protocol, PROTOCOLS, causes);
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        shape::port_or_name(format!("{field}.targetPort"), target, causes);
        if let Some(protocol) = member(port, "appProtocol").and_then(Value::as_str) {
            ruled(format!("{field}.appProtocol"), protocol, names::is_label_key, causes);
        }
        if node_port != 0 && service_type(service) == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(format!("{field}.nodePort"), detail));
        }
        let same = |key: &str, other: &Value| {
            text(other, "protocol") == protocol && number(other, key) == number(port, key)
        };
        if node_port != 0 && before().any(|other| same("nodePort", other)) {
            causes.push(Cause::duplicate(format!("{field}.nodePort"), node_port));
        }
        if before().any(|other| same("port", other)) {
            let key = json!({"port": number(port, "port"), "protocol": protocol});
            causes.push(Cause::duplicate(field, key));
        }
    }
}

fn affinity(service: &Object, causes: &mut Vec<Cause>) {
    let affinity = service.str_at("/spec/sessionAffinity");
    one_of("spec.sessionAffinity".to_owned(), affinity, &["ClientIP", "None"], causes);
    let seconds = service.i64_at("/spec/sessionAffinityConfig/clientIP/timeoutSeconds").unwrap_or(0);
    if affinity == "ClientIP" && !(1..=STICKY).contains(&seconds) {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        let detail = format!("must be greater than 0 and less than {STICKY}");
        causes.push(Cause::invalid(field, seconds, &detail));
    }
}

fn load_balancer(service: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    let balanced = service_type(service) == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = service.array_at("/spec/loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let field = "spec.LoadBalancerSourceRanges";
        if !balanced {
            causes.push(Cause::forbidden(field, only));
        }
        for (index, range) in ranges.iter().enumerate() {
            let range = range.as_str().unwrap_or("").trim();
            ruled(format!("{field}[{index}]"), range, shape::is_cidr, causes);
        }
    } else if let Some(ranges) = service.annotation(RANGES) {
        let field = format!("metadata.annotations[{RANGES}]");
        if !balanced {
            causes.push(Cause::forbidden(field.as_str(), only));
        }
        for range in ranges.trim().split(',').filter(|_| !ranges.trim().is_empty()) {
            ruled(field.clone(), range.trim(), shape::is_cidr, causes);
        }
    }
    if !balanced && service.at("/spec/allocateLoadBalancerNodePorts").is_some() {
        causes.push(Cause::forbidden("spec.allocateLoadBalancerNodePorts", only));
    }
    let class = "/spec/loadBalancerClass";
    let (field, value) = ("spec.loadBalancerClass", service.str_at(class));
    let was_balanced = old.is_some_and(|old| service_type(old) == "LoadBalancer");
    if balanced && was_balanced && old.is_some_and(|old| old.at(class) != service.at(class)) {
        causes.push(Cause::invalid(field, value, "may not change once set"));
    } else if service.at(class).is_some() {
        if balanced {
            ruled(field.to_owned(), value, names::is_label_key, causes);
        } else {
            causes.push(Cause::forbidden(field, only));
        }
    }
}

fn traffic(service: &Object, causes: &mut Vec<Cause>) {
    let (field, policy) = ("spec.externalTrafficPolicy", service.str_at("/spec/externalTrafficPolicy"));
    match (is_external(service), policy) {
        (true, policy) => one_of(field.to_owned(), policy, POLICIES, causes),
        (false, "") => {}
        (false, policy) => {
            let detail = "may only be set for externally-accessible services";
            causes.push(Cause::invalid(field, policy, detail));
        }
    }
    let port = service.i64_at("/spec/healthCheckNodePort").unwrap_or(0);
    if port != 0 && !needs_health_check(service) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.push(Cause::invalid("spec.healthCheckNodePort", port, detail));
    } else if port != 0 {
        shape::port("spec.healthCheckNodePort".to_owned(), port, causes);
    }
    if let Some(policy) = service.at("/spec/internalTrafficPolicy").and_then(Value::as_str) {
        one_of("spec.internalTrafficPolicy".to_owned(), policy, POLICIES, causes);
    }
    if let Some(spread) = service.at("/spec/trafficDistribution").and_then(Value::as_str) {
        let supported = &["PreferClose", "PreferSameNode", "PreferSameZone"];
        one_of("spec.trafficDistribution".to_owned(), spread, supported, causes);
    }
}

#[cfg(test)]
mod tests;
