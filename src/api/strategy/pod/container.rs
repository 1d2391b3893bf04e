//! A pod's containers.

use serde_json::Value;

use super::{has, list, probe, text, volume};
use crate::api::{Cause, Object, names};

mod env;
mod resources;
mod restart;

pub fn validate(pod: &Object, causes: &mut Vec<Cause>) {
    if pod.array_at("/spec/containers").is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    let host_network = pod.bool_at("/spec/hostNetwork");
    let of = probe::Of {
        grace: pod.i64_at("/spec/terminationGracePeriodSeconds").unwrap_or(30),
        has_os: !pod.str_at("/spec/os/name").is_empty(),
    };
    let volumes: Vec<&str> =
        pod.array_at("/spec/volumes").iter().map(|volume| text(volume, "name")).collect();
    // Names are unique over both lists, host ports among the containers that run together.
    let mut seen = Vec::new();
    for kind in ["containers", "initContainers"] {
        let mut host_ports = Vec::new();
        for (index, container) in pod.array_at(&format!("/spec/{kind}")).iter().enumerate() {
            let field = format!("spec.{kind}[{index}]");
            name(&field, container, &mut seen, causes);
            image(&field, container, causes);
            ports(&field, container, host_network, &mut host_ports, causes);
            env::validate(&field, container, causes);
            resources::validate(&format!("{field}.resources"), container.get("resources"), causes);
            mounts(&field, container, &volumes, causes);
            let runs_on = kind == "containers" || text(container, "restartPolicy") == "Always";
            probe::validate(&field, container, runs_on, &of, causes);
            restart::validate(&field, container, causes);
        }
    }
}

/// What holds for an ephemeral container as well.
pub fn basics<'a>(
    field: &str,
    container: &'a Value,
    volumes: &[&str],
    seen: &mut Vec<&'a str>,
    causes: &mut Vec<Cause>,
) {
    name(field, container, seen, causes);
    image(field, container, causes);
    env::validate(field, container, causes);
    mounts(field, container, volumes, causes);
}

fn name<'a>(field: &str, container: &'a Value, seen: &mut Vec<&'a str>, causes: &mut Vec<Cause>) {
    let name = text(container, "name");
    let field = format!("{field}.name");
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if let Err(message) = names::is_dns_label(name) {
        causes.push(Cause::invalid(field, name, &message));
    } else if seen.contains(&name) {
        causes.push(Cause::duplicate(field, name));
    }
    seen.push(name);
}

fn image(field: &str, container: &Value, causes: &mut Vec<Cause>) {
    let image = text(container, "image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{field}.image"), image, detail));
    }
    for (key, supported) in [
        ("imagePullPolicy", ["Always", "IfNotPresent", "Never"].as_slice()),
        ("terminationMessagePolicy", ["FallbackToLogsOnError", "File"].as_slice()),
    ] {
        let value = text(container, key);
        if !value.is_empty() && !supported.contains(&value) {
            causes.push(Cause::not_supported(format!("{field}.{key}"), value, supported));
        }
    }
}

fn ports(
    field: &str,
    container: &Value,
    host_network: bool,
    host_ports: &mut Vec<String>,
    causes: &mut Vec<Cause>,
) {
    let ports = list(container, "ports");
    for (index, port) in ports.iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            if let Err(message) = names::is_port_name(name) {
                causes.push(Cause::invalid(format!("{field}.name"), name, &message));
            } else if ports.iter().take(index).any(|other| text(other, "name") == name) {
                causes.push(Cause::duplicate(format!("{field}.name"), name));
            }
        }
        let number = |key: &str| port.get(key).and_then(Value::as_i64).unwrap_or(0);
        let (inside, outside) = (number("containerPort"), number("hostPort"));
        match (inside, names::is_port(inside)) {
            (0, _) => causes.push(Cause::required(format!("{field}.containerPort"), "")),
            (_, Err(message)) => {
                causes.push(Cause::invalid(format!("{field}.containerPort"), inside, &message));
            }
            _ => {}
        }
        let protocol = text(port, "protocol");
        if !matches!(protocol, "" | "SCTP" | "TCP" | "UDP") {
            let supported = &["SCTP", "TCP", "UDP"];
            causes.push(Cause::not_supported(format!("{field}.protocol"), protocol, supported));
        }
        if outside == 0 {
            continue;
        }
        if let Err(message) = names::is_port(outside) {
            causes.push(Cause::invalid(format!("{field}.hostPort"), outside, &message));
        }
        if host_network && outside != inside {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            causes.push(Cause::invalid(format!("{field}.containerPort"), inside, detail));
        }
        let protocol = if protocol.is_empty() { "TCP" } else { protocol };
        let taken = format!("{protocol}/{}/{outside}", text(port, "hostIP"));
        if host_ports.contains(&taken) {
            causes.push(Cause::duplicate(format!("{field}.hostPort"), taken.as_str()));
        }
        host_ports.push(taken);
    }
}

fn mounts(field: &str, container: &Value, volumes: &[&str], causes: &mut Vec<Cause>) {
    let mounts = list(container, "volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.contains(&name) {
            causes.push(Cause::not_found(format!("{field}.name"), name));
        }
        if path.is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        } else if mounts.iter().take(index).any(|other| text(other, "mountPath") == path) {
            causes.push(Cause::invalid(format!("{field}.mountPath"), path, "must be unique"));
        }
        volume::mount(&field, container, mount, causes);
        volume::relative(&format!("{field}.subPath"), text(mount, "subPath"), causes);
        volume::relative(&format!("{field}.subPathExpr"), text(mount, "subPathExpr"), causes);
        if has(mount, "subPath") && has(mount, "subPathExpr") {
            let detail = "subPathExpr and subPath are mutually exclusive";
            causes.push(Cause::invalid(format!("{field}.subPathExpr"), text(mount, "subPathExpr"), detail));
        }
    }
}
