use serde_json::{Value, json};

use super::*;

/// A field with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(number < 16 && bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let length = raw.len();
    let mut text = [PREFIX, &field(1, &meta), &[2 << 3 | 2]].concat();
    text.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    [text, raw.to_vec(), field(4, b"")].concat()
}

fn decoded(api_version: &str, kind: &str, raw: &[u8]) -> Value {
    decode(&body(api_version, kind, raw)).unwrap().as_value().clone()
}

#[test]
fn shapes() {
    let name = field(1, &[field(1, b"a"), field(2, b""), field(8, b"")].concat());
    let entry = |key: &[u8], value: &[u8]| [field(1, key), field(2, value)].concat();
    for (api_version, kind, raw, expected) in [
        // Empty texts and Go's zero time were left out.
        ("v1", "ConfigMap", name.clone(), json!({"metadata": {"name": "a"}})),
        (
            "v1",
            "ConfigMap",
            [field(2, &entry(b"k", b"v")), field(2, &field(1, b"e")), field(3, &entry(b"b", &[0, 255]))]
                .concat(),
            json!({"metadata": {}, "data": {"k": "v", "e": ""}, "binaryData": {"b": "AP8="}}),
        ),
        // A pointer to 0 says something; a plain 0 (minReadySeconds) does not. maxSurge is text.
        (
            "apps/v1",
            "Deployment",
            field(
                2,
                &[
                    number(1, 0),
                    number(5, 0),
                    field(4, &field(2, &field(2, &[number(1, 1), field(3, b"25%")].concat()))),
                ]
                .concat(),
            ),
            json!({"metadata": {}, "spec": {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}}}),
        ),
        // A volume's source and a probe's handler are messages that JSON does not have.
        (
            "v1",
            "Pod",
            field(
                2,
                &[
                    field(1, &[field(1, b"v"), field(2, &field(2, b""))].concat()),
                    field(
                        2,
                        &[
                            field(1, b"c"),
                            field(8, &field(1, &entry(b"cpu", &field(1, b"2")))),
                            field(10, &field(1, &field(2, &field(2, &number(2, 80))))),
                        ]
                        .concat(),
                    ),
                ]
                .concat(),
            ),
            json!({"metadata": {}, "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{
                    "name": "c",
                    "resources": {"limits": {"cpu": "2"}},
                    "livenessProbe": {"httpGet": {"port": 80}},
                }],
            }}),
        ),
        (
            "v1",
            "Event",
            [
                field(6, &[number(1, 100), number(2, 5)].concat()),
                field(10, &[number(1, 1), vec![2 << 3, 0xc0, 0x84, 0x3d]].concat()),
                number(8, 3),
            ]
            .concat(),
            json!({
                "metadata": {}, "count": 3,
                "firstTimestamp": "1970-01-01T00:01:40Z", "eventTime": "1970-01-01T00:00:01.001000Z",
            }),
        ),
        // Every group has DeleteOptions.
        (
            "policy/v1",
            "DeleteOptions",
            [number(1, 0), field(2, &field(1, b"u")), field(4, b"Orphan"), field(5, b"All")].concat(),
            json!({
                "metadata": {}, "gracePeriodSeconds": 0, "preconditions": {"uid": "u"},
                "propagationPolicy": "Orphan", "dryRun": ["All"],
            }),
        ),
        (
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            field(2, &field(5, &entry(b"scopes", &[field(1, b"a"), field(1, b"b")].concat()))),
            json!({"metadata": {}, "spec": {"extra": {"scopes": ["a", "b"]}}}),
        ),
        // Fields of another release, of every wire type, are skipped.
        (
            "v1",
            "Namespace",
            [
                vec![15 << 3, 200, 1],
                field(14, b"x"),
                vec![13 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8],
                vec![12 << 3 | 5, 0, 0, 0, 0],
            ]
            .concat(),
            json!({"metadata": {}}),
        ),
    ] {
        let mut expected = expected;
        expected["apiVersion"] = api_version.into();
        expected["kind"] = kind.into();
        assert_eq!(decoded(api_version, kind, &raw), expected, "{kind}");
    }
}

#[test]
fn embedded_json_and_numbers() {
    let managed = field(1, &field(7, &field(1, br#"{"f:a":{}}"#)));
    let raw = field(1, &[vec![0x8a, 0x01, managed.len() as u8 - 2], managed[2..].to_vec()].concat());
    let found = decoded("v1", "ConfigMap", &raw);
    assert_eq!(found.pointer("/metadata/managedFields/0/fieldsV1"), Some(&json!({"f:a": {}})));
    // Packed or one by one; -1 takes ten bytes.
    let minus = [&[5 << 3][..], &[255; 9], &[1]].concat();
    let context = [field(4, &[1, 2]), vec![4 << 3, 3], minus].concat();
    let spec = [vec![14 << 3 | 2, context.len() as u8], context].concat();
    let found = decoded("v1", "Pod", &field(2, &spec));
    let expected = json!({"supplementalGroups": [1, 2, 3], "fsGroup": -1});
    assert_eq!(found.pointer("/spec/securityContext"), Some(&expected));
}

#[test]
fn hostile() {
    for (bytes, expected) in [
        (vec![], "empty data"),
        (b"{}".to_vec(), "expected prefix [107, 56, 115, 0]"),
        (PREFIX.to_vec(), "Object 'Kind' is missing"),
        (body("v1", "Nothing", b""), "no kind \"Nothing\" is registered for version \"v1\""),
        (body("v1", "Container", b""), "no kind \"Container\""),
        (body("v1", "Pod", &[0]), "illegal tag 0 (wire type 0)"),
        (body("v1", "Pod", &[2 << 3 | 3]), "illegal tag 2 (wire type 3)"),
        (body("v1", "Pod", &[2 << 3 | 2, 9, 1]), "unexpected EOF"),
        (body("v1", "Pod", &[2 << 3 | 2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), "EOF"),
        (body("v1", "Pod", &[255; 12]), "integer overflow"),
        (body("v1", "Pod", &number(2, 1)), "wrong wireType for field spec"),
        (body("v1", "Pod", &field(1, &field(1, &[255]))), "field name contains invalid data"),
        (body("v1", "Event", &field(6, &[8, 255, 255, 255, 255, 255, 255, 255, 255, 127])), "firstTimestamp"),
    ] {
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} for {bytes:?}");
    }
    // Cut anywhere, it is an error or less, never a panic.
    let whole = body("v1", "ConfigMap", &field(2, &[field(1, b"k"), field(2, b"v")].concat()));
    for end in 0..whole.len() {
        let _ = decode(&whole[..end]);
    }
}
