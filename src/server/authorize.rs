//! Who may do what.

use super::State;
use super::auth::{MASTERS, User};
use crate::api::Status;

/// What somebody wants to do: a verb on a resource, or on a path that is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, …; for a path, the method in lower case.
    pub verb: &'a str,
    pub group: &'a str,
    /// "" for a path.
    pub resource: &'a str,
    /// "" for none.
    pub subresource: &'a str,
    /// "" for what is cluster-wide, and for all namespaces.
    pub namespace: &'a str,
    /// "" for a collection.
    pub name: &'a str,
    /// "" for a resource.
    pub path: &'a str,
}

/// Lets a user do something, or says in upstream's words that it may not.
///
/// # Errors
/// 403.
pub fn authorize(_state: &State, user: &User, wanted: &Attributes<'_>) -> Result<(), Status> {
    if user.is_in(MASTERS) { Ok(()) } else { Err(forbidden(user, wanted)) }
}

fn forbidden(user: &User, wanted: &Attributes<'_>) -> Status {
    Status::forbidden(format!("User {:?} cannot {}", user.name, wanted.verb))
}
