//! Who is asking: the user behind a request's client certificate or bearer token.

mod admin;
mod impersonation;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use data_encoding::HEXLOWER;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use smol::Timer;

pub use admin::{Admin, Error, open_or_create};
use impersonation::impersonate;

use super::State;
use crate::api::Status;
use crate::http::server::Peer;
use crate::tls::Caller;

/// May do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";
/// What every user is in that proved who it is.
pub const AUTHENTICATED: &str = "system:authenticated";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|mine| mine == group)
    }

    /// As a member of [`AUTHENTICATED`].
    pub fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// What a bearer token proves.
pub struct Proof {
    pub user: User,
    /// Of the audiences asked for, those that the token is for.
    pub audiences: Vec<String>,
}

/// Finds out who sent a request, and whom it is to be judged as.
///
/// # Errors
/// 401 for who shows nothing, and, later each time, for who shows what is not good; 403 for who may not
/// impersonate whom it names.
pub async fn authenticate(state: &State, parts: &Parts, peer: Peer) -> Result<User, Status> {
    let unauthorized = || Status::unauthorized("Unauthorized");
    let caller = parts.extensions.get::<Caller>();
    if let Some(user) = caller.and_then(by_certificate) {
        return impersonate(&state.access, user.authenticated(), &parts.headers);
    }
    let (user, shown) = match bearer(&parts.headers) {
        Bearer::Absent if caller.is_none() => return Err(unauthorized()),
        Bearer::Absent => (None, "client certificate"),
        Bearer::Token(secret) => (verify(state, secret, &[]).map(|proof| proof.user), "bearer token"),
        Bearer::Malformed => (None, "bearer token"),
    };
    let Some(user) = user else {
        let address = peer.address.ip();
        let penalty = state.attempts.failed(address, Instant::now());
        if penalty.tell {
            log::warn!("{address}: wrong {shown} ({} of late)", penalty.count);
        }
        Timer::after(penalty.delay).await;
        return Err(unauthorized());
    };
    impersonate(&state.access, user.authenticated(), &parts.headers)
}

/// The user that a good certificate names: its common name, in its organizations as groups.
fn by_certificate(caller: &Caller) -> Option<User> {
    let subject = caller.subject(SystemTime::now())?;
    let credential = format!("X509SHA256={}", HEXLOWER.encode(&caller.hash()));
    let extra = BTreeMap::from([("authentication.kubernetes.io/credential-id".to_owned(), vec![credential])]);
    Some(User { name: subject.common_name, uid: String::new(), groups: subject.organizations, extra })
}

/// Whose a bearer token is, if it is good for one of the audiences (none: for the API itself).
pub fn verify(state: &State, secret: &str, audiences: &[String]) -> Option<Proof> {
    let admin = state.admin.is(secret).then(|| User::new("system:admin", &[MASTERS]));
    let here = |audience: &String| *audience == state.accounts.issuer();
    let is_for_us = audiences.is_empty() || audiences.iter().any(here);
    let told = || audiences.iter().filter(|audience| here(audience)).cloned().collect();
    let admin = admin.filter(|_| is_for_us).map(|user| Proof { user, audiences: told() });
    admin.or_else(|| state.accounts.verify(secret, audiences, SystemTime::now()))
}

/// What a request's `Authorization` header amounts to.
#[derive(Debug, PartialEq, Eq)]
enum Bearer<'a> {
    Absent,
    Token(&'a str),
    Malformed,
}

fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Bearer::Absent };
    match header.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Bearer::Token(secret.trim()),
        _ => Bearer::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn bearers() {
        let said = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
            matches!(bearer(&headers), Bearer::Token("s3cret"))
        };
        assert!(said("Bearer s3cret") && said("bearer  s3cret"));
        for wrong in ["Bearer", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert!(!said(wrong), "{wrong}");
        }
        assert_eq!(bearer(&HeaderMap::new()), Bearer::Absent);
    }
}
