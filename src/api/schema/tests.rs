use serde_json::{Value, json};

use super::table::{self, Form, Shape, Type};
use super::unsupported::security::{ENV_VAR_SOURCE, POD_SECURITY, SECURITY_CONTEXT, SYSCTL};
use super::unsupported::{
    CONTAINER, CONTAINER_PORT, ENV_VAR, GRPC, HOOK, HTTP_GET, LIFECYCLE, POD_SPEC, PROBE, RESOURCES,
    RESTART_RULE, Row,
};
use super::*;
use crate::api::kinds::{LEASE, POD, SECRET};

fn pod(spec: Value) -> Object {
    Object::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}))
        .unwrap()
}

fn whole(container: Value) -> Object {
    let mut pod = pod(json!({"containers": [container]}));
    default(POD, &mut pod);
    pod
}

/// Fields that hold any JSON.
const ANY: &[(&str, &str)] = &[
    ("ControllerRevision", "data"),
    ("CustomResourceValidation", "openAPIV3Schema"),
    ("JobSchedulingConfiguration", "disruptionMode"),
    ("JobSchedulingConfiguration", "resourceClaims"),
    ("JobSchedulingConfiguration", "schedulingConstraints"),
    ("JobSchedulingConfiguration", "schedulingPolicy"),
    ("ManagedFieldsEntry", "fieldsV1"),
];

#[test]
fn the_table_is_whole() {
    fn check(of: Type, field: &str, shape: Shape) {
        match shape.form() {
            Form::List(item) | Form::Map(item) => check(of, field, item),
            Form::Any => assert!(
                ANY.contains(&(of.name(), field)),
                "{}.{field} has a type that is not in the table",
                of.name()
            ),
            _ => {}
        }
    }
    let (mut types, mut fields, mut numbered) = (0, 0, 0);
    for of in table::packages().iter().flat_map(table::Package::types) {
        types += 1;
        assert_eq!(of.package.find(of.name()).map(|found| found.fields().count()), Some(of.fields().count()));
        let mut numbers: Vec<&str> = of.fields().filter_map(|field| field.number()).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{}: {numbers:?}", of.name());
        for field in of.fields() {
            check(of, field.name, field.shape);
            numbered += usize::from(field.number().is_some());
            fields += usize::from(!of.is_kind() || !matches!(field.name, "apiVersion" | "kind"));
            if let Some(default) = field.default() {
                assert!(serde_json::from_str::<Value>(default.json).is_ok(), "{}.{}", of.name(), field.name);
            }
            if let (Some(table::Merge::Key(key)), Some(Form::Struct(item))) = (
                field.merge(),
                match field.shape.form() {
                    Form::List(item) => Some(item.form()),
                    _ => None,
                },
            ) {
                assert!(item.field(key).is_some(), "{}.{} merges by {key}", of.name(), field.name);
            }
        }
    }
    assert!(types > 200, "{types}");
    // Fields that are newer than the source of the numbers have none.
    assert!(fields - numbered < fields / 20, "{numbered} of {fields} fields have a number");
    for kind in crate::api::KINDS {
        assert!(of(kind).is_some_and(|of| of.is_kind()), "{kind:?}");
    }
}

#[test]
fn a_pod_gets_upstreams_defaults() {
    let mut pod = pod(json!({
        "serviceAccount": "x", "nodeName": null,
        "containers": [
            {"name": "a", "image": "busybox", "ports": [{"containerPort": 80}],
             "resources": {"limits": {"cpu": 0.5, "memory": "1024Ki"}}},
            {"name": "b", "image": "registry:5000/b:1.2", "imagePullPolicy": "", "terminationMessagePath": "/x"},
        ],
    }));
    default(POD, &mut pod);
    let spec = pod.at("/spec").unwrap();
    let expected = json!({
        "serviceAccount": "x", "serviceAccountName": "x",
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
        "containers": [
            {"name": "a", "image": "busybox", "ports": [{"containerPort": 80, "protocol": "TCP"}],
             "resources": {"limits": {"cpu": "500m", "memory": "1Mi"}},
             "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"},
            {"name": "b", "image": "registry:5000/b:1.2", "imagePullPolicy": "", "resources": {},
             "terminationMessagePath": "/x", "terminationMessagePolicy": "File"},
        ],
    });
    assert_eq!(*spec, expected);
    let once = pod.clone();
    default(POD, &mut pod);
    assert!(once == pod, "defaults are set once");
}

