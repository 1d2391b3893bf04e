//! A container's resources: names, amounts, requests within limits.

use serde_json::Value;

use crate::api::quantity::Quantity;
use crate::api::{Cause, names};

pub fn validate(field: &str, resources: Option<&Value>, causes: &mut Vec<Cause>) {
    for table in ["limits", "requests"] {
        let amounts = resources.and_then(|resources| resources.get(table)).and_then(Value::as_object);
        for (name, value) in amounts.into_iter().flatten() {
            let field = format!("{field}.{table}[{name}]");
            if let Some(detail) = name_problem(name) {
                causes.push(Cause::invalid(field.as_str(), name.as_str(), &detail));
            }
            match Quantity::from_json(value) {
                Err(error) => causes.push(Cause::invalid(field, value.clone(), &error.to_string())),
                Ok(amount) if amount.nanos() < 0 => {
                    let detail = "must be greater than or equal to 0";
                    causes.push(Cause::invalid(field, value.clone(), detail));
                }
                Ok(amount) if name.contains('/') && amount.nanos() % 1_000_000_000 != 0 => {
                    causes.push(Cause::invalid(field, value.clone(), "must be an integer"));
                }
                Ok(amount) if table == "requests" => {
                    let limit = resources.and_then(|resources| resources.get("limits")?.get(name));
                    let limit = limit.and_then(|limit| Quantity::from_json(limit).ok());
                    if let Some(limit) = limit.filter(|limit| amount > *limit) {
                        let detail = format!("must be less than or equal to {name} limit of {limit}");
                        let whole = field.strip_suffix(&format!("[{name}]")).unwrap_or(&field);
                        causes.push(Cause::invalid(whole, amount.to_string(), &detail));
                    }
                }
                Ok(_) => {}
            }
        }
    }
}

fn name_problem(name: &str) -> Option<String> {
    if matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
        return None;
    }
    if let Err(message) = names::is_label_key(name) {
        return Some(message);
    }
    let qualified = name.contains('/');
    (!qualified).then(|| "must be a standard resource for containers".to_owned())
}
