//! Which pods answer for a Service: its EndpointSlices and its Endpoints, as upstream's controllers write them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::control::{self, Action, Plan, Told, pods};
use crate::api::Object;
use crate::api::kinds::{ENDPOINT_SLICE, ENDPOINTS};

pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Endpoints of one slice, and addresses of one Endpoints object.
const SLICE: usize = 100;
const CAPACITY: usize = 1000;

/// Whether its endpoints are found by its selector; those of others are somebody else's to write.
pub fn is_selecting(service: &Object) -> bool {
    service.map_at("/spec/selector").is_some_and(|selector| !selector.is_empty())
        && service.str_at("/spec/type") != "ExternalName"
}

/// Whether a pod has the labels that a Service selects.
pub fn selects(service: &Object, pod: &Object) -> bool {
    let selector = service.map_at("/spec/selector");
    is_selecting(service)
        && selector.into_iter().flatten().all(|(key, value)| pod.label(key) == value.as_str())
}

/// What counts of a pod here: a change of anything else is none.
pub fn facts(pod: &Object) -> [Option<&Value>; 5] {
    [
        pod.at("/metadata/labels"),
        pod.at("/metadata/deletionTimestamp"),
        pod.at("/status/phase"),
        pod.at("/status/podIPs"),
        pod.condition("Ready").map(|condition| &condition["status"]),
    ]
}

/// `pods` are those that the Service selects, `slices` those that it controls.
pub fn plan(service: &Object, pods: &[Object], slices: Vec<Object>, endpoints: Option<Object>) -> Plan {
    let mut plan = Plan::default();
    if service.deletion_timestamp().is_some() {
        return plan;
    }
    let slices = slices.into_iter().filter(|slice| slice.label(MANAGED_BY) == Some(MANAGER));
    if !is_selecting(service) {
        plan.actions.extend(slices.map(|slice| Action::Delete(slice, Told::Nothing)));
        return plan;
    }
    let mut groups: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pods::has_ended(pod)) {
        let address = pod.str_at("/status/podIP");
        // The Service's family is IPv4.
        if !address.is_empty() && !address.contains(':') {
            let endpoint = Endpoint::of(service, pod, address);
            groups.entry(ports(service, pod).to_string()).or_default().push(endpoint);
        }
    }
    plan_endpoints(service, &groups, endpoints, &mut plan);
    plan_slices(service, groups, slices.collect(), &mut plan);
    plan
}

/// One pod that answers.
struct Endpoint {
    address: String,
    ready: bool,
    /// As a slice has it.
    value: Value,
}

impl Endpoint {
    fn of(service: &Object, pod: &Object, address: &str) -> Self {
        let (serving, terminating) = (pods::is_ready(pod), pod.deletion_timestamp().is_some());
        let anyway = service.bool_at("/spec/publishNotReadyAddresses");
        let ready = anyway || serving && !terminating;
        let mut value = json!({
            "addresses": [address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()},
        });
        for (key, text) in [("nodeName", pod.str_at("/spec/nodeName")), ("hostname", hostname(service, pod))]
        {
            if !text.is_empty() {
                value[key] = text.into();
            }
        }
        Self { address: address.to_owned(), ready, value }
    }

    /// As Endpoints have it.
    fn address(&self) -> Value {
        let mut address = json!({"ip": self.address, "targetRef": self.value["targetRef"]});
        for key in ["nodeName", "hostname"] {
            if let Some(text) = self.value.get(key) {
                address[key] = text.clone();
            }
        }
        address
    }
}

/// The name that a pod has below its Service's, if the Service is its subdomain.
fn hostname<'a>(service: &Object, pod: &'a Object) -> &'a str {
    if pod.str_at("/spec/subdomain") == service.name() { pod.str_at("/spec/hostname") } else { "" }
}

/// A Service's ports as a pod has them: one that names a port which the pod lacks is left out.
fn ports(service: &Object, pod: &Object) -> Value {
    let port = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::Number(number) => number.as_i64().filter(|number| *number > 0),
            Value::String(name) => Some(container_port(pod, name, protocol)?),
            _ => None,
        };
        let number = number.or(port["port"].as_i64())?;
        let mut made =
            json!({"name": port["name"].as_str().unwrap_or(""), "port": number, "protocol": protocol});
        if let Some(application) = port.get("appProtocol") {
            made["appProtocol"] = application.clone();
        }
        Some(made)
    };
    service.array_at("/spec/ports").iter().filter_map(port).collect::<Vec<_>>().into()
}

fn container_port(pod: &Object, name: &str, protocol: &str) -> Option<i64> {
    let sidecars = pod.array_at("/spec/initContainers").iter().filter(|one| one["restartPolicy"] == "Always");
    let ports = pod.array_at("/spec/containers").iter().chain(sidecars);
    let mut ports = ports.filter_map(|container| container["ports"].as_array()).flatten();
    let port =
        ports.find(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol)?;
    port["containerPort"].as_i64()
}

