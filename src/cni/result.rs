//! What ADD answers (specification, section 5).

use serde_json::Value;
use std::net::IpAddr;

/// Interfaces and addresses of one attachment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attached {
    pub interfaces: Vec<Interface>,
    pub ips: Vec<IpConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: String,
    /// Empty: on the host.
    pub sandbox: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    pub address: IpAddr,
    pub prefix_length: u8,
    pub gateway: Option<IpAddr>,
}

impl Attached {
    /// Reads a result of version 0.3.0 or later. What the error says is wrong with it.
    pub(super) fn parse(result: &Value) -> Result<Attached, &'static str> {
        let map = result.as_object().ok_or("no JSON object")?;
        let list = |name: &str| match map.get(name) {
            None | Some(Value::Null) => Ok([].as_slice()),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(_) => Err("`interfaces` or `ips` is no list"),
        };
        let text =
            |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
        let interfaces = list("interfaces")?.iter().map(|item| Interface {
            name: text(item, "name"),
            mac: text(item, "mac"),
            sandbox: text(item, "sandbox"),
        });
        let ips = list("ips")?.iter().map(|item| {
            let (address, length) = text(item, "address")
                .split_once('/')
                .and_then(|(address, length)| Some((address.parse().ok()?, length.parse().ok()?)))
                .ok_or("an `address` is not of the form 10.42.0.2/24")?;
            let gateway = match text(item, "gateway") {
                none if none.is_empty() => None,
                some => Some(some.parse().map_err(|_| "a `gateway` is no address")?),
            };
            Ok(IpConfig { address, prefix_length: length, gateway })
        });
        Ok(Attached { interfaces: interfaces.collect(), ips: ips.collect::<Result<_, &str>>()? })
    }
}
