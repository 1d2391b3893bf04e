//! Label selectors as objects hold them.

use serde_json::Value;

use crate::api::strategy::metadata;
use crate::api::{Cause, names};

/// The rules of `matchLabels` and `matchExpressions`.
pub fn validate(field: &str, selector: &Value, causes: &mut Vec<Cause>) {
    metadata::labels(&format!("{field}.matchLabels"), selector.get("matchLabels"), causes);
    for (index, expression) in expressions(selector).iter().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or("");
        let values = expression.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match (text("operator"), values.is_empty()) {
            ("In" | "NotIn", true) => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{field}.values"), detail));
            }
            ("Exists" | "DoesNotExist", false) => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{field}.values"), detail));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            (other, _) => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(format!("{field}.operator"), other, detail));
            }
        }
        if let Err(message) = names::is_label_key(text("key")) {
            causes.push(Cause::invalid(format!("{field}.key"), text("key"), &message));
        }
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            if let Err(message) = names::is_label_value(value) {
                causes.push(Cause::invalid(format!("{field}.values[{index}]"), value, &message));
            }
        }
    }
}

/// Whether it selects everything.
pub fn is_empty(selector: &Value) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.is_none_or(serde_json::Map::is_empty) && expressions(selector).is_empty()
}

fn expressions(selector: &Value) -> &[Value] {
    selector.get("matchExpressions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