/// The labels of what is made for a Service: its own, and those that say what it is.
fn labels(service: &Object, own: &[(&str, &str)]) -> Value {
    let mut labels: Map<String, Value> = service.labels().cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.extend(own.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))));
    if service.str_at("/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.to_owned(), "".into());
    }
    labels.into()
}

/// Endpoints stay in the slice that they are in; what is new fills slices up before another is made.
fn plan_slices(
    service: &Object,
    mut groups: BTreeMap<String, Vec<Endpoint>>,
    slices: Vec<Object>,
    plan: &mut Plan,
) {
    let labels = labels(service, &[(MANAGED_BY, MANAGER), (SERVICE_NAME, service.name())]);
    if groups.is_empty() {
        // One slice says that nothing answers.
        groups.insert("[]".to_owned(), Vec::new());
    }
    let mut slices: Vec<(Object, Vec<Value>)> = slices.into_iter().map(|slice| (slice, Vec::new())).collect();
    for (ports, endpoints) in groups {
        let is_of = |slice: &Object| slice.at("/ports").map_or("[]".to_owned(), Value::to_string) == ports;
        let mut left: BTreeMap<String, Value> =
            endpoints.into_iter().map(|one| (one.value["targetRef"]["uid"].to_string(), one.value)).collect();
        for (slice, kept) in slices.iter_mut().filter(|(slice, _)| is_of(slice)) {
            let there = slice.array_at("/endpoints").iter();
            kept.extend(there.filter_map(|one| left.remove(&one["targetRef"]["uid"].to_string())));
        }
        for (_, kept) in slices.iter_mut().filter(|(slice, _)| is_of(slice)) {
            while kept.len() < SLICE
                && let Some((_, endpoint)) = left.pop_first()
            {
                kept.push(endpoint);
            }
        }
        let mut left: Vec<Value> = left.into_values().collect();
        let nothing = ports == "[]" && left.is_empty() && slices.iter().all(|(_, kept)| kept.is_empty());
        while !left.is_empty() || nothing && slices.is_empty() {
            let rest = left.split_off(left.len().min(SLICE));
            let mut slice = Object::new(ENDPOINT_SLICE, service.namespace(), "");
            slice.remove("/metadata/name");
            slice.set("/metadata/generateName", control::generate_name(service));
            slice.set("/metadata/labels", labels.clone());
            slice.set("/metadata/ownerReferences", json!([control::owner_reference(service)]));
            slice.set("/addressType", "IPv4");
            slice.set("/ports", serde_json::from_str::<Value>(&ports).unwrap_or_default());
            slice.set("/endpoints", std::mem::replace(&mut left, rest));
            plan.actions.push(Action::Create(slice, Told::Nothing));
            if nothing {
                break;
            }
        }
    }
    // The last empty one stays if nothing else does.
    let mut stays = plan
        .actions
        .iter()
        .any(|action| matches!(action, Action::Create(made, _) if made.kind() == ENDPOINT_SLICE.kind))
        || slices.iter().any(|(_, kept)| !kept.is_empty());
    for (mut slice, kept) in slices {
        if kept.is_empty() && std::mem::replace(&mut stays, true) {
            plan.actions.push(Action::Delete(slice, Told::Nothing));
        } else if kept.as_slice() != slice.array_at("/endpoints")
            || slice.at("/metadata/labels") != Some(&labels)
        {
            slice.set("/endpoints", kept);
            slice.set("/metadata/labels", labels.clone());
            plan.actions.push(Action::Update(slice, Told::Nothing));
        }
    }
}

