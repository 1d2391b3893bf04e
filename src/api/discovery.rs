//! The discovery documents, made from the kinds table.

use serde_json::{Map, Value, json};

use super::Kind;
use super::kinds::Catalogue;

/// The Kubernetes version that the schema comes from.
pub const KUBERNETES: (&str, &str, &str) = ("1", "37", "0");

/// The content type that goes with [`aggregated`].
pub const AGGREGATED_CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `GET /api` (legacy). `address` is `host:port` as the client reaches it.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `GET /apis` (legacy): an APIGroupList.
pub fn api_groups(kinds: &Catalogue) -> Value {
    let served = kinds.served();
    let named = groups(&served).into_iter().filter(|group| !group.is_empty());
    let groups: Vec<Value> = named.map(|group| group_body(&served, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/G`: an APIGroup; None for a group that is not there.
pub fn api_group(kinds: &Catalogue, group: &str) -> Option<Value> {
    let served = kinds.served();
    if group.is_empty() || !groups(&served).contains(&group) {
        return None;
    }
    let mut body = group_body(&served, group);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `GET /api/v1` and `GET /apis/G/V`: an APIResourceList; None for a version that is not there.
pub fn api_resources(kinds: &Catalogue, group: &str, version: &str) -> Option<Value> {
    let served = kinds.served();
    let mut resources = Vec::new();
    for kind in of(&served, group, version) {
        let mut resource = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs,
        });
        add_names(&mut resource, kind);
        resources.push(resource);
        for subresource in kind.subresources {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, subresource.name),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": subresource.kind,
                "verbs": subresource.verbs,
            });
            if let Some((group, version)) = subresource.body {
                resource["group"] = group.into();
                resource["version"] = version.into();
            }
            resources.push(resource);
        }
    }
    if resources.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    }))
}

/// `GET /api` (`core`) or `/apis` with `Accept: …;as=APIGroupDiscoveryList;v=v2`.
pub fn aggregated(kinds: &Catalogue, core: bool) -> Value {
    let served = kinds.served();
    let mut items = Vec::new();
    for group in groups(&served).into_iter().filter(|group| group.is_empty() == core) {
        let versions: Vec<Value> = versions(&served, group)
            .into_iter()
            .map(|version| {
                let resources: Vec<Value> = of(&served, group, version).map(aggregated_resource).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if core { json!({}) } else { json!({"name": group}) };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// `GET /version`.
pub fn version() -> Value {
    json!({
        "major": KUBERNETES.0,
        "minor": KUBERNETES.1,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// `v1.37.0+midge<version>`, as nodes and `/version` say it.
pub fn git_version() -> String {
    let (major, minor, patch) = KUBERNETES;
    format!("v{major}.{minor}.{patch}+midge{}", crate::VERSION)
}

/// Go's names, which Kubernetes uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn aggregated_resource(kind: &Kind) -> Value {
    let own = (kind.group, kind.version);
    let response = |name: &str, (group, version): (&str, &str)| json!({"group": group, "version": version, "kind": name});
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": response(kind.kind, own),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    add_names(&mut resource, kind);
    if !kind.subresources.is_empty() {
        resource["subresources"] = kind
            .subresources
            .iter()
            .map(|sub| {
                let kind = response(sub.kind, sub.body.unwrap_or(own));
                json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs})
            })
            .collect();
    }
    resource
}

fn add_names(resource: &mut Value, kind: &Kind) {
    for (key, names) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !names.is_empty() {
            resource[key] = names.into();
        }
    }
}

fn group_body(served: &[&'static Kind], group: &str) -> Value {
    let versions: Vec<Value> = versions(served, group)
        .into_iter()
        .map(|version| json!({"groupVersion": group_version(group, version), "version": version}))
        .collect();
    let mut body = Map::new();
    body.insert("name".to_owned(), group.into());
    if let Some(preferred) = versions.first() {
        body.insert("preferredVersion".to_owned(), preferred.clone());
    }
    body.insert("versions".to_owned(), versions.into());
    Value::Object(body)
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn of(served: &[&'static Kind], group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    served.iter().copied().filter(move |kind| kind.group == group && kind.version == version)
}

/// Groups in the order of their first kind.
fn groups(served: &[&'static Kind]) -> Vec<&'static str> {
    let mut groups = Vec::new();
    for kind in served {
        if !groups.contains(&kind.group) {
            groups.push(kind.group);
        }
    }
    groups
}

/// A group's versions, the preferred one first.
fn versions(served: &[&'static Kind], group: &str) -> Vec<&'static str> {
    let mut versions = Vec::new();
    for kind in served.iter().filter(|kind| kind.group == group) {
        if !versions.contains(&kind.version) {
            versions.push(kind.version);
        }
    }
    versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    versions
}

/// How versions are preferred: `v2`, `v1`, `v2beta1`, `v1alpha2`, and last what is none of these.
fn priority(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let (stage, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        _ if rest.is_empty() => (3, "0"),
        (Some(minor), _) => (2, minor),
        (_, Some(minor)) => (1, minor),
        _ => return None,
    };
    Some((stage, major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_of_the_same_resources() {
        let legacy = api_resources(&Catalogue::default(), "", "v1").unwrap();
        let names: Vec<&str> =
            legacy["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"pods") && names.contains(&"pods/log") && names.contains(&"nodes/status"));
        let resources = legacy["resources"].as_array().unwrap();
        let eviction = resources.iter().find(|r| r["name"] == "pods/eviction").unwrap();
        assert_eq!((&eviction["group"], &eviction["version"]), (&json!("policy"), &json!("v1")));
        let core = aggregated(&Catalogue::default(), true);
        let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
        assert_eq!(resources.len(), names.iter().filter(|name| !name.contains('/')).count());
        assert_eq!(core["items"][0]["metadata"], json!({}));
        let others = aggregated(&Catalogue::default(), false);
        assert_eq!(others["items"][0]["metadata"]["name"], "apiextensions.k8s.io");
        assert_eq!(others["items"][0]["versions"][0]["resources"][0]["scope"], "Cluster");
    }

    #[test]
    fn preferred_versions() {
        let mut versions = ["foo", "v1alpha1", "v10beta3", "v1", "v11alpha2", "v3beta1", "v2", "v10"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v10beta3", "v3beta1", "v11alpha2", "v1alpha1", "foo"]);
    }

    #[test]
    fn groups_and_what_is_not_there() {
        assert_eq!(api_groups(&Catalogue::default())["groups"].as_array().unwrap().len(), 16);
        let group = api_group(&Catalogue::default(), "coordination.k8s.io").unwrap();
        assert_eq!(group["preferredVersion"]["groupVersion"], "coordination.k8s.io/v1");
        assert!(
            api_group(&Catalogue::default(), "").is_none()
                && api_group(&Catalogue::default(), "apps.example").is_none()
        );
        assert!(
            api_resources(&Catalogue::default(), "", "v2").is_none()
                && api_resources(&Catalogue::default(), "apps", "v9").is_none()
        );
        assert!(git_version().starts_with("v1.37.0+midge"));
    }
}