#[test]
fn zero_is_kept_where_absent_means_something_else() {
    let mut pod =
        pod(json!({"terminationGracePeriodSeconds": 0, "enableServiceLinks": false, "dnsPolicy": ""}));
    default(POD, &mut pod);
    assert_eq!(pod.i64_at("/spec/terminationGracePeriodSeconds"), Some(0));
    assert_eq!(pod.at("/spec/enableServiceLinks"), Some(&json!(false)));
    assert_eq!(pod.str_at("/spec/dnsPolicy"), "ClusterFirst");
}

#[test]
fn unknown_fields_are_told_in_upstreams_words() {
    let mut pod = pod(json!({"foo": 1, "containers": [{"name": "a", "image": "b", "commands": []}]}));
    let mut problems = validate(POD, &pod);
    assert_eq!(problems.unknown, ["spec.containers[0].commands", "spec.foo"]);
    problems.duplicates.push("metadata.name".into());
    assert_eq!(
        problems.rejection(POD, "web", FieldValidation::Strict).unwrap().message,
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: \
         unknown field \"spec.containers[0].commands\", unknown field \"spec.foo\", \
         duplicate field \"metadata.name\""
    );
    assert_eq!(problems.rejection(POD, "web", FieldValidation::Warn), None);
    assert_eq!(problems.warnings(FieldValidation::Warn)[1], "unknown field \"spec.foo\"");
    assert!(problems.warnings(FieldValidation::Ignore).is_empty());
    prune(POD, &mut pod);
    assert_eq!(validate(POD, &pod), Problems::default());
}

#[test]
fn a_name_with_a_space_is_no_field() {
    let pod = pod(json!({"hostNetwork bool": 1, "containers": [{"name": "a", "image": "b"}]}));
    assert_eq!(validate(POD, &pod).unknown, ["spec.hostNetwork bool"]);
}

#[test]
fn mistyped_fields_are_told_in_upstreams_words() {
    let message = |spec: Value| {
        let status = validate(POD, &pod(spec)).rejection(POD, "web", FieldValidation::Ignore).unwrap();
        assert_eq!(status.code, 400);
        status.message.split_once("as a Pod: ").unwrap().1.to_owned()
    };
    let cases = [
        (json!("x"), "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        (
            json!({"terminationGracePeriodSeconds": "3"}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            json!({"containers": {}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            json!({"containers": [{"name": "a", "image": "b", "env": [{"name": "A", "value": 1}]}]}),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            json!({"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1.5}]}]}),
            "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            json!({"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "many"}}}]}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"restartPolicy": false}),
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(message(spec), expected);
    }
    let secret = Object::from_value(json!({"metadata": {"name": "s"}, "data": {"a": "a*=="}})).unwrap();
    assert_eq!(validate(SECRET, &secret).mistyped.unwrap(), "illegal base64 data at input byte 1");
    let lease = json!({"metadata": {"labels": {"a": 1}}, "spec": {"renewTime": "now"}});
    let lease = validate(LEASE, &Object::from_value(lease).unwrap()).mistyped.unwrap();
    assert!(lease.ends_with("Go struct field ObjectMeta.metadata.labels of type string"), "{lease}");
}

#[test]
fn missing_fields_and_values_outside_the_set() {
    let pod = pod(json!({"restartPolicy": "Sometimes", "containers": [{"ports": [{}]}]}));
    let status = validate(POD, &pod).rejection(POD, "web", FieldValidation::Strict).unwrap();
    assert_eq!(
        status.message,
        "Pod \"web\" is invalid: [spec.containers[0].name: Required value, \
         spec.containers[0].image: Required value, \
         spec.containers[0].ports[0].containerPort: Required value, \
         spec.restartPolicy: Unsupported value: \"Sometimes\": \
         supported values: \"Always\", \"Never\", \"OnFailure\"]"
    );
}

#[test]
fn a_flood_is_answered_with_a_little() {
    let containers = vec![json!({"foo": 1, "volumeDevices": [{}]}); 50_000];
    let pod = pod(json!({"containers": containers}));
    let problems = validate(POD, &pod);
    assert_eq!((problems.causes.len(), problems.unknown.len()), (MAX_PROBLEMS, MAX_PROBLEMS));
    assert_eq!(unsupported(POD, &pod).len(), MAX_PROBLEMS);
}

#[test]
fn duplicate_keys_are_found_in_the_text() {
    let text = br#"{"a":1,"b":[{"c":1},{"d":1,"d":{"e":2}}],"a":{"x":1,"x":2},"a":null}"#;
    assert_eq!(duplicates(text), ["b[1].d", "a", "a.x"]);
    assert!(duplicates(b"{\"a\":1,\"a\":").is_empty());
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(duplicates(&deep).is_empty());
}

