//! Acting as somebody else: the `Impersonate-…` headers.

use std::collections::BTreeMap;

use hyper::HeaderMap;

use super::{AUTHENTICATED, User};
use crate::api::Status;
use crate::server::authorize::{Access, Attributes};
use crate::server::query::decode;

const GROUP: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Whom a request is to be judged as: who sent it, or whom that names and may impersonate.
///
/// # Errors
/// 400 for headers that go without a user's name, 403 for who may not.
pub fn impersonate(access: &Access, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    let may = |attributes: Attributes<'_>| {
        access.authorize(&user, &Attributes { verb: "impersonate", ..attributes })
    };
    match account(&wanted.name) {
        Some((namespace, name)) => {
            may(Attributes { resource: "serviceaccounts", namespace, name, ..Attributes::default() })?;
        }
        None => may(Attributes { resource: "users", name: &wanted.name, ..Attributes::default() })?,
    }
    for name in &wanted.groups {
        may(Attributes { resource: "groups", name, ..Attributes::default() })?;
    }
    if !wanted.uid.is_empty() {
        may(Attributes { group: GROUP, resource: "uids", name: &wanted.uid, ..Attributes::default() })?;
    }
    for (key, values) in &wanted.extra {
        for name in values {
            let (resource, subresource) = ("userextras", key.as_str());
            may(Attributes { group: GROUP, resource, subresource, name, ..Attributes::default() })?;
        }
    }
    Ok(complete(wanted))
}

/// The user that the headers name; none without any of them.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let texts = |name: &str| -> Result<Vec<String>, Status> {
        let values = headers.get_all(name).iter();
        let text = |value: &hyper::header::HeaderValue| match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Status::bad_request(format!("the header {name} is not UTF-8"))),
        };
        values.map(text).collect()
    };
    let first = |name: &str| texts(name).map(|texts| texts.into_iter().next().unwrap_or_default());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Header names come in lower case, as upstream makes the keys.
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            extra.insert(decode(key, false).to_lowercase(), texts(header.as_str())?);
        }
    }
    let (name, uid) = (first("impersonate-user")?, first("impersonate-uid")?);
    let user = User { name, uid, groups: texts("impersonate-group")?, extra };
    if user == User::default() {
        return Ok(None);
    }
    if user.name.is_empty() {
        return Err(Status::bad_request(
            "requested uid, groups or user-extra to be impersonated without impersonating a user",
        ));
    }
    Ok(Some(user))
}

/// Gives a user the groups that it has by being who it is.
fn complete(mut user: User) -> User {
    if user.groups.is_empty() {
        if let Some((namespace, _)) = account(&user.name) {
            let own = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            user.groups.extend(own);
        }
    }
    let anonymous = user.name == ANONYMOUS || user.is_in(UNAUTHENTICATED);
    let group = if anonymous { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(group) {
        user.groups.push(group.to_owned());
    }
    user
}

/// Namespace and name of the ServiceAccount that a user's name stands for.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let sound = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    sound.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        list.iter().map(pair).collect()
    }

    #[test]
    fn whom_headers_name() {
        assert_eq!(wanted(&headers(&[("accept", "x")])).unwrap(), None);
        let list = [
            ("impersonate-user", "jane"),
            ("impersonate-group", "a"),
            ("impersonate-extra-acme.com%2fproject", "p"),
        ];
        let mut map = headers(&list);
        map.append("impersonate-group", HeaderValue::from_static("b"));
        let user = wanted(&map).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("jane", &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!(user.extra["acme.com/project"], ["p"]);
        for alone in ["impersonate-group", "impersonate-uid", "impersonate-extra-x"] {
            assert_eq!(wanted(&headers(&[(alone, "x")])).unwrap_err().code, 400, "{alone}");
        }
    }

    #[test]
    fn groups_of_the_impersonated() {
        for (name, groups, expected) in [
            ("jane", &[][..], &["system:authenticated"][..]),
            ("jane", &["a"], &["a", "system:authenticated"]),
            (
                "system:serviceaccount:web:x",
                &[],
                &["system:serviceaccounts", "system:serviceaccounts:web", "system:authenticated"],
            ),
            ("system:serviceaccount:web:x", &["a"], &["a", "system:authenticated"]),
            ("system:anonymous", &[], &["system:unauthenticated"]),
            ("jane", &["system:unauthenticated"], &["system:unauthenticated"]),
        ] {
            assert_eq!(complete(User::new(name, groups)).groups, expected, "{name} {groups:?}");
        }
    }
}
