//! Services, policies and what bounds a namespace, as kubectl shows them.

use crate::server::Server;

/// Asks until the answer holds `text`.
fn until(server: &Server, line: &str, text: &str) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    loop {
        let answer = server.kubectl(line).ok();
        if answer.contains(text) {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "no {text:?} in:\n{answer}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn apply(server: &Server, manifest: &str) -> String {
    server.write("manifest.yaml", manifest);
    server.kubectl("apply -f manifest.yaml").ok()
}

fn refused(server: &Server, manifest: &str) -> String {
    server.write("manifest.yaml", manifest);
    server.kubectl("create -f manifest.yaml").fails()
}

/// The words of a line, that of a table's only row.
fn row(table: &str) -> Vec<&str> {
    table.lines().nth(1).unwrap_or_default().split_whitespace().collect()
}

#[test]
fn services() {
    let server = Server::start();
    let kubernetes = until(&server, "get service kubernetes --ignore-not-found", "kubernetes");
    assert_eq!(row(&kubernetes)[..5], ["kubernetes", "ClusterIP", "10.43.0.1", "<none>", "443/TCP"]);
    assert!(server.kubectl("cluster-info").ok().contains("control plane"));

    let web = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
";
    assert!(apply(&server, web).contains("service/web created"));
    assert!(apply(&server, web).contains("service/web unchanged"));
    let before = server.kubectl("get service web -o wide").ok();
    let columns = "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR";
    assert_eq!(before.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "), columns);
    assert!(before.contains("80:3") && before.contains("app=web"), "{before}");
    let address = row(&before)[2].to_owned();
    let described = server.kubectl("describe service web").ok();
    for line in ["NodePort:", "IP Families:              IPv4", "TargetPort:               80/TCP"] {
        assert!(described.contains(line), "{described}");
    }

    let server = server.restart();
    // The range's rest is given out as before.
    assert_eq!(row(&server.kubectl("get service web").ok())[2], address);
    let taken = refused(
        &server,
        &web.replace("name: web", "name: two").replace("type: NodePort", &format!("clusterIP: {address}")),
    );
    let expected = format!(
        "The Service \"two\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: \
         provided IP is already allocated"
    );
    assert!(taken.contains(&expected), "{taken}");
    server.kubectl("patch service web -p {\"spec\":{\"type\":\"ClusterIP\"}}").ok();
    assert_eq!(row(&server.kubectl("get service web").ok())[4], "80/TCP");
    assert!(server.kubectl("get services --field-selector spec.type=ClusterIP -A").ok().contains("web"));
    server.kubectl("delete service kubernetes").ok();
    let again = until(&server, "get service kubernetes --ignore-not-found", "kubernetes");
    assert_eq!(row(&again)[2], "10.43.0.1");

    let bad = "
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 0}]}
";
    let bad = refused(&server, bad);
    assert!(
        bad.contains("spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        "{bad}"
    );
    assert!(bad.contains("this cluster is not configured for dual-stack services"), "{bad}");
}

#[test]
fn tables() {
    let server = Server::start();
    let manifest = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}
spec: {controller: example.com/nginx}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: \"a:b\"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: jane}]
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: kata}
handler: kata
---
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], ports: [{port: 5432}]}]
";
    apply(&server, manifest);
    let ingress = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: a.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";
    apply(&server, ingress);
    for (line, expected) in [
        ("get ingress web", "NAME CLASS HOSTS ADDRESS PORTS AGE / web nginx a.example.com 80"),
        ("get ingressclass nginx", "NAME CONTROLLER PARAMETERS AGE / nginx example.com/nginx <none>"),
        ("get netpol deny", "NAME POD-SELECTOR AGE / deny app=web"),
        ("get rolebinding a:b -o wide", "NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS / a:b ClusterRole/view"),
        ("get runtimeclass kata", "NAME HANDLER AGE / kata kata"),
        ("get endpoints db", "NAME ENDPOINTS AGE / db 10.0.0.1:5432,10.0.0.2:5432"),
        (
            "get pc system-node-critical",
            "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY / system-node-critical 2000001000 false",
        ),
    ] {
        let table = server.kubectl(line).ok();
        let table: Vec<&str> = table.lines().filter(|line| !line.starts_with("Warning")).collect();
        let found = table.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let found = found.collect::<Vec<_>>().join(" / ");
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    server.write("ref.yaml", &manifest.replace("name: view", "name: edit"));
    let immutable = server.kubectl("replace -f ref.yaml").fails();
    assert!(immutable.contains("cannot change roleRef"), "{immutable}");
}

#[test]
fn quotas_and_limits() {
    let server = Server::start();
    let manifest = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: \"1\", limits.memory: 1Gi}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: defaults}
spec: {limits: [{type: Container, default: {memory: 64Mi}}]}
";
    apply(&server, manifest);
    server.kubectl("run web --image=busybox").ok();
    let memory =
        server.kubectl("get pod web -o jsonpath={.spec.containers[0].resources.requests.memory}").ok();
    assert_eq!(memory, "64Mi");
    let refused = server.kubectl("run two --image=busybox").fails();
    let expected =
        "pods \"two\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1";
    assert!(refused.contains(expected), "{refused}");
    let table = until(&server, "get quota small", "pods: 1/1");
    assert!(table.contains("limits.memory: 64Mi/1Gi"), "{table}");
    assert!(server.kubectl("describe quota small").ok().contains("limits.memory  64Mi  1Gi"));
    assert!(server.kubectl("describe limits defaults").ok().contains("64Mi"));
    server.kubectl("delete pod web --now").ok();
    until(&server, "get quota small", "pods: 0/1");
    server.kubectl("run two --image=busybox").ok();
}
