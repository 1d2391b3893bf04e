//! The columns of Services and what is around them.

use serde_json::Value;

use super::columns::{AGE, NAME};
use super::{Column, or};
use crate::api::Object;
use crate::api::selector::{format, format_labels};

/// What fits of load balancers' addresses into a narrow table.
const WIDTH: usize = 16;
/// How many ports or addresses are listed before the rest is counted.
const SHOWN: usize = 3;

pub const SERVICE: &[Column] = &[
    NAME,
    Column::text("Type", "How the service is reached.", |service, _| service.str_at("/spec/type").into()),
    Column::text("Cluster-IP", "The service's address in the cluster.", |service, _| {
        or(service.str_at("/spec/clusterIP"), "<none>")
    }),
    Column::text("External-IP", "Addresses outside of the cluster.", |service, _| external(service).into()),
    Column::text("Port(s)", "The service's ports.", |service, _| ports(service).into()),
    AGE,
    Column::text("Selector", "The pods behind it.", |service, _| {
        or(&format_labels(service.at("/spec/selector").unwrap_or(&Value::Null)), "<none>")
    })
    .wide(),
];

pub const ENDPOINTS: &[Column] = &[
    NAME,
    Column::text("Endpoints", "Addresses that are ready.", |endpoints, _| subsets(endpoints).into()),
    AGE,
];

pub const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    Column::text("AddressType", "The family of its addresses.", |slice, _| {
        slice.str_at("/addressType").into()
    }),
    Column::text("Ports", "Its ports.", |slice, _| {
        let number = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) if !name.is_empty() => name.to_owned(),
            _ => "*".to_owned(),
        };
        some(slice.array_at("/ports").iter().map(number), "<unset>").into()
    }),
    Column::text("Endpoints", "Its addresses.", |slice, _| {
        let endpoints = slice.array_at("/endpoints").iter();
        let addresses = endpoints.flat_map(|endpoint| texts(&endpoint["addresses"]));
        some(addresses.map(str::to_owned), "<unset>").into()
    }),
    AGE,
];

pub const INGRESS: &[Column] = &[
    NAME,
    Column::text("Class", "The class that it is of.", |ingress, _| {
        match ingress.str_at("/spec/ingressClassName") {
            "" => or(ingress.annotation("kubernetes.io/ingress.class").unwrap_or(""), "<none>"),
            class => class.into(),
        }
    }),
    Column::text("Hosts", "The hosts that it answers for.", |ingress, _| {
        let hosts = ingress.array_at("/spec/rules").iter().map(|rule| match rule["host"].as_str() {
            None | Some("") => "*".to_owned(),
            Some(host) => host.to_owned(),
        });
        some(hosts, "*").into()
    }),
    Column::text("Address", "Where it is reached.", |ingress, _| balancers(ingress, true).into()),
    Column::text("Ports", "The ports that it has.", |ingress, _| {
        if ingress.array_at("/spec/tls").is_empty() { "80".into() } else { "80, 443".into() }
    }),
    AGE,
];

pub const INGRESS_CLASS: &[Column] = &[
    NAME,
    Column::text("Controller", "Who looks after its ingresses.", |class, _| {
        class.str_at("/spec/controller").into()
    }),
    Column::text("Parameters", "Its further configuration.", |class, _| {
        let part = |key: &str| class.str_at(&format!("/spec/parameters/{key}"));
        match (part("kind"), part("apiGroup"), part("name")) {
            ("", ..) => "<none>".into(),
            (kind, "", name) => format!("{kind}/{name}").into(),
            (kind, group, name) => format!("{kind}.{group}/{name}").into(),
        }
    }),
    AGE,
];

pub const NETWORK_POLICY: &[Column] = &[
    NAME,
    Column::text("Pod-Selector", "The pods that it is about.", |policy, _| {
        or(&format(policy.at("/spec/podSelector").unwrap_or(&Value::Null)), "<none>")
    }),
    AGE,
];

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The first few, and how many more there are.
fn some(mut items: impl Iterator<Item = String>, none: &str) -> String {
    let shown: Vec<String> = items.by_ref().take(SHOWN).collect();
    match items.count() {
        _ if shown.is_empty() => none.to_owned(),
        0 => shown.join(","),
        more => format!("{} + {more} more...", shown.join(",")),
    }
}

fn ports(service: &Object) -> String {
    let ports = service.array_at("/spec/ports").iter().map(|port| {
        let (number, protocol) =
            (port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or(""));
        match port["nodePort"].as_i64().unwrap_or(0) {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    });
    let ports: Vec<String> = ports.collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

fn external(service: &Object) -> String {
    let own: Vec<&str> = service.array_at("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match service.str_at("/spec/type") {
        "ExternalName" => service.str_at("/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let given = balancers(service, false);
            let all: Vec<&str> =
                Some(given.as_str()).filter(|text| !text.is_empty()).into_iter().chain(own).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ if own.is_empty() => "<none>".to_owned(),
        _ => own.join(","),
    }
}

/// Load balancers' addresses in the status; the wide table has them in full, and this is one for both, so long
/// lists are cut as in the narrow one unless told otherwise.
fn balancers(object: &Object, full: bool) -> String {
    let mut all: Vec<&str> = object
        .array_at("/status/loadBalancer/ingress")
        .iter()
        .filter_map(|ingress| {
            ["ip", "hostname"]
                .into_iter()
                .find_map(|key| ingress[key].as_str().filter(|text| !text.is_empty()))
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    let text = all.join(",");
    match text.get(..WIDTH - 3) {
        Some(start) if !full && text.len() > WIDTH => format!("{start}..."),
        _ => text,
    }
}

fn subsets(endpoints: &Object) -> String {
    let all = endpoints.array_at("/subsets").iter().flat_map(|subset| {
        let addresses = || subset["addresses"].as_array().into_iter().flatten();
        let ip = |address: &Value| address["ip"].as_str().unwrap_or("").to_owned();
        let ports = subset["ports"].as_array().map_or(&[][..], Vec::as_slice);
        if ports.is_empty() {
            return addresses().map(ip).collect::<Vec<_>>();
        }
        let joined = |port: &Value, address: &Value| {
            let (ip, port) = (ip(address), port["port"].as_i64().unwrap_or(0));
            if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
        };
        ports.iter().flat_map(|port| addresses().map(move |address| joined(port, address))).collect()
    });
    some(all, "<none>")
}
