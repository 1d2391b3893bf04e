//! Whose a token is, and whether it is still good.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::issue::{LEGACY_ISSUER, seconds, subject};
use super::{Accounts, SECRET_TYPE};
use crate::api::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use crate::api::{Kind, Object};
use crate::server::auth::{Proof, User};
use crate::token::same_secret;

/// How long an object that is being deleted still stands for its tokens.
const LEEWAY: Duration = Duration::from_secs(60);

impl Accounts {
    /// The account that a token proves, if the token is for one of the audiences (none: for the API).
    pub fn verify(&self, token: &str, audiences: &[String], now: SystemTime) -> Option<Proof> {
        let claims = self.key.read(token)?;
        match text(&claims, "iss")? {
            LEGACY_ISSUER => self.of_secret(token, &claims, audiences, now),
            issuer if issuer == self.issuer => self.of_request(&claims, audiences, now),
            _ => None,
        }
    }

    fn of_request(&self, claims: &Value, audiences: &[String], now: SystemTime) -> Option<Proof> {
        let at = |name: &str| claims.get(name)?.as_u64();
        if seconds(now) >= at("exp")? || seconds(now + LEEWAY) < at("nbf")? {
            return None;
        }
        let said: Vec<&str> = claims.get("aud")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let audiences = self.audiences(audiences);
        let audiences: Vec<String> =
            audiences.into_iter().filter(|audience| said.contains(&audience.as_str())).collect();
        if audiences.is_empty() {
            return None;
        }
        let own = claims.get("kubernetes.io")?;
        let (namespace, account) = (text(own, "namespace")?, own.get("serviceaccount")?);
        let account = self.live(SERVICE_ACCOUNT, namespace, account, now)?;
        let mut user = user(&account);
        if text(claims, "sub")? != user.name {
            return None;
        }
        let mut add = |key: &str, value: &str| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        add("credential-id", &format!("JTI={}", text(claims, "jti")?));
        for (field, kind) in [("pod", POD), ("secret", SECRET), ("node", NODE)] {
            let Some(reference) = own.get(field) else { continue };
            // A pod's token ends with the pod; its node is said for information.
            if field != "node" || own.get("pod").is_none() {
                self.live(kind, namespace, reference, now)?;
            }
            if field != "secret" {
                add(&format!("{field}-name"), text(reference, "name")?);
                add(&format!("{field}-uid"), text(reference, "uid")?);
            }
        }
        Some(Proof { user, audiences })
    }

    fn of_secret(&self, token: &str, claims: &Value, audiences: &[String], now: SystemTime) -> Option<Proof> {
        let own = |name: &str| text(claims, &format!("kubernetes.io/serviceaccount/{name}"));
        let namespace = own("namespace")?;
        let secret = self.registry.get(SECRET, namespace, own("secret.name")?).ok()?;
        if is_over(&secret, now) || secret.str_at("/type") != SECRET_TYPE {
            return None;
        }
        // A token that was taken out of its Secret is revoked.
        let held = data_encoding::BASE64.decode(secret.str_at("/data/token").as_bytes()).ok()?;
        let account = self.registry.get(SERVICE_ACCOUNT, namespace, own("service-account.name")?).ok()?;
        let is_its = account.uid() == own("service-account.uid")? && !is_over(&account, now);
        if !is_its || !same_secret(&held, token.as_bytes()) {
            return None;
        }
        let audiences: Vec<String> =
            self.audiences(audiences).into_iter().filter(|audience| *audience == self.issuer).collect();
        (!audiences.is_empty()).then(|| Proof { user: user(&account), audiences })
    }

    fn audiences(&self, asked: &[String]) -> Vec<String> {
        if asked.is_empty() { vec![self.issuer.clone()] } else { asked.to_vec() }
    }

    /// The object of a reference by name and uid, if it is there to stay.
    fn live(&self, kind: &Kind, namespace: &str, reference: &Value, now: SystemTime) -> Option<Object> {
        let object = self.registry.get(kind, namespace, text(reference, "name")?).ok()?;
        (object.uid() == text(reference, "uid")? && !is_over(&object, now)).then_some(object)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

fn is_over(object: &Object, now: SystemTime) -> bool {
    object.deletion_timestamp().is_some_and(|deleted| deleted + LEEWAY < now)
}

fn user(account: &Object) -> User {
    let name = subject(account.namespace(), account.name());
    let namespace = format!("system:serviceaccounts:{}", account.namespace());
    User {
        uid: account.uid().to_owned(),
        extra: BTreeMap::new(),
        ..User::new(&name, &["system:serviceaccounts", &namespace])
    }
}
