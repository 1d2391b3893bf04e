//! Endpoints, EndpointSlices, Ingresses, IngressClasses and NetworkPolicies.

use serde_json::{Value, json};

use super::shape::{self, label_selector, list, member, named, number, one_of, ruled, text};
use super::{Strategy, restore};
use crate::api::{Cause, Object, names};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// What an EndpointSlice may hold.
const ENDPOINTS: usize = 1000;
const ADDRESSES: usize = 100;

pub struct EndpointsStrategy;

impl Strategy for EndpointsStrategy {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (index, subset) in new.array_at("/subsets").iter().enumerate() {
            let field = format!("subsets[{index}]");
            let groups = ["addresses", "notReadyAddresses"].map(|group| (group, list(subset, group)));
            if groups.iter().all(|(_, addresses)| addresses.is_empty()) {
                let detail = "must specify `addresses` or `notReadyAddresses`";
                causes.push(Cause::required(field.as_str(), detail));
            }
            for (group, addresses) in groups {
                for (index, address) in addresses.iter().enumerate() {
                    let field = format!("{field}.{group}[{index}]");
                    ruled(format!("{field}.ip"), text(address, "ip"), shape::is_foreign_ip, &mut causes);
                    if let Some(name) = member(address, "hostname").and_then(Value::as_str) {
                        ruled(format!("{field}.hostname"), name, names::is_dns_label, &mut causes);
                    }
                }
            }
            let ports = list(subset, "ports");
            for (index, port) in ports.iter().enumerate() {
                let field = format!("{field}.ports[{index}]");
                match text(port, "name") {
                    "" if ports.len() > 1 => causes.push(Cause::required(format!("{field}.name"), "")),
                    "" => {}
                    name => ruled(format!("{field}.name"), name, names::is_dns_label, &mut causes),
                }
                shape::port(format!("{field}.port"), number(port, "port"), &mut causes);
                one_of(format!("{field}.protocol"), text(port, "protocol"), PROTOCOLS, &mut causes);
            }
        }
        causes
    }
}

pub struct EndpointSliceStrategy;

impl Strategy for EndpointSliceStrategy {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let kind = new.str_at("/addressType");
        one_of("addressType".to_owned(), kind, &["FQDN", "IPv4", "IPv6"], &mut causes);
        if old.is_some_and(|old| old.str_at("/addressType") != kind) {
            causes.push(Cause::invalid("addressType", kind, "field is immutable"));
        }
        let endpoints = new.array_at("/endpoints");
        if endpoints.len() > ENDPOINTS {
            causes.push(Cause::too_many("endpoints", endpoints.len(), ENDPOINTS));
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let field = format!("endpoints[{index}].addresses");
            let addresses = list(endpoint, "addresses");
            if addresses.is_empty() {
                causes.push(Cause::required(field.as_str(), "must contain at least 1 address"));
            } else if addresses.len() > ADDRESSES {
                causes.push(Cause::too_many(field.as_str(), addresses.len(), ADDRESSES));
            }
            for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
                endpoint_address(kind, format!("{field}[{index}]"), address, &mut causes);
            }
            for (key, check) in [
                ("nodeName", names::is_dns_subdomain as fn(&str) -> Result<(), String>),
                ("hostname", names::is_dns_label),
            ] {
                if let Some(name) = member(endpoint, key).and_then(Value::as_str) {
                    ruled(format!("endpoints[{index}].{key}"), name, check, &mut causes);
                }
            }
        }
        let ports = new.array_at("/ports");
        for (index, port) in ports.iter().enumerate() {
            let (field, name) = (format!("ports[{index}]"), text(port, "name"));
            if !name.is_empty() {
                ruled(format!("{field}.name"), name, names::is_dns_label, &mut causes);
            }
            if ports.iter().take(index).any(|other| text(other, "name") == name) {
                causes.push(Cause::duplicate(format!("{field}.name"), name));
            }
            if member(port, "port").is_some() {
                shape::port(format!("{field}.port"), number(port, "port"), &mut causes);
            }
            one_of(format!("{field}.protocol"), text(port, "protocol"), PROTOCOLS, &mut causes);
        }
        causes
    }
}

fn endpoint_address(kind: &str, field: String, address: &str, causes: &mut Vec<Cause>) {
    match (kind, address.contains(':')) {
        ("FQDN", _) => ruled(field, address, names::is_dns_subdomain, causes),
        ("IPv4", true) => causes.push(Cause::invalid(field, address, "must be an IPv4 address")),
        ("IPv6", false) => causes.push(Cause::invalid(field, address, "must be an IPv6 address")),
        _ => ruled(field, address, shape::is_foreign_ip, causes),
    }
}

