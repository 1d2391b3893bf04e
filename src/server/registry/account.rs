//! Who owns which fields of what is stored.

use std::time::SystemTime;

use serde_json::Value;

use crate::api::apply::{self, Operation, Writer};
use crate::api::kinds::{EVENT, LEASE};
use crate::api::{Kind, Object};

pub const MANAGED_FIELDS: &str = "/metadata/managedFields";

/// Notes in `new` who owns what of it now. `account` is what came with it. No time changes unless something
/// else does. Nobody applies events, of which there are many, nor leases, which are written all the time: no account
/// is kept of them.
pub fn note(
    kind: &Kind,
    new: &mut Object,
    old: Option<&Object>,
    account: Option<Value>,
    writer: Writer<'_>,
    now: SystemTime,
) {
    new.remove(MANAGED_FIELDS);
    let stored = old.and_then(|old| old.at(MANAGED_FIELDS));
    if kind == EVENT || kind == LEASE {
        return;
    }
    if writer.operation == Operation::Apply {
        if let Some(account) = account {
            new.set(MANAGED_FIELDS, account);
        }
    } else {
        apply::with_root(kind, |node| apply::record(kind, node, new, old, account, writer, now));
    }
    let (Some(old), Some(stored)) = (old, stored) else { return };
    if apply::is_same_account(new.at(MANAGED_FIELDS), Some(stored)) {
        let account = new.remove(MANAGED_FIELDS);
        new.set(MANAGED_FIELDS, stored.clone());
        if let (Some(account), true) = (account, *new != *old) {
            new.set(MANAGED_FIELDS, account);
        }
    }
}
