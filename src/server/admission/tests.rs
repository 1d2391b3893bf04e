use serde_json::{Value, json};
use smol::block_on;

use super::*;
use crate::server::registry::WriteOptions;
use crate::server::registry::testing::{Cluster, pod};

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn make(cluster: &Cluster, object: Value) -> Object {
    block_on(cluster.create(object)).unwrap()
}

fn refused(cluster: &Cluster, object: Value) -> String {
    block_on(cluster.create(object)).unwrap_err().message
}

#[test]
fn services_get_what_nobody_else_has() {
    let cluster = Cluster::new("services");
    let one = make(&cluster, service("one", json!({"type": "NodePort", "ports": [{"port": 80}]})));
    let ip = one.str_at("/spec/clusterIP").to_owned();
    let port = one.i64_at("/spec/ports/0/nodePort").unwrap();
    assert!(ip.starts_with("10.43.") && (30000..=32767).contains(&port), "{ip} {port}");
    assert_eq!(one.array_at("/spec/clusterIPs"), [ip.as_str()]);
    let taken = refused(&cluster, service("two", json!({"clusterIP": ip, "ports": [{"port": 80}]})));
    assert_eq!(
        taken,
        format!(
            "Service \"two\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}: \
             provided IP is already allocated"
        )
    );
    let outside =
        refused(&cluster, service("two", json!({"clusterIP": "10.44.0.9", "ports": [{"port": 80}]})));
    assert!(
        outside.contains("(10.44.0.9) is not in the valid range. The range of valid IPs is 10.43.0.0/16")
    );
    let both = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    assert!(refused(&cluster, service("two", both)).ends_with(": provided port is already allocated"));
    let low = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert!(refused(&cluster, service("two", low)).ends_with("The range of valid ports is 30000-32767"));
    let dns = json!({"type": "NodePort", "ports": [
        {"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]});
    let dns = make(&cluster, service("dns", dns));
    assert_eq!(dns.at("/spec/ports/0/nodePort"), dns.at("/spec/ports/1/nodePort"));
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 1}]});
    assert!(make(&cluster, service("local", local)).i64_at("/spec/healthCheckNodePort").is_some());
    let headless = make(&cluster, service("none", json!({"clusterIP": "None", "selector": {"a": "b"}})));
    assert_eq!(headless.str_at("/spec/clusterIP"), "None");
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let tried = Object::from_value(service("dry", json!({"ports": [{"port": 1}]}))).unwrap();
    let tried = block_on(cluster.registry.create(SERVICE, tried, dry)).unwrap();
    assert!(tried.str_at("/spec/clusterIP").starts_with("10.43."));
    assert_eq!(first("10.43.0.0/16"), "10.43.0.1");
}

fn first(range: &str) -> String {
    Admission::new(range.parse().unwrap()).first_address().to_string()
}

#[test]
fn an_update_keeps_the_address() {
    let cluster = Cluster::new("services-update");
    let made = make(&cluster, service("web", json!({"ports": [{"port": 80}]})));
    let mut new =
        Object::from_value(service("web", json!({"type": "NodePort", "ports": [{"port": 81}]}))).unwrap();
    let changed = block_on(cluster.registry.update(SERVICE, new.clone(), WriteOptions::default())).unwrap();
    assert_eq!(changed.at("/spec/clusterIP"), made.at("/spec/clusterIP"));
    assert!(changed.i64_at("/spec/ports/0/nodePort").is_some_and(|port| port >= 30000));
    new.set("/spec", json!({"type": "ExternalName", "externalName": "a.b"}));
    let named = block_on(cluster.registry.update(SERVICE, new, WriteOptions::default())).unwrap();
    assert_eq!((named.at("/spec/clusterIP"), named.at("/spec/clusterIPs")), (None, None));
}

#[test]
fn twenty_at_once_get_twenty_addresses() {
    let cluster = Cluster::new("services-race");
    let executor = crate::Executor::default();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let registry = cluster.registry.clone();
            let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
            let object = Object::from_value(service(&format!("s{number}"), spec)).unwrap();
            executor.spawn(async move { registry.create(SERVICE, object, WriteOptions::default()).await })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for task in tasks {
        let made = block_on(executor.run(task)).unwrap();
        assert!(seen.insert(made.str_at("/spec/clusterIP").to_owned()), "{seen:?}");
        assert!(seen.insert(made.i64_at("/spec/ports/0/nodePort").unwrap().to_string()), "{seen:?}");
    }
}