pub struct IngressStrategy;

impl Strategy for IngressStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/status", json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        restore(new, old, "/status");
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let class = new.at("/spec/ingressClassName").and_then(Value::as_str);
        if let (None, Some(annotation), Some(class)) =
            (old, new.annotation("kubernetes.io/ingress.class"), class)
        {
            if annotation != class {
                let detail = "must match `ingressClassName` when both are specified";
                let field = "annotations.kubernetes.io/ingress.class";
                causes.push(Cause::invalid(field, annotation, detail));
            }
        }
        let (rules, backend) = (new.array_at("/spec/rules"), new.at("/spec/defaultBackend"));
        if rules.is_empty() && backend.is_none() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            causes.push(Cause::invalid("spec", rules, detail));
        }
        if let Some(backend) = backend {
            ingress_backend("spec.defaultBackend", backend, &mut causes);
        }
        for (index, rule) in rules.iter().enumerate() {
            ingress_rule(&format!("spec.rules[{index}]"), rule, &mut causes);
        }
        for (index, tls) in new.array_at("/spec/tls").iter().enumerate() {
            let field = format!("spec.tls[{index}]");
            for (index, host) in list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
                ruled(format!("{field}.hosts[{index}]"), host, names::is_host, &mut causes);
            }
            if !text(tls, "secretName").is_empty() {
                let name = text(tls, "secretName");
                ruled(format!("{field}.secretName"), name, names::is_dns_subdomain, &mut causes);
            }
        }
        if let Some(class) = class {
            ruled("spec.ingressClassName".to_owned(), class, names::is_dns_subdomain, &mut causes);
        }
        causes
    }
}

fn ingress_rule(field: &str, rule: &Value, causes: &mut Vec<Cause>) {
    let host = text(rule, "host");
    if shape::is_ip(host).is_ok() {
        let detail = "must be a DNS name, not an IP address";
        causes.push(Cause::invalid(format!("{field}.host"), host, detail));
    }
    if !host.is_empty() {
        ruled(format!("{field}.host"), host, names::is_host, causes);
    }
    let Some(http) = member(rule, "http") else { return };
    if list(http, "paths").is_empty() {
        causes.push(Cause::required(format!("{field}.http.paths"), ""));
    }
    for (index, path) in list(http, "paths").iter().enumerate() {
        let field = format!("{field}.http.paths[{index}]");
        let location = text(path, "path");
        let mut wrong = |detail: &str| causes.push(Cause::invalid(format!("{field}.path"), location, detail));
        match text(path, "pathType") {
            "" => {
                let detail = "pathType must be specified";
                causes.push(Cause::required(format!("{field}.pathType"), detail));
                continue;
            }
            "Exact" | "Prefix" => {
                if !location.starts_with('/') {
                    wrong("must be an absolute path");
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|p| location.contains(p)) {
                    wrong(&format!("must not contain '{part}'"));
                }
                for end in ["/..", "/."].into_iter().filter(|end| location.ends_with(end)) {
                    wrong(&format!("cannot end with '{end}'"));
                }
            }
            "ImplementationSpecific" => {
                if !location.is_empty() && !location.starts_with('/') {
                    wrong("must be an absolute path");
                }
            }
            other => causes.push(Cause::not_supported(
                format!("{field}.pathType"),
                other,
                &["Exact", "ImplementationSpecific", "Prefix"],
            )),
        }
        let backend = path.get("backend").unwrap_or(&Value::Null);
        ingress_backend(&format!("{field}.backend"), backend, causes);
    }
}

fn ingress_backend(field: &str, backend: &Value, causes: &mut Vec<Cause>) {
    match (member(backend, "service"), member(backend, "resource")) {
        (Some(_), Some(_)) => {
            causes.push(Cause::invalid(field, "", "cannot set both resource and service backends"));
        }
        (None, None) => causes.push(Cause::invalid(field, "", "resource or service backend is required")),
        (None, Some(resource)) => reference(&format!("{field}.resource"), resource, causes),
        (Some(service), None) => {
            named(format!("{field}.service.name"), text(service, "name"), names::is_dns_label, causes);
            let port = service.get("port").unwrap_or(&Value::Null);
            match (text(port, "name"), number(port, "number")) {
                ("", 0) => causes.push(Cause::required(field, "port name or number is required")),
                ("", number) => shape::port(format!("{field}.service.port.number"), number, causes),
                (name, 0) => {
                    ruled(format!("{field}.service.port.name"), name, names::is_port_name, causes);
                }
                _ => causes.push(Cause::invalid(field, "", "cannot set both port name & port number")),
            }
        }
    }
}

