//! A container's resources: names, amounts, requests within limits.

use serde_json::Value;

use crate::api::quantity::Quantity;
use crate::api::{Cause, names};

pub fn validate(whole: &str, resources: Option<&Value>, causes: &mut Vec<Cause>) {
    for table in ["limits", "requests"] {
        let amounts = resources.and_then(|resources| resources.get(table)).and_then(Value::as_object);
        for (name, value) in amounts.into_iter().flatten() {
            let field = format!("{whole}.{table}[{name}]");
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
                Ok(amount) => {
                    if !is_whole_pages(name, amount) {
                        let detail = format!("{amount} is not positive integer multiple of {name}");
                        causes.push(Cause::invalid(field.as_str(), amount.to_string(), &detail));
                    }
                    if table == "requests" {
                        request(whole, name, amount, resources, causes);
                    }
                }
            }
        }
    }
    let names = |wanted: fn(&str) -> bool| {
        let tables = ["limits", "requests"].into_iter();
        let tables = tables.filter_map(|table| resources?.get(table)?.as_object());
        tables.flat_map(|amounts| amounts.keys()).any(|name| wanted(name))
    };
    if names(|name| name.starts_with(HUGE_PAGES)) && !names(|name| matches!(name, "cpu" | "memory")) {
        causes.push(Cause::forbidden(whole, "HugePages require cpu or memory"));
    }
}

const HUGE_PAGES: &str = "hugepages-";

/// A request within its limit. What can't be shared has a limit, and is asked for in full.
fn request(whole: &str, name: &str, amount: Quantity, resources: Option<&Value>, causes: &mut Vec<Cause>) {
    let limit = resources.and_then(|resources| resources.get("limits")?.get(name));
    let limit = limit.and_then(|limit| Quantity::from_json(limit).ok());
    let is_shared = !name.contains('/') && !name.starts_with(HUGE_PAGES);
    let must = match limit {
        None if is_shared => return,
        None => {
            let detail = "Limit must be set for non overcommitable resources";
            return causes.push(Cause::required(format!("{whole}.limits"), detail));
        }
        Some(limit) if !is_shared && amount != limit => format!("equal to {name} limit of {limit}"),
        Some(limit) if amount > limit => format!("less than or equal to {name} limit of {limit}"),
        Some(_) => return,
    };
    causes.push(Cause::invalid(format!("{whole}.requests"), amount.to_string(), &format!("must be {must}")));
}

/// Of huge pages only whole ones can be had.
fn is_whole_pages(name: &str, amount: Quantity) -> bool {
    let Some(size) = name.strip_prefix(HUGE_PAGES) else { return true };
    let size = Quantity::parse(size).map_or(0, Quantity::nanos);
    size > 0 && size % 1_000_000_000 == 0 && amount.nanos() % size == 0
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts() {
        let of = |resources: Value| {
            let mut causes = Vec::new();
            validate("r", Some(&resources), &mut causes);
            causes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (resources, expected) in [
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}), &[][..]),
            (
                json!({"limits": {"memory": "64Mi", "hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "4Mi"}}),
                &[],
            ),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
                &["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
            ),
            (
                json!({"limits": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "2Mi"}}),
                &["r.requests: Invalid value: \"2Mi\": must be equal to hugepages-2Mi limit of 4Mi"],
            ),
            (
                json!({"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}}),
                &["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}}),
                &[
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                ],
            ),
            (json!({"limits": {"hugepages-2Mi": "4Mi"}}), &["r: Forbidden: HugePages require cpu or memory"]),
        ] {
            assert_eq!(of(resources.clone()), expected, "{resources}");
        }
    }
}
