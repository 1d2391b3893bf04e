//! Rules of `metadata`, the same for every kind.
use crate::api::{Cause, Kind, Object};
pub fn validate(_kind: &Kind, _new: &Object, _old: Option<&Object>) -> Vec<Cause> {
    todo!()
}