/// A reference to an object of some kind.
fn reference(field: &str, reference: &Value, causes: &mut Vec<Cause>) {
    if let Some(group) = member(reference, "apiGroup").and_then(Value::as_str) {
        ruled(format!("{field}.apiGroup"), group, names::is_dns_subdomain, causes);
    }
    for key in ["kind", "name"] {
        named(format!("{field}.{key}"), text(reference, key), names::is_path_segment, causes);
    }
}

pub struct IngressClassStrategy;

impl Strategy for IngressClassStrategy {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (field, controller) = ("spec.controller", new.str_at("/spec/controller"));
        if old.is_some_and(|old| old.str_at("/spec/controller") != controller) {
            causes.push(Cause::invalid(field, controller, "field is immutable"));
        }
        if controller.len() > 250 {
            causes.push(Cause::too_long(field, 250));
        }
        match controller.split_once('/') {
            _ if controller.is_empty() => causes.push(Cause::required(field, "")),
            Some((domain, path)) if !path.is_empty() => {
                ruled(field.to_owned(), domain, names::is_dns_subdomain, &mut causes);
            }
            _ => {
                let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                causes.push(Cause::invalid(field, controller, detail));
            }
        }
        if let Some(parameters) = new.at("/spec/parameters") {
            let field = "spec.parameters";
            reference(field, parameters, &mut causes);
            let (scope, namespace) = (text(parameters, "scope"), text(parameters, "namespace"));
            one_of(format!("{field}.scope"), scope, &["Cluster", "Namespace"], &mut causes);
            let field = format!("{field}.namespace");
            match (scope, namespace) {
                ("Namespace", "") => {
                    causes.push(Cause::required(field, "`parameters.scope` is set to 'Namespace'"));
                }
                ("Namespace", name) => ruled(field, name, names::is_dns_label, &mut causes),
                ("Cluster", name) if !name.is_empty() => {
                    causes.push(Cause::forbidden(field, "`parameters.scope` is set to 'Cluster'"));
                }
                _ => {}
            }
        }
        causes
    }
}

pub struct NetworkPolicyStrategy;

impl Strategy for NetworkPolicyStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.remove("/status");
        policy_types(new);
    }

    fn prepare_update(&self, new: &mut Object, _old: &Object) {
        policy_types(new);
    }

    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let selector = new.at("/spec/podSelector").unwrap_or(&Value::Null);
        label_selector("spec.podSelector", selector, &mut causes);
        for (direction, side) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in new.array_at(&format!("/spec/{direction}")).iter().enumerate() {
                let field = format!("spec.{direction}[{index}]");
                for (index, port) in list(rule, "ports").iter().enumerate() {
                    policy_port(&format!("{field}.ports[{index}]"), port, &mut causes);
                }
                for (index, peer) in list(rule, side).iter().enumerate() {
                    policy_peer(&format!("{field}.{side}[{index}]"), peer, &mut causes);
                }
            }
        }
        let types = new.array_at("/spec/policyTypes");
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            causes.push(Cause::invalid("spec.policyTypes", types, detail));
            return causes;
        }
        for (index, kind) in types.iter().enumerate() {
            let kind = kind.as_str().unwrap_or("");
            if !["Ingress", "Egress"].contains(&kind) {
                let field = format!("spec.policyTypes[{index}]");
                causes.push(Cause::not_supported(field, kind, &["Egress", "Ingress"]));
            }
        }
        causes
    }
}

