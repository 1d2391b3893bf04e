//! What a request's path names.

use std::borrow::Cow;

use hyper::Uri;

use super::query::decode;
use crate::api::Kind;
use crate::api::kinds::{Catalogue, POD};

/// A path that this server knows.
#[derive(Debug)]
pub enum Route<'a> {
    /// `/healthz`, `/livez`, `/readyz`.
    Health(&'static str),
    /// One of their checks: `/readyz/ping`.
    HealthCheck(&'static str, String),
    /// `/version`
    Version,
    /// `/metrics`
    Metrics,
    /// `/cacerts`
    Certificate,
    /// `/v1-midge/connect`
    Link,
    /// `/v1-midge/tokens[/ID[/rotate]]`: what follows `tokens`.
    Tokens(Vec<Cow<'a, str>>),
    /// `/api`
    Core,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(Cow<'a, str>),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources { group: Cow<'a, str>, version: Cow<'a, str> },
    /// `/openid/v1/jwks`
    KeySet,
    /// `/.well-known/openid-configuration`
    IssuerDiscovery,
    /// `/openapi/v2`
    OpenApiTwo,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`
    OpenApi { group: Cow<'a, str>, version: Cow<'a, str> },
    /// `/api/v1/nodes/NAME/proxy/…`: the node, and what follows.
    NodeProxy(Cow<'a, str>, String),
    /// Objects of a kind.
    Objects(Target<'a>),
    /// A path below `/api` or `/apis` that names nothing.
    UnknownObjects,
    /// Any other.
    Unknown,
}

/// Objects of one kind: all, those of a namespace, or one and perhaps a part of it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub kind: &'static Kind,
    /// `None` for cluster-wide kinds, and for all namespaces.
    pub namespace: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
    /// One of the kind's `subresources`, or of those that only exist to be answered ([`UNLISTED`]).
    pub subresource: Option<&'static str>,
}

impl<'a> Route<'a> {
    /// Reads the path of a URL, without its query, with the kinds that there are.
    pub fn parse(path: &'a str, kinds: &Catalogue) -> Self {
        let mut parts: Vec<Cow<'a, str>> =
            path.trim_start_matches('/').split('/').take(16).map(|part| decode(part, false)).collect();
        // `/api/` means `/api`.
        if parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        let rest = parts.split_off(1);
        match parts[0].as_ref() {
            "healthz" => health("healthz", &rest),
            "livez" => health("livez", &rest),
            "readyz" => health("readyz", &rest),
            "version" if rest.is_empty() => Self::Version,
            "metrics" if rest.is_empty() => Self::Metrics,
            "cacerts" if rest.is_empty() => Self::Certificate,
            "v1-midge" => own(rest),
            "api" if rest.is_empty() => Self::Core,
            "apis" if rest.is_empty() => Self::Groups,
            "api" => versioned(Cow::Borrowed(""), rest, kinds),
            "apis" => {
                let mut rest = rest;
                let group = rest.remove(0);
                if rest.is_empty() { Self::Group(group) } else { versioned(group, rest, kinds) }
            }
            "openapi" => openapi(rest),
            "openid" if rest == ["v1", "jwks"] => Self::KeySet,
            ".well-known" if rest == ["openid-configuration"] => Self::IssuerDiscovery,
            _ => Self::Unknown,
        }
    }
}

/// `/api/v1/watch/…` and `/apis/GROUP/VERSION/watch/…`, which came before the parameter `watch`: the path and query that
/// mean the same since then. None for all other paths.
pub fn of_old_watch(uri: &Uri) -> Option<Uri> {
    let at = match uri.path().split('/').nth(1)? {
        "api" => 3,
        "apis" => 4,
        _ => return None,
    };
    let mut parts: Vec<&str> = uri.path().trim_end_matches('/').split('/').take(16).collect();
    if parts.get(at) != Some(&"watch") || parts.len() < at + 2 {
        return None;
    }
    parts.remove(at);
    // Pairs of a plural and a name: `namespaces/a/pods/b`, `nodes/b`; then it is about one.
    let one = if (parts.len() - at) % 2 == 0 { parts.pop() } else { None };
    let one = one.map(|name| format!("&fieldSelector=metadata.name%3D{name}")).unwrap_or_default();
    let query = uri.query().map(|query| format!("&{query}")).unwrap_or_default();
    format!("{}?watch=1{one}{query}", parts.join("/")).parse().ok()
}

fn health<'a>(name: &'static str, rest: &[Cow<'_, str>]) -> Route<'a> {
    if rest.is_empty() { Route::Health(name) } else { Route::HealthCheck(name, rest.join("/")) }
}

fn own(mut parts: Vec<Cow<'_, str>>) -> Route<'_> {
    match parts.first().map(Cow::as_ref) {
        Some("connect") if parts.len() == 1 => Route::Link,
        Some("tokens") => Route::Tokens(parts.split_off(1)),
        _ => Route::Unknown,
    }
}

fn openapi(mut parts: Vec<Cow<'_, str>>) -> Route<'_> {
    let words: Vec<&str> = parts.iter().map(Cow::as_ref).collect();
    match words.as_slice() {
        ["v2"] => Route::OpenApiTwo,
        ["v3"] => Route::OpenApiIndex,
        ["v3", "api", _] => Route::OpenApi { group: Cow::Borrowed(""), version: parts.remove(2) },
        ["v3", "apis", _, _] => {
            let version = parts.remove(3);
            Route::OpenApi { group: parts.remove(2), version }
        }
        _ => Route::Unknown,
    }
}

/// What follows the group: `VERSION/…`.
fn versioned<'a>(group: Cow<'a, str>, mut parts: Vec<Cow<'a, str>>, kinds: &Catalogue) -> Route<'a> {
    let version = parts.remove(0);
    if parts.is_empty() {
        return Route::Resources { group, version };
    }
    if group.is_empty() && version == "v1" {
        if let [kind, node, proxy, path @ ..] = parts.as_slice()
            && kind == "nodes"
            && proxy == "proxy"
        {
            return Route::NodeProxy(node.clone(), path.join("/"));
        }
    }
    objects(&group, &version, parts, kinds).map_or(Route::UnknownObjects, Route::Objects)
}

fn objects<'a>(
    group: &str,
    version: &str,
    mut parts: Vec<Cow<'a, str>>,
    kinds: &Catalogue,
) -> Option<Target<'a>> {
    // `namespaces/NS/pods` is about pods, `namespaces/NS/status` about the namespace.
    let inside = parts.len() > 2 && parts[0] == "namespaces" && !matches!(&*parts[2], "status" | "finalize");
    let namespace = if inside {
        let namespace = parts.remove(1);
        parts.remove(0);
        Some(namespace)
    } else {
        None
    };
    let mut parts = parts.into_iter();
    let kind = kinds.find(group, version, &parts.next()?)?;
    let name = parts.next();
    let subresource = match parts.next() {
        None => None,
        Some(part) => Some(subresource(kind, &part)?),
    };
    let named = [&namespace, &name].into_iter().flatten();
    let placed = kind.namespaced == namespace.is_some() || (kind.namespaced && name.is_none());
    // An object's name is one path segment and never empty; `%2F` in it would change what it names.
    let sound = named.into_iter().all(|text| !text.is_empty() && !text.contains('/'));
    (placed && sound && parts.next().is_none()).then_some(Target { kind, namespace, name, subresource })
}

/// Parts of a pod that discovery does not tell of: those that are refused by name.
const UNLISTED: &[&str] = &["proxy", "resize"];

fn subresource(kind: &'static Kind, name: &str) -> Option<&'static str> {
    let listed = kind.subresource(name).map(|found| found.name);
    let unlisted = || UNLISTED.iter().copied().find(|known| *kind == *POD && *known == name);
    listed.or_else(unlisted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::type_complexity)] // a row of the table below
    fn target(path: &str) -> Option<(&str, Option<String>, Option<String>, Option<&str>)> {
        match Route::parse(path, &Catalogue::default()) {
            Route::Objects(found) => Some((
                found.kind.plural,
                found.namespace.map(Cow::into_owned),
                found.name.map(Cow::into_owned),
                found.subresource,
            )),
            Route::UnknownObjects => None,
            other => unreachable!("{path}: {other:?}"),
        }
    }

    #[test]
    fn objects() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(target("/api/v1/nodes"), Some(("nodes", None, None, None)));
        assert_eq!(target("/api/v1/nodes/a/status"), Some(("nodes", None, text("a"), Some("status"))));
        assert_eq!(target("/api/v1/pods"), Some(("pods", None, None, None)));
        assert_eq!(target("/api/v1/namespaces"), Some(("namespaces", None, None, None)));
        assert_eq!(target("/api/v1/namespaces/x"), Some(("namespaces", None, text("x"), None)));
        assert_eq!(
            target("/api/v1/namespaces/x/status"),
            Some(("namespaces", None, text("x"), Some("status")))
        );
        assert_eq!(target("/api/v1/namespaces/x/pods/"), Some(("pods", text("x"), None, None)));
        let log = target("/api/v1/namespaces/x/pods/web%2D1/log");
        assert_eq!(log, Some(("pods", text("x"), text("web-1"), Some("log"))));
        let lease = target("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a");
        assert_eq!(lease, Some(("leases", text("kube-node-lease"), text("a"), None)));
    }

    #[test]
    fn watches_of_old() {
        for (old, expected) in [
            ("/api/v1/watch/pods", Some("/api/v1/pods?watch=1")),
            ("/api/v1/watch/nodes/a", Some("/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Da")),
            ("/api/v1/watch/namespaces/a/pods?limit=1", Some("/api/v1/namespaces/a/pods?watch=1&limit=1")),
            (
                "/apis/apps/v1/watch/namespaces/a/deployments/b",
                Some("/apis/apps/v1/namespaces/a/deployments?watch=1&fieldSelector=metadata.name%3Db"),
            ),
            ("/api/v1/watch", None),
            ("/api/v1/namespaces/watch/pods", None),
            ("/apis/watch", None),
            ("/watch/api/v1/pods", None),
        ] {
            let found = of_old_watch(&old.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{old}");
        }
    }

    #[test]
    fn nothing_there() {
        for path in [
            "/api/v1/gadgets",
            "/api/v2/pods",
            "/apis/apps/v9/deployments",
            "/api/v1/pods/web",
            "/api/v1/namespaces/x/nodes",
            "/api/v1/namespaces/x/pods/web/gadget",
            "/api/v1/namespaces/x/pods/web/log/more",
            "/api/v1/namespaces/x/pods/a%2Fb",
            "/api/v1/namespaces//pods/a",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
        assert!(matches!(Route::parse("/", &Catalogue::default()), Route::Unknown));
        assert!(matches!(Route::parse("/v1-midge/else", &Catalogue::default()), Route::Unknown));
    }

    #[test]
    fn others() {
        assert!(matches!(Route::parse("/api/", &Catalogue::default()), Route::Core));
        assert!(matches!(Route::parse("/apis", &Catalogue::default()), Route::Groups));
        assert!(matches!(Route::parse("/apis/coordination.k8s.io", &Catalogue::default()), Route::Group(_)));
        assert!(matches!(Route::parse("/livez/", &Catalogue::default()), Route::Health("livez")));
        assert!(matches!(Route::parse("/%6civez", &Catalogue::default()), Route::Health("livez")));
        let check = Route::parse("/readyz/ping", &Catalogue::default());
        assert!(matches!(check, Route::HealthCheck(of, check) if of == "readyz" && check == "ping"));
        assert!(matches!(Route::parse("/v1-midge/connect", &Catalogue::default()), Route::Link));
        assert!(
            matches!(Route::parse("/v1-midge/tokens/abc", &Catalogue::default()), Route::Tokens(rest) if rest.len() == 1)
        );
        assert!(
            matches!(Route::parse("/openapi/v3/api/v1", &Catalogue::default()), Route::OpenApi { group, .. } if group.is_empty())
        );
        let Route::OpenApi { group, version } =
            Route::parse("/openapi/v3/apis/coordination.k8s.io/v1", &Catalogue::default())
        else {
            panic!("no document");
        };
        assert_eq!((&*group, &*version), ("coordination.k8s.io", "v1"));
    }
}
