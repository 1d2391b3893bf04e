use super::*;
use serde_json::json;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:101:102::/srv:/bin/false\n:::\nnum:x:9:x::\n";
const GROUP: &str = "root:x:0:root\nwheel:x:10:root,web\nweb:x:102:\nshop:x:500:web\nbad:x:-1:web\n";

fn pod(context: Value) -> Object {
    let metadata = json!({"name": "p", "namespace": "n", "uid": "u"});
    Object::from_value(json!({"metadata": metadata, "spec": {"securityContext": context}})).unwrap()
}

fn found(context: Value, own: Value, image: &str) -> Result<User, String> {
    let pod = pod(context);
    let container = json!({"name": "c", "securityContext": own});
    let entry = wanted(&pod, &container, image).and_then(|wanted| look_up(&wanted, PASSWD, GROUP));
    let is_strict = pod.str_at("/spec/securityContext/supplementalGroupsPolicy") == "Strict";
    entry.map(|entry| user(&pod, entry, is_strict)).map_err(|error| error.to_string())
}

#[test]
fn names_and_numbers() {
    let none = || json!({});
    let of = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
    for (context, own, image, expected) in [
        (none(), none(), "", of(0, 0, &[0, 10])),
        (none(), none(), "web", of(101, 102, &[102, 10, 500])),
        (none(), none(), "101", of(101, 102, &[102, 10, 500])),
        (none(), none(), "web:wheel", of(101, 10, &[10, 500])),
        (none(), none(), "65532:70", of(65532, 70, &[70])),
        (none(), none(), "65532", of(65532, 0, &[0])),
        (none(), json!({"runAsUser": 7}), "web:wheel", of(7, 0, &[0])),
        (json!({"runAsUser": 7}), json!({"runAsUser": 101, "runAsGroup": 5}), "", of(101, 5, &[5, 10, 500])),
        (json!({"runAsGroup": 5}), none(), "web:wheel", of(101, 5, &[5, 10, 500])),
        (
            json!({"supplementalGroups": [10, 3], "fsGroup": 4}),
            none(),
            "web",
            of(101, 102, &[102, 10, 500, 3, 4]),
        ),
        (
            json!({"supplementalGroups": [3], "supplementalGroupsPolicy": "Strict"}),
            none(),
            "web",
            of(101, 102, &[102, 3]),
        ),
    ] {
        assert_eq!(found(context.clone(), own.clone(), image), Ok(expected), "{context} {own} {image}");
    }
    for (image, expected) in [
        ("nobody", "the image's /etc/passwd has no user `nobody`"),
        ("num", "the image's /etc/passwd has no user `num`"),
        ("web:none", "the image's /etc/group has no group `none`"),
        ("4294967296", "the image's /etc/passwd has no user `4294967296`"),
    ] {
        let error = found(none(), none(), image).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn who_is_not_root() {
    let non_root = || json!({"runAsNonRoot": true});
    let of = "(pod: \"p_n(u)\", container: c)";
    for (own, image, expected) in [
        (json!({"runAsUser": 0}), "", format!("container's runAsUser breaks non-root policy {of}")),
        (json!({}), "", format!("container has runAsNonRoot and image will run as root {of}")),
        (json!({}), "0:70", format!("container has runAsNonRoot and image will run as root {of}")),
        (
            json!({}),
            "web",
            format!(
                "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {of}"
            ),
        ),
    ] {
        assert_eq!(found(non_root(), own, image).unwrap_err(), expected);
    }
    for (own, image) in
        [(json!({"runAsUser": 1}), "web"), (json!({}), "5"), (json!({"runAsNonRoot": false}), "root")]
    {
        found(non_root(), own, image).unwrap();
    }
}
