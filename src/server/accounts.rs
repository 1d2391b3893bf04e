//! Service accounts: their tokens, and what every namespace and pod gets of them.
//!
//! ```text
//! POST serviceaccounts/NAME/token ┐
//! a node, for a pod of its own    ├→ issue → a signed token (JWT) → verify → the account as a user
//! Secrets that hold a token       ┘
//! ```
//! Nothing is kept of a token: it is good as long as what it is bound to is there.

mod admission;
mod issue;
mod key;
mod upkeep;
mod verify;

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

pub use admission::without_token;
pub use issue::{Ask, MOST_SECONDS};
pub use upkeep::run;

use super::registry::Registry;
use key::Key;

/// The type of Secrets that hold a token, and the annotations that name the account.
const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
const NAME_ANNOTATION: &str = "kubernetes.io/service-account.name";
const UID_ANNOTATION: &str = "kubernetes.io/service-account.uid";

/// Issues and judges the tokens of one cluster's service accounts.
pub struct Accounts {
    registry: Arc<Registry>,
    key: Key,
    /// Who issues, and whom tokens are for that say nothing else.
    issuer: String,
}

impl Accounts {
    /// Reads the signing key in `folder`, or makes it.
    ///
    /// # Errors
    /// Those of the file, and of one that holds no key.
    pub fn open(folder: &Path, registry: Arc<Registry>, domain: &str) -> io::Result<Self> {
        let key = Key::open_or_create(&folder.join("service-account.key"))?;
        Ok(Self { registry, key, issuer: format!("https://kubernetes.default.svc.{domain}") })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `/openid/v1/jwks`
    pub fn key_set(&self) -> Value {
        json!({ "keys": [self.key.public()] })
    }

    /// `/.well-known/openid-configuration`, for who asks at `address`.
    pub fn discovery(&self, address: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("https://{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [key::ALGORITHM],
        })
    }
}

#[cfg(test)]
mod tests;
