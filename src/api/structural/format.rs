//! `format` of strings. One that is not known here says nothing, as upstream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::api::{names, time};

/// Whether a text has the format.
pub fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse(text).is_some(),
        "date" => is_date(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text),
        "byte" => data_encoding::BASE64.decode(text.as_bytes()).is_ok(),
        "uri" => is_uri(text),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_host(host)),
        "hostname" => is_host(text),
        "mac" => is_mac(text),
        "duration" => is_duration(text),
        _ => true,
    }
}

fn is_host(text: &str) -> bool {
    text.len() <= 253 && names::is_dns_subdomain(&text.to_lowercase()).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && time::parse(&format!("{text}T00:00:00Z")).is_some()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(length) = length.parse::<u8>() else { return false };
    match address.parse() {
        Ok(IpAddr::V4(_)) => length <= 32,
        Ok(IpAddr::V6(_)) => length <= 128,
        Err(_) => false,
    }
}

fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(|byte| *byte != b'-');
    text.len() <= 36
        && digits.clone().count() == 32
        && digits.into_iter().all(|byte| byte.is_ascii_hexdigit())
}

/// A scheme and something after it, or a path: what Go's `url.ParseRequestURI` takes.
fn is_uri(text: &str) -> bool {
    let clean = !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    clean && (text.starts_with('/') || text.split_once(':').is_some_and(|(before, _)| scheme(before)))
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Go's: `1h30m`, `1.5s`, `-2us`, `0`; and, as upstream's, words of days and weeks are none.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if number.parse::<f64>().is_err() {
            return false;
        }
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"]
            .into_iter()
            .find_map(|unit| after.strip_prefix(unit));
        match unit {
            Some(after) => rest = after,
            None => return false,
        }
    }
    !text.is_empty()
}