#[test]
fn pods_get_their_priority() {
    let cluster = Cluster::new("priorities");
    block_on(seed(&cluster.registry)).unwrap();
    let plain = make(&cluster, pod("plain"));
    assert_eq!(plain.i64_at("/spec/priority"), Some(0));
    assert_eq!(plain.str_at("/spec/preemptionPolicy"), "PreemptLowerPriority");
    let of = |name: &str, class: &str| {
        let mut pod = pod(name);
        pod["spec"]["priorityClassName"] = class.into();
        pod
    };
    let critical = make(&cluster, of("critical", "system-node-critical"));
    assert_eq!(critical.i64_at("/spec/priority"), Some(2_000_001_000));
    assert_eq!(
        refused(&cluster, of("odd", "odd")),
        "pods \"odd\" is forbidden: no PriorityClass with name odd was found"
    );
    let class = |name: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": 7, "globalDefault": true})
    };
    make(&cluster, class("seven"));
    let default = make(&cluster, pod("default"));
    assert_eq!(
        (default.i64_at("/spec/priority"), default.str_at("/spec/priorityClassName")),
        (Some(7), "seven")
    );
    assert_eq!(
        refused(&cluster, class("eight")),
        "priorityclasses.scheduling.k8s.io \"eight\" is forbidden: PriorityClass seven is already marked as default. \
         Only one default can exist"
    );
}

#[test]
fn limits_and_quotas() {
    let cluster = Cluster::new("quotas");
    let of = |kind: &str, spec: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "q", "namespace": "default"}, "spec": spec});
    make(
        &cluster,
        of(
            "ResourceQuota",
            json!({"hard": {"pods": "2", "requests.cpu": "1", "count/configmaps": "1", "services.nodeports": "1"}}),
        ),
    );
    assert_eq!(
        refused(&cluster, pod("silent")),
        "pods \"silent\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    make(
        &cluster,
        of(
            "LimitRange",
            json!({"limits": [{"type": "Container", "default": {"cpu": "400m"}, "max": {"cpu": "2"}}]}),
        ),
    );
    let web = make(&cluster, pod("web"));
    assert_eq!(web.str_at("/spec/containers/0/resources/requests/cpu"), "400m");
    assert_eq!(web.str_at("/status/qosClass"), "Burstable");
    let asking = |name: &str, cpu: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        pod
    };
    assert_eq!(
        refused(&cluster, asking("big", "700m")),
        "pods \"big\" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: \
         requests.cpu=1"
    );
    assert_eq!(
        refused(&cluster, asking("huge", "3")),
        "pods \"huge\" is forbidden: maximum cpu usage per Container is 2, but limit is 3"
    );
    make(&cluster, pod("second"));
    assert!(
        refused(&cluster, asking("third", "1m")).contains("requested: pods=1, used: pods=2, limited: pods=2")
    );
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
    make(&cluster, map("a"));
    assert!(refused(&cluster, map("b")).contains("count/configmaps=1, limited: count/configmaps=1"));
    make(&cluster, service("s", json!({"ports": [{"port": 80}]})));
    let grown = json!({"type": "NodePort", "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]});
    let grown = Object::from_value(service("s", grown)).unwrap();
    let refused = block_on(cluster.registry.update(SERVICE, grown, WriteOptions::default())).unwrap_err();
    assert!(
        refused.message.contains("requested: services.nodeports=2, used: services.nodeports=0"),
        "{refused}"
    );
    block_on(quotas::pass(&cluster.registry)).unwrap();
    let quota = cluster.registry.get(RESOURCE_QUOTA, "default", "q").unwrap();
    assert_eq!(
        quota.at("/status/used"),
        Some(
            &json!({"pods": "2", "requests.cpu": "800m", "count/configmaps": "1", "services.nodeports": "0"})
        )
    );
}

#[test]
fn who_goes_away_keeps_its_turn() {
    let cluster = Cluster::new("turn");
    let hard = json!({"hard": {"count/configmaps": "5"}});
    let metadata = json!({"name": "few", "namespace": "default"});
    make(&cluster, json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": hard}));
    let map = |name: String| {
        let metadata = json!({"name": name, "namespace": "default"});
        cluster.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    };
    block_on(async {
        for number in 0..20 {
            // Its write is in the store's queue by then, and the client has gone.
            drop(futures_lite::future::poll_once(Box::pin(map(format!("gone-{number}")))).await);
        }
        for number in 0..20 {
            drop(map(format!("map-{number}")).await);
        }
    });
    assert_eq!(cluster.registry.objects(crate::api::kinds::CONFIG_MAP, None).unwrap().len(), 5);
}
