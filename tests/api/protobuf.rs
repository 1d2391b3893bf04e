//! What typed clients send and what nobody's browser does: protobuf and YAML.

use crate::server::Server;

#[test]
fn typed_commands() {
    let server = Server::start();
    let run = |arguments: &str| server.kubectl(arguments).ok();
    run("create namespace other");
    run("create configmap settings --from-literal=a=1 --from-literal=b=");
    assert_eq!(run("get configmap settings -o jsonpath={.data}"), r#"{"a":"1","b":""}"#);
    run("create secret generic key --from-literal=password=hunter2");
    assert_eq!(run("get secret key -o jsonpath={.type}/{.data.password}"), "Opaque/aHVudGVyMg==");
    run("create serviceaccount robot");
    run("create deployment web --image=busybox --replicas=0 --port=80");
    let spec =
        run("get deployment web -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].ports}");
    assert!(spec.starts_with("0/") && spec.contains("80"), "{spec}");
    run("create job once --image=busybox -- echo hi");
    assert_eq!(
        run("get job once -o jsonpath={.spec.template.spec.containers[0].command}"),
        r#"["echo","hi"]"#
    );
    run("create cronjob often --image=busybox --schedule=@hourly -- true");
    run("create role reader --verb=get,list --resource=pods,deployments.apps");
    let rules = run("get role reader -o jsonpath={.rules[*].apiGroups[*]}/{.rules[0].verbs}");
    assert_eq!(rules.trim(), r#"apps/["get","list"]"#);
    run("create rolebinding reads --role=reader --serviceaccount=default:robot");
    run("create clusterrole all --verb=* --resource=*");
    run("create ingress web --rule=example.org/*=web:http,tls=secret");
    let path = run("get ingress web -o jsonpath={.spec.rules[0].http.paths[0].backend.service.port.name}");
    assert_eq!(path, "http");
    run("create quota limit --hard=pods=3,memory=2Gi");
    assert_eq!(run("get quota limit -o jsonpath={.spec.hard.memory}"), "2Gi");
    run("create priorityclass high --value=100");
    run("create poddisruptionbudget calm --selector=app=web --min-available=50%");
    assert_eq!(run("get pdb calm -o jsonpath={.spec.minAvailable}"), "50%");
    run("create service clusterip web --tcp=80:8080");
    assert_eq!(run("get service web -o jsonpath={.spec.ports[0].targetPort}"), "8080");
    run("autoscale deployment web --min=1 --max=3 --cpu=50%");
    assert_eq!(run("get hpa web -o jsonpath={.spec.minReplicas}/{.spec.maxReplicas}"), "1/3");
}
