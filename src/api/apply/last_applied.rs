//! kubectl's own account from before server-side apply: the configuration in an annotation.

use serde_json::Value;

use crate::api::Object;

const POINTER: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
/// What upstream's annotations may hold in all.
const LIMIT: usize = 256 << 10;

/// What kubectl applied last by itself.
pub fn said(object: &Object) -> Option<Value> {
    serde_json::from_str(object.str_at(POINTER)).ok()
}

/// Keeps the annotation true for whoever goes back.
pub fn say(object: &mut Object, config: &Object) {
    let mut config = config.clone();
    config.remove(POINTER);
    let text = format!("{}\n", config.as_value());
    object.set(POINTER, if text.len() > LIMIT { String::new() } else { text });
}
