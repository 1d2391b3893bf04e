//! What the rules of several kinds share: members of maps, closed sets, ports, addresses.

use std::net::IpAddr;

use serde_json::Value;

pub(super) use super::pod::{list, text};
pub(super) use super::workloads::label_selector;
use crate::api::{Cause, names};

/// Why something is wrong, in upstream's words.
type Check = fn(&str) -> Result<(), String>;

/// A member of a map as a number; 0 when absent.
pub(super) fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or(0)
}

/// A member of a map that is there: null is not.
pub(super) fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| !value.is_null())
}

/// One of a closed set.
pub(super) fn one_of(field: String, value: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    match value {
        "" => causes.push(Cause::required(field, "")),
        value if supported.contains(&value) => {}
        value => causes.push(Cause::not_supported(field, value, supported)),
    }
}

/// A text that has to be there and to follow a rule.
pub(super) fn named(field: String, value: &str, check: Check, causes: &mut Vec<Cause>) {
    match value {
        "" => causes.push(Cause::required(field, "")),
        value => ruled(field, value, check, causes),
    }
}

/// A text that has to follow a rule.
pub(super) fn ruled(field: String, value: &str, check: Check, causes: &mut Vec<Cause>) {
    if let Err(message) = check(value) {
        causes.push(Cause::invalid(field, value, &message));
    }
}

/// A port's number.
pub(super) fn port(field: String, value: i64, causes: &mut Vec<Cause>) {
    if let Err(message) = names::is_port(value) {
        causes.push(Cause::invalid(field, value, &message));
    }
}

/// A port's number or its name.
pub(super) fn port_or_name(field: String, value: &Value, causes: &mut Vec<Cause>) {
    match value {
        Value::Number(_) => port(field, value.as_i64().unwrap_or(-1), causes),
        value => ruled(field, value.as_str().unwrap_or(""), names::is_port_name, causes),
    }
}

/// An address, of either family.
pub(super) fn is_ip(value: &str) -> Result<(), String> {
    match value.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
    }
}

/// An address that another host may have.
pub(super) fn is_foreign_ip(value: &str) -> Result<(), String> {
    is_ip(value)?;
    let what = match value.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => "unspecified (0.0.0.0 or ::)",
        Ok(ip) if ip.is_loopback() => "in the loopback range (127.0.0.0/8, ::1/128)",
        Ok(IpAddr::V4(ip)) if ip.is_link_local() => "in the link-local range (169.254.0.0/16, fe80::/10)",
        Ok(IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
            "in the link-local range (169.254.0.0/16, fe80::/10)"
        }
        Ok(IpAddr::V4(ip)) if ip.octets().starts_with(&[224, 0, 0]) => {
            "in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        }
        _ => return Ok(()),
    };
    Err(format!("may not be {what}"))
}

/// A range of addresses: its first one, the whole as bits of the family's width, and the prefix's length.
pub(super) fn range(value: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// A range of addresses in CIDR notation.
pub(super) fn is_cidr(value: &str) -> Result<(), String> {
    match range(value) {
        Some(_) => Ok(()),
        None => Err("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()),
    }
}

/// Whether `inner` is a part of `outer`, and less than all of it.
pub(super) fn is_strictly_within(inner: &str, outer: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let (Some((inner, longer)), Some((outer, shorter))) = (range(inner), range(outer)) else { return false };
    let mask = u128::MAX.checked_shl(128 - u32::from(shorter)).unwrap_or(0);
    inner.is_ipv4() == outer.is_ipv4() && longer > shorter && bits(inner) & mask == bits(outer) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_ranges() {
        for (inner, outer, expected) in [
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("11.0.0.0/16", "10.0.0.0/8", false),
            ("10.1.0.0/16", "0.0.0.0/0", true),
            ("fd00:1::/32", "fd00::/8", true),
            ("fd00::/16", "0.0.0.0/0", false),
            ("x", "0.0.0.0/0", false),
        ] {
            assert_eq!(is_strictly_within(inner, outer), expected, "{inner} {outer}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "/8", "10.0.0.0/-1"] {
            assert!(is_cidr(bad).is_err(), "{bad}");
        }
    }
}
