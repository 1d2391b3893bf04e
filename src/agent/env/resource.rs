//! What a container asks for, as text for a variable or a file (`resourceFieldRef`).

use std::fmt;

use serde_json::Value;

use super::super::node::Resources;
use crate::agent::container;
use crate::api::Object;
use crate::api::quantity::Quantity;

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Container { name: String },
    Resource { resource: String },
    Divisor { divisor: String },
}

/// `limits.cpu`, `requests.memory` … of `own`, or of the container that the selector names, in units of its
/// divisor and rounded up. A limit of cpu, memory or storage that is not set is what the node has.
pub fn resource(
    pod: &Object,
    own: &Value,
    selector: &Value,
    allocatable: &Resources,
) -> Result<String, Error> {
    let text = |key: &str| selector.get(key).and_then(Value::as_str).unwrap_or("");
    let container = match text("containerName") {
        "" => own,
        name => container::declared(pod, name).ok_or_else(|| Error::Container { name: name.to_owned() })?,
    };
    let unknown = || Error::Resource { resource: text("resource").to_owned() };
    let (table, resource) = text("resource").split_once('.').ok_or_else(unknown)?;
    let node = match resource {
        "cpu" => i128::from(allocatable.cpu_millis) * 1_000_000,
        "memory" => i128::from(allocatable.memory) * NANOS,
        "ephemeral-storage" => i128::from(allocatable.disk) * NANOS,
        _ if resource.starts_with("hugepages-") => 0,
        _ => return Err(unknown()),
    };
    let amount = container.pointer("/resources").and_then(|resources| resources.get(table)?.get(resource));
    let amount = amount.and_then(|amount| Quantity::from_json(amount).ok()).map(Quantity::nanos);
    let amount = match table {
        "limits" => amount.filter(|amount| *amount > 0).unwrap_or(node),
        "requests" => amount.unwrap_or(0),
        _ => return Err(unknown()),
    };
    let divisor = match selector.get("divisor") {
        None | Some(Value::Null) => NANOS,
        Some(divisor) => {
            let parsed = Quantity::from_json(divisor).ok().map(Quantity::nanos);
            match parsed.filter(|divisor| *divisor >= 0) {
                Some(0) => NANOS,
                Some(divisor) => divisor,
                None => return Err(Error::Divisor { divisor: divisor.to_string() }),
            }
        }
    };
    Ok(amount.div_euclid(divisor).saturating_add(i128::from(amount.rem_euclid(divisor) > 0)).to_string())
}

const NANOS: i128 = 1_000_000_000;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Container { name } => write!(f, "container {name} not found"),
            Error::Resource { resource } => write!(f, "unsupported container resource : {resource}"),
            Error::Divisor { divisor } => write!(f, "the divisor {divisor} is no positive quantity"),
        }
    }
}

impl std::error::Error for Error {}