fn plan_endpoints(
    service: &Object,
    groups: &BTreeMap<String, Vec<Endpoint>>,
    endpoints: Option<Object>,
    plan: &mut Plan,
) {
    let mut subsets = Vec::new();
    let mut room = CAPACITY;
    let count: usize = groups.values().map(Vec::len).sum();
    for (ports, endpoints) in groups {
        // In the order of addresses, as upstream repacks them.
        let mut listed: Vec<&Endpoint> = endpoints.iter().collect();
        listed.sort_by(|a, b| (&a.address, a.ready).cmp(&(&b.address, b.ready)));
        listed.truncate(room);
        room -= listed.len();
        let of = |ready: bool| {
            listed.iter().filter(|one| one.ready == ready).map(|one| one.address()).collect::<Vec<_>>()
        };
        let mut subset = json!({"ports": serde_json::from_str::<Value>(ports).unwrap_or_default()});
        for (key, addresses) in [("addresses", of(true)), ("notReadyAddresses", of(false))] {
            if !addresses.is_empty() {
                subset[key] = addresses.into();
            }
        }
        if let Some(ports) = subset["ports"].as_array_mut() {
            // A port without a name has none here.
            ports
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|port| port.retain(|_, value| value != ""));
        }
        if subset.get("addresses").is_some() || subset.get("notReadyAddresses").is_some() {
            subsets.push(subset);
        }
    }
    let labels = labels(service, &[("endpoints.kubernetes.io/managed-by", "endpoint-controller")]);
    let is_new = endpoints.is_none();
    let mut made = endpoints.unwrap_or_else(|| Object::new(ENDPOINTS, service.namespace(), service.name()));
    let before = made.clone();
    made.set("/metadata/labels", labels);
    // It goes with its Service.
    let mut owner = control::owner_reference(service);
    owner["controller"] = false.into();
    owner["blockOwnerDeletion"] = false.into();
    made.set("/metadata/ownerReferences", json!([owner]));
    match count > CAPACITY {
        true => made.set("/metadata/annotations/endpoints.kubernetes.io~1over-capacity", "truncated"),
        false if before.annotation(OVER_CAPACITY).is_some() => {
            made.remove("/metadata/annotations/endpoints.kubernetes.io~1over-capacity");
        }
        false => {}
    }
    match subsets.is_empty() {
        true => drop(made.remove("/subsets")),
        false => made.set("/subsets", subsets),
    }
    if is_new {
        plan.actions.push(Action::Create(made, Told::Nothing));
    } else if made != before {
        plan.actions.push(Action::Update(made, Told::Nothing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Object {
        Object::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"tier": "front"}},
            "spec": {"clusterIP": "10.43.0.9", "selector": {"app": "web"}, "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
        }))
        .unwrap()
    }

    fn pod(name: &str, address: &str, ready: bool, port: i64) -> Object {
        Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "pi", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"podIP": address, "phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap()
    }

    /// What there is after a plan.
    #[derive(Default)]
    struct World {
        slices: Vec<Object>,
        endpoints: Option<Object>,
        made: usize,
    }

    impl World {
        fn apply(&mut self, pods: &[Object]) -> usize {
            let plan = plan(&service(), pods, self.slices.clone(), self.endpoints.clone());
            let count = plan.actions.len();
            for action in plan.actions {
                match action {
                    Action::Create(made, _) if made.kind() == "Endpoints" => self.endpoints = Some(made),
                    Action::Update(made, _) if made.kind() == "Endpoints" => self.endpoints = Some(made),
                    Action::Create(mut made, _) => {
                        self.made += 1;
                        made.set("/metadata/name", format!("web-{}", self.made));
                        self.slices.push(made);
                    }
                    Action::Update(made, _) => {
                        let slice = self.slices.iter_mut().find(|slice| slice.name() == made.name()).unwrap();
                        *slice = made;
                    }
                    Action::Delete(gone, _) => self.slices.retain(|slice| slice.name() != gone.name()),
                    other => panic!("{other:?}"),
                }
            }
            count
        }

        fn sizes(&self) -> Vec<usize> {
            self.slices.iter().map(|slice| slice.array_at("/endpoints").len()).collect()
        }
    }

    #[test]
    fn who_answers_is_listed() {
        let mut world = World::default();
        let mut leaving = pod("leaving", "10.0.0.4", true, 80);
        leaving.set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");
        let mut ended = pod("ended", "10.0.0.5", false, 80);
        ended.set("/status/phase", "Failed");
        let pods = [
            pod("a", "10.0.0.2", true, 80),
            pod("b", "10.0.0.1", false, 80),
            pod("c", "10.0.0.3", true, 8080),
            pod("none", "", false, 80),
            leaving,
            ended,
        ];
        world.apply(&pods);
        assert_eq!(world.sizes(), [3, 1]);
        assert_eq!(world.apply(&pods), 0, "nothing is left to do");
        let slice = &world.slices[0];
        assert_eq!(slice.label(SERVICE_NAME), Some("web"));
        assert_eq!(slice.label("tier"), Some("front"));
        assert_eq!(slice.at("/ports"), Some(&json!([{"name": "http", "port": 80, "protocol": "TCP"}])));
        let endpoints = slice.array_at("/endpoints");
        assert_eq!(
            endpoints[0],
            json!({"addresses": ["10.0.0.2"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"}, "nodeName": "pi"})
        );
        assert_eq!(endpoints[2]["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
        let subsets = world.endpoints.as_ref().unwrap().array_at("/subsets");
        assert_eq!(subsets[0]["addresses"][0]["ip"], "10.0.0.2");
        assert_eq!(subsets[0]["notReadyAddresses"].as_array().unwrap().len(), 2);
        assert_eq!(subsets[1]["ports"][0]["port"], 8080);

        // Nothing answers any more: one slice says so.
        world.apply(&[]);
        assert_eq!(world.sizes(), [0]);
        assert_eq!(world.endpoints.as_ref().unwrap().at("/subsets"), None);
        assert_eq!(world.apply(&[]), 0);
    }

    #[test]
    fn slices_are_filled_up_and_change_little() {
        let mut world = World::default();
        let mut pods: Vec<_> =
            (0..250).map(|n| pod(&format!("p{n:03}"), &format!("10.0.1.{n}"), true, 80)).collect();
        world.apply(&pods);
        assert_eq!(world.sizes(), [100, 100, 50]);
        pods.drain(..10);
        pods.extend((0..20).map(|n| pod(&format!("q{n:03}"), &format!("10.0.2.{n}"), true, 80)));
        assert!(world.apply(&pods) <= 3);
        assert_eq!(world.sizes(), [100, 100, 60]);
        assert_eq!(world.apply(&pods), 0);
    }
}
