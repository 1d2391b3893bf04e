use super::*;

fn service(spec: Value) -> Object {
    let mut service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"}});
    service["spec"] = spec;
    let mut service = Object::from_value(service).unwrap();
    crate::api::schema::default(crate::api::kinds::SERVICE, &mut service);
    service
}

fn created(spec: Value) -> Object {
    let mut service = service(spec);
    ServiceStrategy.prepare_create(&mut service);
    service
}

fn causes(new: &Object, old: Option<&Object>) -> Vec<String> {
    ServiceStrategy.validate(new, old).iter().map(Cause::to_string).collect()
}

#[test]
fn defaults() {
    let plain = created(json!({"ports": [{"port": 80}], "selector": {"app": "web"}}));
    assert_eq!(
        plain.at("/spec").unwrap(),
        &json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        })
    );
    let balanced = created(json!({"type": "LoadBalancer", "ports": [{"port": 1, "targetPort": "x"}]}));
    assert_eq!(balanced.str_at("/spec/externalTrafficPolicy"), "Cluster");
    assert!(balanced.bool_at("/spec/allocateLoadBalancerNodePorts"));
    assert_eq!(balanced.str_at("/spec/ports/0/targetPort"), "x");
    let headless = created(json!({"clusterIP": "None"}));
    assert_eq!(headless.str_at("/spec/ipFamilyPolicy"), "RequireDualStack");
    assert_eq!(headless.str_at("/spec/clusterIPs/0"), "None");
    let external = created(json!({"type": "ExternalName", "externalName": "example.com."}));
    assert_eq!(external.at("/spec/ipFamilies"), None);
    for fine in [plain, balanced, headless, external] {
        assert_eq!(causes(&fine, None), [""; 0], "{:?}", fine.as_value());
    }
}

#[test]
fn refusals() {
    for (spec, expected) in [
        (json!({}), &["spec.ports: Required value"][..]),
        (
            json!({"clusterIP": "None", "type": "NodePort"}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (json!({"type": "ExternalName"}), &["spec.externalName: Required value"]),
        (
            json!({"type": "Odd", "ports": [{"port": 1}]}),
            &[
                "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            json!({"ports": [{"port": 0, "name": "a", "targetPort": 1}, {"port": 2, "nodePort": 30000}]}),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[1].name: Required value",
                "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ],
        ),
        (
            json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "a"}]}),
            &[
                "spec.ports[1].name: Duplicate value: \"a\"",
                "spec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}",
            ],
        ),
        (
            json!({"ports": [{"port": 1}], "ipFamilyPolicy": "RequireDualStack"}),
            &[
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ],
        ),
        (
            json!({"ports": [{"port": 1}], "ipFamilies": ["IPv6"]}),
            &["spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"],
        ),
        (
            json!({"ports": [{"port": 1}], "clusterIP": "300.1.1.1"}),
            &[
                "spec.clusterIPs[0]: Invalid value: \"300.1.1.1\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"ports": [{"port": 1}], "externalTrafficPolicy": "Local"}),
            &[
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ],
        ),
        (
            json!({"ports": [{"port": 1}], "externalIPs": ["127.0.0.1"]}),
            &[
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (
            json!({"ports": [{"port": 1}], "loadBalancerSourceRanges": ["x"]}),
            &[
                "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ],
        ),
    ] {
        assert_eq!(causes(&created(spec.clone()), None), expected, "{spec}");
    }
}

#[test]
fn updates_keep_what_was_given_out() {
    let mut old = created(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    old.set("/spec/clusterIP", "10.43.0.9");
    old.set("/spec/clusterIPs", json!(["10.43.0.9"]));
    let update = |spec: Value| {
        let mut new = service(spec);
        ServiceStrategy.prepare_update(&mut new, &old);
        new
    };
    let same = update(json!({"type": "NodePort", "ports": [{"port": 80}]}));
    assert_eq!(same.at("/spec"), old.at("/spec"));
    let mut spec = old.at("/spec").unwrap().clone();
    spec["type"] = "ClusterIP".into();
    let plain = update(spec.clone());
    assert_eq!(plain.at("/spec/externalTrafficPolicy"), None);
    assert_eq!((plain.i64_at("/spec/ports/0/nodePort"), causes(&plain, Some(&old))), (None, vec![]));
    spec["type"] = "ExternalName".into();
    spec["externalName"] = "a.b".into();
    let external = update(spec);
    assert_eq!((external.at("/spec/clusterIPs"), causes(&external, Some(&old))), (None, vec![]));
    let moved = update(json!({"type": "NodePort", "ports": [{"port": 80}], "clusterIP": "10.43.0.8"}));
    let detail = "spec.clusterIPs[0]: Invalid value: [\"10.43.0.8\"]: may not change once set";
    assert_eq!(causes(&moved, Some(&old)), [detail]);
}
