//! New tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Accounts;
use crate::api::kinds::{NODE, SERVICE_ACCOUNT};
use crate::api::{Object, Status};
use crate::link::{TokenAsk, TokenGiven};
use crate::server::registry::identity;

/// The longest life of a token.
pub const MOST_SECONDS: u64 = 1 << 32;

/// What a token is to be.
pub struct Ask<'a> {
    pub account: &'a Object,
    /// Claims of what the token ends with, see [`Accounts::bound_to`].
    pub bound: Map<String, Value>,
    /// None: the API.
    pub audiences: Vec<String>,
    pub seconds: u64,
}

/// A new token. The text is a secret.
pub struct Issued {
    pub token: String,
    pub audiences: Vec<String>,
    pub expires: SystemTime,
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

impl Accounts {
    pub fn issue(&self, ask: Ask<'_>, now: SystemTime) -> Result<Issued, Status> {
        let (namespace, name) = (ask.account.namespace(), ask.account.name());
        let audiences = if ask.audiences.is_empty() { vec![self.issuer.clone()] } else { ask.audiences };
        let (from, life) = (seconds(now), ask.seconds.min(MOST_SECONDS));
        let mut own = ask.bound;
        own.insert("namespace".to_owned(), namespace.into());
        own.insert("serviceaccount".to_owned(), json!({ "name": name, "uid": ask.account.uid() }));
        let claims = json!({
            "aud": audiences, "exp": from + life, "iat": from, "nbf": from, "iss": self.issuer,
            "jti": identity::uid()?, "sub": subject(namespace, name), "kubernetes.io": own,
        });
        let token = self.key.sign(&claims).ok_or_else(|| Status::internal("no random numbers"))?;
        Ok(Issued { token, audiences, expires: UNIX_EPOCH + Duration::from_secs(from + life) })
    }

    /// The claims that end a token with an object; a pod's with its node as well.
    pub fn bound_to(&self, field: &str, object: &Object) -> Map<String, Value> {
        let reference = |object: &Object| json!({ "name": object.name(), "uid": object.uid() });
        let mut bound = Map::from_iter([(field.to_owned(), reference(object))]);
        let node = object.str_at("/spec/nodeName");
        if field == "pod" && !node.is_empty() {
            if let Ok(node) = self.registry.get(NODE, "", node) {
                bound.insert("node".to_owned(), reference(&node));
            }
        }
        bound
    }

    /// A token that lives as long as its Secret does.
    pub(super) fn for_secret(&self, secret: &Object, account: &Object) -> Option<String> {
        self.key.sign(&json!({
            "iss": LEGACY_ISSUER,
            "sub": subject(account.namespace(), account.name()),
            "kubernetes.io/serviceaccount/namespace": account.namespace(),
            "kubernetes.io/serviceaccount/secret.name": secret.name(),
            "kubernetes.io/serviceaccount/service-account.name": account.name(),
            "kubernetes.io/serviceaccount/service-account.uid": account.uid(),
        }))
    }

    /// Answers a node that asks for a token of one of its pods.
    pub fn for_node(&self, node: &str, ask: &TokenAsk) -> TokenGiven {
        let mut given = TokenGiven {
            uid: ask.uid.clone(),
            audience: ask.audience.clone(),
            seconds: ask.seconds,
            token: None,
            refused: None,
        };
        match self.of_pod(node, ask) {
            Ok(token) => given.token = Some(token),
            Err(status) => given.refused = Some(status.message),
        }
        given
    }

    fn of_pod(&self, node: &str, ask: &TokenAsk) -> Result<String, Status> {
        let pod = self.registry.get(crate::api::kinds::POD, &ask.namespace, &ask.name)?;
        let projections =
            pod.array_at("/spec/volumes").iter().filter_map(|volume| volume.pointer("/projected/sources"));
        let mut tokens = projections.flat_map(|sources| sources.as_array().into_iter().flatten());
        let is_asked = tokens.any(|source| {
            let Some(source) = source.get("serviceAccountToken") else { return false };
            let audience = source.get("audience").and_then(Value::as_str).unwrap_or("");
            audience == ask.audience
                && source.get("expirationSeconds").and_then(Value::as_u64) == Some(ask.seconds)
        });
        // All of it, so that a node learns nothing of others' pods.
        if pod.uid() != ask.uid || pod.str_at("/spec/nodeName") != node || !is_asked {
            return Err(Status::forbidden("the pod has no such token on this node"));
        }
        let account =
            self.registry.get(SERVICE_ACCOUNT, pod.namespace(), pod.str_at("/spec/serviceAccountName"))?;
        let audiences = Some(ask.audience.clone()).filter(|audience| !audience.is_empty());
        let ask = Ask {
            account: &account,
            bound: self.bound_to("pod", &pod),
            audiences: audiences.into_iter().collect(),
            seconds: ask.seconds,
        };
        self.issue(ask, SystemTime::now()).map(|issued| issued.token)
    }
}

/// Of tokens in Secrets.
pub(super) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