/// A policy without types is about what comes in, and about what goes out if it has rules for that.
fn policy_types(policy: &mut Object) {
    if policy.array_at("/spec/policyTypes").is_empty() {
        let out = !policy.array_at("/spec/egress").is_empty();
        policy.set("/spec/policyTypes", if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}

fn policy_port(field: &str, port: &Value, causes: &mut Vec<Cause>) {
    if let Some(protocol) = member(port, "protocol").and_then(Value::as_str) {
        one_of(format!("{field}.protocol"), protocol, PROTOCOLS, causes);
    }
    let (end_field, end) = (format!("{field}.endPort"), member(port, "endPort").and_then(Value::as_i64));
    if let Some(number) = member(port, "port") {
        shape::port_or_name(format!("{field}.port"), number, causes);
    }
    let Some(end) = end else { return };
    match member(port, "port") {
        None => {
            let detail = "may not be specified when `port` is not specified";
            causes.push(Cause::invalid(end_field, end, detail));
        }
        Some(Value::Number(first)) => {
            if end < first.as_i64().unwrap_or(0) {
                let detail = "must be greater than or equal to `port`";
                causes.push(Cause::invalid(end_field.as_str(), end, detail));
            }
            shape::port(end_field, end, causes);
        }
        Some(_) => {
            let detail = "may not be specified when `port` is non-numeric";
            causes.push(Cause::invalid(end_field, end, detail));
        }
    }
}

fn policy_peer(field: &str, peer: &Value, causes: &mut Vec<Cause>) {
    let mut selectors = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = member(peer, key) {
            selectors += 1;
            label_selector(&format!("{field}.{key}"), selector, causes);
        }
    }
    match (selectors, member(peer, "ipBlock")) {
        (0, None) => causes.push(Cause::required(field, "must specify a peer")),
        (_, None) => {}
        (count, Some(block)) => {
            if count > 0 {
                causes.push(Cause::forbidden(field, "may not specify both ipBlock and another peer"));
            }
            let outer = text(block, "cidr");
            named(format!("{field}.ipBlock.cidr"), outer, shape::is_cidr, causes);
            for (index, inner) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
                let field = format!("{field}.ipBlock.except[{index}]");
                if let Err(message) = shape::is_cidr(inner) {
                    causes.push(Cause::invalid(field, inner, &message));
                } else if shape::is_cidr(outer).is_ok() && !shape::is_strictly_within(inner, outer) {
                    causes.push(Cause::invalid(field, inner, "must be a strict subset of `cidr`"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(strategy: &dyn Strategy, cases: &[(Value, &[&str])]) {
        for (rest, expected) in cases {
            let mut object = Object::from_value(json!({"metadata": {"name": "a"}})).unwrap();
            for (key, value) in rest.as_object().unwrap() {
                object.set(&format!("/{key}"), value.clone());
            }
            strategy.prepare_create(&mut object);
            let causes: Vec<_> =
                strategy.validate(&object, None).into_iter().map(|cause| cause.to_string()).collect();
            assert_eq!(causes, *expected, "{rest}");
        }
    }

    #[test]
    fn ingresses() {
        let with = |path: Value| json!({"spec": {"rules": [{"host": "*.a.b", "http": {"paths": [path]}}]}});
        let service = json!({"service": {"name": "web", "port": {"number": 80}}});
        check(
            &IngressStrategy,
            &[
                (with(json!({"path": "/", "pathType": "Prefix", "backend": service})), &[]),
                (
                    json!({"spec": {}}),
                    &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
                ),
                (
                    json!({"spec": {"defaultBackend": {}, "rules": [{"host": "10.0.0.1"}]}}),
                    &[
                        "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
                        "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                    ],
                ),
                (
                    with(
                        json!({"path": "a//b", "pathType": "Exact", "backend": {"service": {"name": "web"}}}),
                    ),
                    &[
                        "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path",
                        "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
                        "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
                    ],
                ),
                (
                    with(json!({"backend": service})),
                    &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
                ),
            ],
        );
    }

    #[test]
    fn policies() {
        let from = |peer: Value| json!({"spec": {"podSelector": {}, "ingress": [{"from": [peer]}]}});
        check(
            &NetworkPolicyStrategy,
            &[
                (json!({"spec": {"podSelector": {}}}), &[]),
                (from(json!({})), &["spec.ingress[0].from[0]: Required value: must specify a peer"]),
                (
                    from(
                        json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.1.0.0/16"]}}),
                    ),
                    &[
                        "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
                        "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                    ],
                ),
                (
                    json!({"spec": {"egress": [{"ports": [{"port": 80, "endPort": 79}, {"port": "web", "endPort": 9}]}], "policyTypes": ["X"]}}),
                    &[
                        "spec.egress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
                        "spec.egress[0].ports[1].endPort: Invalid value: 9: may not be specified when `port` is non-numeric",
                        "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Egress\", \"Ingress\"",
                    ],
                ),
                (
                    json!({"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
                    &[
                        "spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    ],
                ),
            ],
        );
        let mut policy = Object::from_value(json!({"spec": {"egress": [{}]}})).unwrap();
        NetworkPolicyStrategy.prepare_create(&mut policy);
        assert_eq!(policy.array_at("/spec/policyTypes"), ["Ingress", "Egress"]);
    }

    #[test]
    fn endpoints_and_classes() {
        check(
            &EndpointSliceStrategy,
            &[
                (
                    json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": []}),
                    &[],
                ),
                (
                    json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}, {"addresses": []}]}),
                    &[
                        "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                        "endpoints[1].addresses: Required value: must contain at least 1 address",
                    ],
                ),
            ],
        );
        check(
            &EndpointsStrategy,
            &[(
                json!({"subsets": [{}]}),
                &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            )],
        );
        check(
            &IngressClassStrategy,
            &[
                (json!({"spec": {"controller": "a.b/c"}}), &[]),
                (
                    json!({"spec": {"controller": "nginx"}}),
                    &[
                        "spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                    ],
                ),
            ],
        );
    }
}
