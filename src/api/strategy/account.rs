//! ServiceAccounts.

use serde_json::{Value, json};

use super::Strategy;
use crate::api::Object;

/// References to Secrets hold a name and nothing else.
pub struct ServiceAccountStrategy;

impl Strategy for ServiceAccountStrategy {
    fn prepare_create(&self, new: &mut Object) {
        keep_names(new);
    }

    fn prepare_update(&self, new: &mut Object, _: &Object) {
        keep_names(new);
    }
}

fn keep_names(account: &mut Object) {
    let Some(Value::Array(secrets)) = account.at_mut("/secrets") else { return };
    for secret in secrets {
        *secret = match secret.get("name") {
            Some(name) => json!({ "name": name }),
            None => json!({}),
        };
    }
}
