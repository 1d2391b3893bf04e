use serde_json::{Value, json};

use super::*;

fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let object = json!({"spec": value});
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    Node::compile(&schema).validate(&object).iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_held_against_their_schema_in_upstreams_words() {
    let string = |more: Value| {
        let mut schema = json!({"type": "string"});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    for (schema, value, expected) in [
        (json!({"type": "string"}), json!("a"), None),
        (
            json!({"type": "integer"}),
            json!("a"),
            Some(r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#),
        ),
        (json!({"type": "integer"}), json!(2.0), None),
        (
            json!({"type": "string"}),
            json!(null),
            Some(r#"spec: Invalid value: "null": spec in body must be of type string: "null""#),
        ),
        (json!({"type": "string", "nullable": true}), json!(null), None),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            Some("spec: Invalid value: 0: spec in body should be greater than or equal to 1"),
        ),
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            Some("spec: Invalid value: 11: spec in body should be less than or equal to 10"),
        ),
        (
            json!({"type": "number", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            Some("spec: Invalid value: 10: spec in body should be less than 10"),
        ),
        (
            json!({"type": "number", "multipleOf": 2}),
            json!(3),
            Some("spec: Invalid value: 3: spec in body should be a multiple of 2"),
        ),
        (
            string(json!({"pattern": "^[a-z]+$"})),
            json!("A1"),
            Some(r#"spec: Invalid value: "A1": spec in body should match '^[a-z]+$'"#),
        ),
        (
            string(json!({"minLength": 2})),
            json!("a"),
            Some(r#"spec: Invalid value: "a": spec in body should be at least 2 chars long"#),
        ),
        (string(json!({"maxLength": 2})), json!("abc"), Some("spec: Too long: may not be more than 2 bytes")),
        (
            string(json!({"enum": ["a", "b"]})),
            json!("c"),
            Some(r#"spec: Unsupported value: "c": supported values: "a", "b""#),
        ),
        (
            string(json!({"format": "date-time"})),
            json!("noon"),
            Some(r#"spec: Invalid value: "noon": spec in body must be of type date-time: "noon""#),
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", "b"]),
            Some("spec: Too many: 2: must have at most 1 items"),
        ),
        (
            json!({"type": "array", "minItems": 1, "items": {"type": "string"}}),
            json!([]),
            Some("spec: Invalid value: []: spec in body should have at least 1 items"),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "a"]),
            Some(r#"spec[1]: Duplicate value: "a""#),
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
            json!([{"name": "a", "x": 1}, {"name": "a", "x": 2}]),
            Some(r#"spec[1]: Duplicate value: {"name":"a"}"#),
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), Some("spec.a: Required value")),
        (json!({"x-kubernetes-int-or-string": true}), json!("80%"), None),
        (json!({"x-kubernetes-int-or-string": true}), json!(80), None),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            Some(r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#),
        ),
        (
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            Some(
                r#"spec: Invalid value: {}: "spec" must validate one and only one schema (oneOf). Found none valid"#,
            ),
        ),
        (
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": 1, "b": 2}),
            Some(
                r#"spec: Invalid value: {"a":1,"b":2}: "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ),
        ),
        (
            json!({"type": "object", "anyOf": [{"required": ["a"]}]}),
            json!({}),
            Some(r#"spec: Invalid value: {}: "spec" must validate at least one schema (anyOf)"#),
        ),
        (
            json!({"type": "object", "not": {"required": ["a"]}}),
            json!({"a": 1}),
            Some(r#"spec: Invalid value: {"a":1}: "spec" must not validate the schema (not)"#),
        ),
        (
            json!({"type": "object", "allOf": [{"required": ["a"]}]}),
            json!({}),
            Some("spec.a: Required value"),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"a": 1}),
            Some(r#"spec.a: Invalid value: "integer": spec.a in body must be of type string: "integer""#),
        ),
    ] {
        let found = problems(&schema, &value);
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{schema} {value}");
    }
}

#[test]
fn formats() {
    for (name, good, bad) in [
        ("date", "2024-02-29", "2023-02-29"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("uuid", "0b6e1bd6-6b2c-4a3c-9d65-4a4f0f2f3d55", "0b6e1bd6"),
        ("byte", "aGFsbG8=", "a*"),
        ("uri", "https://example.com/a", "not a uri"),
        ("email", "a@example.com", "example.com"),
        ("hostname", "example.com", "-example"),
        ("mac", "00:11:22:33:44:55", "00:11:22:33:44"),
        ("duration", "1h30m", "1 day"),
    ] {
        assert!(format::matches(name, good), "{name} {good}");
        assert!(!format::matches(name, bad), "{name} {bad}");
    }
    assert!(format::matches("snowflake", "anything"));
}

#[test]
fn what_is_not_in_the_schema_is_dropped_and_what_is_missing_set() {
    let schema = Node::compile(&json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 1},
                    "note": {"type": "string", "nullable": true, "default": "x"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string", "default": "b"}}}},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
                    "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}}
                }
            }
        }
    }));
    let mut object = json!({
        "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "extra": 1,
        "spec": {
            "size": null, "note": null, "typo": 1, "free": {"any": {"thing": true}}, "map": {"k": {"z": 1}},
            "pod": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
            "list": [{"m": 1}]
        }
    });
    let unknown = schema.prune(&mut object);
    schema.fill(&mut object);
    assert_eq!(unknown, ["extra", "spec.list[0].m", "spec.map.k.z", "spec.typo"]);
    assert_eq!(
        object["spec"],
        json!({
            "size": 1, "note": null, "free": {"any": {"thing": true}}, "map": {"k": {"a": "b"}},
            "pod": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
            "list": [{"n": 7}]
        })
    );
    assert_eq!(object["metadata"], json!({"name": "a"}));
    assert!(schema.has_defaults());
}

#[test]
fn what_makes_a_schema_structural() {
    let root = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    for (schema, expected) in [
        (root(json!({"type": "object"})), vec![]),
        (
            root(
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            vec![],
        ),
        (
            root(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}]}),
            ),
            vec![],
        ),
        (json!({}), vec!["s.type: Required value: must not be empty at the root"]),
        (json!({"type": "string"}), vec![r#"s.type: Invalid value: "string": must be object at the root"#]),
        (
            root(json!({})),
            vec!["s.properties[spec].type: Required value: must not be empty for specified object fields"],
        ),
        (root(json!({"type": "array"})), vec!["s.properties[spec].items: Required value: must be specified"]),
        (
            root(json!({"type": "array", "items": {}})),
            vec![
                "s.properties[spec].items.type: Required value: must not be empty for specified array items",
            ],
        ),
        (
            root(json!({"type": "odd"})),
            vec![
                r#"s.properties[spec].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string""#,
            ],
        ),
        (
            root(json!({"$ref": "#/x", "type": "string"})),
            vec!["s.properties[spec].$ref: Forbidden: $ref is not supported"],
        ),
        (
            root(json!({"type": "string", "uniqueItems": true})),
            vec![
                "s.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ],
        ),
        (
            root(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ),
            vec![
                "s.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
        (
            root(json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]})),
            vec![
                "s.properties[spec].anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "s.properties[spec].properties[a]: Required value: because it is defined in s.properties[spec].anyOf[0].properties[a]",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            vec![
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            root(json!({"type": "string", "default": 1})),
            vec![
                r#"s.properties[spec].default: Invalid value: "integer":  in body must be of type string: "integer""#,
            ],
        ),
        (
            root(
                json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            ),
            vec![
                "s.properties[spec].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ],
        ),
    ] {
        let found: Vec<String> = check(&schema, "s").iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{schema}");
    }
    let bad = check(&root(json!({"type": "string", "pattern": "["})), "s");
    assert!(bad[0].to_string().contains("must be a valid regular expression"), "{bad:?}");
}

#[test]
fn embedded_objects_say_what_they_are() {
    let schema = json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true});
    for (value, expected) in [
        (json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "any": 1}), vec![]),
        (
            json!({"kind": ""}),
            vec![
                "spec.apiVersion: Required value: must not be empty",
                "spec.kind: Invalid value: \"\": must not be empty",
            ],
        ),
        (
            json!({"apiVersion": "a/b/c", "kind": "Pod", "metadata": {"name": "P", "finalizers": ["x"]}}),
            vec![
                "spec.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.metadata.name: Invalid value: \"P\": ",
                "spec.metadata.finalizers[0]: Invalid value: \"x\": name is neither",
            ],
        ),
        (json!({"apiVersion": "v1", "kind": "Pod", "metadata": 1}), vec!["spec.metadata: Invalid value: 1"]),
    ] {
        let found = problems(&schema, &value);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}

#[test]
fn paths_lead_to_values() {
    let object = json!({
        "spec": {"replicas": 3, "names": ["a", "b", "c"]},
        "metadata": {"annotations": {"a.b/c": "x"}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Old", "status": "False", "n": 2}]}
    });
    for (path, expected) in [
        (".spec.replicas", json!([3])),
        (".spec.missing", json!([])),
        (".spec.names[0]", json!(["a"])),
        (".spec.names[-1]", json!(["c"])),
        (".spec.names[*]", json!(["a", "b", "c"])),
        (".spec.names[1:]", json!(["b", "c"])),
        (".spec.names[5:9]", json!([])),
        (".spec.names[2:1]", json!([])),
        (r".metadata.annotations.a\.b/c", json!(["x"])),
        (".metadata.annotations['a.b/c']", json!(["x"])),
        (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
        (r#".status.conditions[?(@.type == 'Ready')].status"#, json!(["True"])),
        (".status.conditions[?(@.n>1)].type", json!(["Old"])),
        (".status.conditions[?(@.n<=1)].type", json!(["Ready"])),
        (".status.conditions[?(@.status)].n", json!([1, 2])),
        (".status.conditions[?(@.type!=\"Ready\")].n", json!([2])),
    ] {
        let found: Value = Path::parse(path).unwrap().find(&object).into_iter().cloned().collect();
        assert_eq!(found, expected, "{path}");
    }
    for path in ["spec", "..spec", ".a[", ".a[?(b)]", ".a..b", ".a[x]", ".a[?(@.a==b)]", ".{a}"] {
        assert!(Path::parse(path).is_err(), "{path}");
    }
}