#[test]
fn what_midge_does_not_do_yet_is_refused_by_name() {
    let refused =
        |pod: &Object| -> Vec<String> { unsupported(POD, pod).iter().map(ToString::to_string).collect() };
    let mut pod = whole(json!({
        "name": "a", "image": "b", "volumeDevices": [{}], "stdin": false,
        "ports": [{"containerPort": 80, "hostPort": 80}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fileKeyRef": {"key": "x"}}}],
        "resources": {"limits": {"memory": "1Mi", "nvidia.com/gpu": 1}},
        "securityContext": {"seLinuxOptions": {"level": "s0"}, "privileged": true},
    }));
    pod.set(
        "/spec/securityContext",
        json!({"sysctls": [
            {"name": "net.ipv4.tcp_rmem", "value": "1"}, {"name": "kernel.msgmax", "value": "1"},
        ]}),
    );
    pod.set("/spec/runtimeClassName", "kata");
    pod.set("/spec/initContainers", json!([{"name": "i", "image": "i", "resizePolicy": [{}]}]));
    let fields: Vec<String> =
        refused(&pod).iter().map(|text| text.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(refused(&pod)[6], "spec.runtimeClassName: Forbidden: not supported by midge 0.1 yet");
    assert_eq!(
        fields,
        [
            "spec.initContainers[0].resizePolicy",
            "spec.containers[0].env[1].valueFrom.fileKeyRef",
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
            "spec.containers[0].volumeDevices",
            "spec.containers[0].securityContext.seLinuxOptions",
            "spec.securityContext.sysctls[1].name",
            "spec.runtimeClassName",
        ]
    );

    let mut plain = whole(json!({"name": "a", "image": "b", "ports": [{"containerPort": 80}]}));
    plain.set("/spec/serviceAccountName", "robot");
    plain.set("/spec/automountServiceAccountToken", false);
    plain.set("/spec/hostNetwork", true);
    plain.set("/spec/priority", 0);
    default(POD, &mut plain);
    assert_eq!(refused(&plain), [""; 0]);
    assert!(validate(POD, &plain).causes.is_empty());
}

/// A field that Kubernetes gains must be looked at before pods may use it.
#[test]
fn every_field_has_a_verdict() {
    for (of, rows) in [
        ("PodSpec", POD_SPEC),
        ("Container", CONTAINER),
        ("ContainerRestartRule", RESTART_RULE),
        ("ContainerPort", CONTAINER_PORT),
        ("Probe", PROBE),
        ("HTTPGetAction", HTTP_GET),
        ("GRPCAction", GRPC),
        ("Lifecycle", LIFECYCLE),
        ("LifecycleHandler", HOOK),
        ("EnvVar", ENV_VAR),
        ("ResourceRequirements", RESOURCES),
        ("PodSecurityContext", POD_SECURITY),
        ("SecurityContext", SECURITY_CONTEXT),
        ("Sysctl", SYSCTL),
        ("EnvVarSource", ENV_VAR_SOURCE),
        ("Volume", unsupported::volume::VOLUME),
        ("EmptyDirVolumeSource", unsupported::volume::EMPTY_DIR),
        ("SecretVolumeSource", unsupported::volume::SECRET_VOLUME),
        ("ConfigMapVolumeSource", unsupported::volume::CONFIG_MAP_VOLUME),
        ("KeyToPath", unsupported::volume::KEY_TO_PATH),
        ("DownwardAPIVolumeSource", unsupported::volume::DOWNWARD_API),
        ("DownwardAPIVolumeFile", unsupported::volume::DOWNWARD_API_FILE),
        ("ProjectedVolumeSource", unsupported::volume::PROJECTED),
        ("VolumeProjection", unsupported::volume::VOLUME_PROJECTION),
        ("SecretProjection", unsupported::volume::SECRET_PROJECTION),
        ("ConfigMapProjection", unsupported::volume::CONFIG_MAP_PROJECTION),
        ("DownwardAPIProjection", unsupported::volume::DOWNWARD_API_PROJECTION),
        ("VolumeMount", unsupported::volume::VOLUME_MOUNT),
    ] as [(&str, &[Row]); 28]
    {
        let fields: Vec<&str> =
            table::find("core.v1", of).unwrap().fields().map(|field| field.name).collect();
        let rows: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        assert_eq!(rows, fields, "{of}");
    }
}
