//! What a request wants to do.

use hyper::Method;
use hyper::http::request::Parts;

use super::Attributes;
use crate::api::selector::FieldSelector;
use crate::server::path::{Route, Target};
use crate::server::query::Query;

/// Calls `judge` with everything that a request needs the right for.
///
/// # Errors
/// Those of `judge`.
pub fn of_request<E>(
    parts: &Parts,
    route: &Route<'_>,
    mut judge: impl FnMut(&Attributes<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match route {
        Route::Objects(target) => {
            let query = Query::parse(parts.uri.query().unwrap_or(""));
            let selector = FieldSelector::parse(target.kind, query.text("fieldSelector").unwrap_or(""));
            let selector = selector.unwrap_or_default();
            let mut wanted = of_target(target);
            wanted.verb = verb(&parts.method, target.name.is_some(), query.switch("watch"));
            // Who lists by an object's name wants that object.
            if wanted.name.is_empty() && parts.method != Method::POST {
                wanted.name = selector.name().unwrap_or("");
            }
            judge(&wanted)?;
            // A session changes what runs, also when it is asked for as WebSockets are.
            let session = matches!(target.subresource, Some("exec" | "attach" | "portforward"));
            if session && wanted.verb == "get" {
                judge(&Attributes { verb: "create", ..wanted })?;
            }
            Ok(())
        }
        Route::NodeProxy(node, _) => judge(&Attributes {
            verb: verb(&parts.method, true, false),
            resource: "nodes",
            subresource: "proxy",
            name: node,
            ..Attributes::default()
        }),
        _ => judge(&Attributes {
            verb: &parts.method.as_str().to_ascii_lowercase(),
            path: parts.uri.path(),
            ..Attributes::default()
        }),
    }
}

/// What a path is about, but for the verb.
pub fn of_target<'a>(target: &'a Target<'_>) -> Attributes<'a> {
    let name = target.name.as_deref().unwrap_or("");
    // A namespace is in itself: a role in it may speak of it.
    let namespace = match target.namespace.as_deref() {
        None if (target.kind.group, target.kind.plural) == ("", "namespaces") => name,
        namespace => namespace.unwrap_or(""),
    };
    Attributes {
        verb: "",
        group: target.kind.group,
        resource: target.kind.plural,
        subresource: target.subresource.unwrap_or(""),
        namespace,
        name,
        path: "",
    }
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        // `GET` and `HEAD`; what else there may be is refused by its handler.
        _ if named => "get",
        _ if watch => "watch",
        _ => "list",
    }
}
