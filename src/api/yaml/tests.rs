use super::*;

fn json(text: &str) -> String {
    String::from_utf8(to_json(text, 10_000).unwrap()).unwrap()
}

#[test]
fn structure() {
    for (yaml, expected) in [
        ("", "null"),
        ("# nothing\n", "null"),
        ("a: 1\nb:\n- x\n- {c: d, e: []}\n", r#"{"a":1,"b":["x",{"c":"d","e":[]}]}"#),
        (r#"{"a": [1, 2.5, null, "\u00e9"], "b": {}}"#, r#"{"a":[1,2.5,null,"é"],"b":{}}"#),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#),
        ("a: &x [1, {b: 2}]\nc: *x\n", r#"{"a":[1,{"b":2}],"c":[1,{"b":2}]}"#),
        ("&k a: 1\nb: *k\n", r#"{"a":1,"b":"a"}"#),
        ("---\na: 1\n...\n", r#"{"a":1}"#),
        ("---\n---\na: 1\n---\n", r#"{"a":1}"#),
        ("1: a\ntrue: b\n", r#"{"1":"a","true":"b"}"#),
        // Both are kept: whoever looks for duplicates finds them.
        ("a: 1\na: 2\n", r#"{"a":1,"a":2}"#),
    ] {
        assert_eq!(json(yaml), expected, "{yaml}");
    }
    assert_eq!(documents("a\n---\n~\n---\n[b]\n", 99).unwrap(), [&b"\"a\""[..], b"[\"b\"]"]);
}

#[test]
fn scalars() {
    for (yaml, expected) in [
        ("x", "\"x\""),
        ("~", "null"),
        ("yes", "true"),
        ("Off", "false"),
        ("\"yes\"", "\"yes\""),
        ("'1'", "\"1\""),
        ("!!str 1", "\"1\""),
        ("! 1", "\"1\""),
        ("1", "1"),
        ("-7", "-7"),
        ("0644", "420"),
        ("0o644", "420"),
        ("0x1F", "31"),
        ("-0b11", "-3"),
        ("1_000", "1000"),
        ("089", "89"),
        ("18446744073709551615", "18446744073709551615"),
        ("1e3", "1000"),
        ("1.5e3", "1500"),
        (".5", "0.5"),
        ("1.", "1"),
        ("1.25", "1.25"),
        ("500m", "\"500m\""),
        ("1.2.3", "\"1.2.3\""),
        ("2026-01-02", "\"2026-01-02\""),
        ("2026-01-02T03:04:05Z", "\"2026-01-02T03:04:05Z\""),
        (".inf", "\".inf\""),
        ("0x", "\"0x\""),
        ("-", "\"-\""),
        ("1e", "\"1e\""),
    ] {
        // A lone dash is a list to YAML.
        let yaml = if yaml == "-" { "'-'" } else { yaml };
        assert_eq!(json(yaml), expected, "{yaml}");
    }
}

#[test]
fn what_is_refused() {
    for (yaml, line, expected) in [
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: 1\nb: [1\n", 3, ""),
        ("a: *x\n", 1, "unknown anchor"),
        ("a: &x [*x]\n", 1, "contains itself"),
        ("? [a]\n: b\n", 1, "invalid map key"),
        ("~: b\n", 1, "nil"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("a: 1\n---\nb: 2\n", 1, "more than one document"),
        (&"[".repeat(200), 1, "depth"),
        (&"- ".repeat(200), 1, "depth"),
    ] {
        let error = to_json(yaml, 10_000).unwrap_err();
        assert!(error.what.contains(expected), "{yaml}: {error}");
        assert_eq!(error.line, line, "{yaml}: {error}");
    }
}

#[test]
fn aliases_do_not_explode() {
    let mut bomb = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(",")));
    }
    assert!(to_json(&bomb, 1 << 20).unwrap_err().what.contains("excessive aliasing"));
}
