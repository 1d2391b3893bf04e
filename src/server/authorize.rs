//! Who may do what: upstream's RBAC, on the stored roles and bindings.

mod access;
mod escalation;
mod request;
pub mod roles;
pub mod rules;
#[cfg(test)]
mod tests;

use super::State;
use super::auth::{MASTERS, User};
use crate::api::Status;
use crate::api::status::Details;

pub use access::Access;
pub use request::of_request;

/// What somebody wants to do: a verb on a resource, or on a path that is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, …; for a path, the method in lower case.
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    /// "" for none.
    pub subresource: &'a str,
    /// "" for what is cluster-wide, and for all namespaces.
    pub namespace: &'a str,
    /// "" for a collection.
    pub name: &'a str,
    /// "" for a resource: what has a path is about nothing else.
    pub path: &'a str,
}

/// What the rules say.
pub struct Decision {
    pub allowed: bool,
    /// Why, in upstream's words; "" where there is nothing to say.
    pub reason: String,
}

/// Lets a user do something, or says in upstream's words that it may not.
///
/// # Errors
/// 403.
pub fn authorize(state: &State, user: &User, wanted: &Attributes<'_>) -> Result<(), Status> {
    state.access.authorize(user, wanted)
}

impl Access {
    /// [`authorize`]
    pub fn authorize(&self, user: &User, wanted: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.decide(user, wanted)?;
        if decision.allowed { Ok(()) } else { Err(forbidden(user, wanted, &decision.reason)) }
    }

    /// Whether a user may do something, and why.
    ///
    /// # Errors
    /// 500 for stored text that is no object.
    pub fn decide(&self, user: &User, wanted: &Attributes<'_>) -> Result<Decision, Status> {
        if user.is_in(MASTERS) {
            return Ok(Decision { allowed: true, reason: String::new() });
        }
        let mut why = None;
        let wrong = self.visit(user, wanted.namespace, |rule, describe| {
            why = rule.allows(wanted).then(describe);
            why.is_some()
        })?;
        let reason = match (&why, wrong.as_slice()) {
            (Some(why), _) => format!("RBAC: allowed by {why}"),
            (None, []) => String::new(),
            (None, [only]) => format!("RBAC: {only}"),
            (None, several) => format!("RBAC: [{}]", several.join(", ")),
        };
        Ok(Decision { allowed: why.is_some(), reason })
    }
}

/// 403 in upstream's words.
fn forbidden(user: &User, wanted: &Attributes<'_>, reason: &str) -> Status {
    let Attributes { verb, group, resource, subresource, namespace, name, path } = *wanted;
    let who = &user.name;
    let mut what = if !path.is_empty() {
        format!("User {who:?} cannot {verb} path {path:?}")
    } else {
        let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        let place = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("User {who:?} cannot {verb} resource \"{resource}{part}\" in API group {group:?} {place}")
    };
    if !reason.is_empty() {
        what = format!("{what}: {reason}");
    }
    forbid(group, resource, name, &what)
}

/// Upstream's `NewForbidden`: what is about a resource, with its name or without.
fn forbid(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let whole = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let mut status = Status::forbidden(match (resource, name) {
        ("", _) => format!("forbidden: {why}"),
        (_, "") => format!("{whole} is forbidden: {why}"),
        _ => format!("{whole} {name:?} is forbidden: {why}"),
    });
    let (name, group, kind) = (name.to_owned(), group.to_owned(), resource.to_owned());
    status.details = Some(Box::new(Details { name, group, kind, ..Details::default() }));
    status
}
