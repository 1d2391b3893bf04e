//! The proxy for a host, out of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (upper or lower case), as Go's programs
//! read them.

use std::net::IpAddr;

use crate::http::client::Proxy;

/// Why a variable names no proxy. It may hold a password: the text is left out.
#[derive(Debug)]
pub struct BadProxy {
    variable: &'static str,
}

impl std::fmt::Display for BadProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not of the form http://[user:password@]host:port", self.variable)
    }
}

impl std::error::Error for BadProxy {}

/// `variable` is how the environment is read.
pub fn choose(
    tls: bool,
    host: &str,
    port: u16,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, BadProxy> {
    let read = |name: &'static str| variable(name).or_else(|| variable(&name.to_lowercase()));
    let name = if tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let Some(text) = read(name).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    if is_direct(host, port, &read("NO_PROXY").unwrap_or_default()) {
        return Ok(None);
    }
    parse(text.trim()).map(Some).ok_or(BadProxy { variable: name })
}

fn parse(text: &str) -> Option<Proxy> {
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => text,
    };
    let rest = rest.trim_end_matches('/');
    let (credentials, authority) = match rest.rsplit_once('@') {
        Some((credentials, authority)) => (Some(decode(credentials)), authority),
        None => (None, rest),
    };
    let authority: http::uri::Authority = authority.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Proxy { host, port: authority.port_u16().unwrap_or(80), credentials })
}

/// `%40` → `@`
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_direct(host: &str, port: u16, exceptions: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exceptions.split(',').map(str::trim).filter(|one| !one.is_empty()).any(|one| {
        let one = one.to_ascii_lowercase();
        if one == "*" {
            return true;
        }
        if let (Some(address), Some((network, bits))) = (address, one.split_once('/')) {
            return is_inside(address, network, bits);
        }
        let (name, wanted) = match one.rsplit_once(':') {
            Some((name, number)) if !name.contains(':') => (name, number.parse::<u16>().ok()),
            _ => (one.as_str(), None),
        };
        if wanted.is_some_and(|wanted| wanted != port) {
            return false;
        }
        // `.x.org` is for what is below x.org, `x.org` for itself too.
        match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
            None => {
                host == name
                    || host.strip_suffix(name).is_some_and(|below| below.ends_with('.') && address.is_none())
            }
        }
    })
}

fn is_inside(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (a, b, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_variables() {
        let of = |tls: bool, host: &str, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_string())
            };
            let proxy = choose(tls, host, 443, variable);
            proxy.map(|proxy| proxy.map(|proxy| (proxy.host, proxy.port, proxy.credentials)))
        };
        let variables = &[
            ("HTTPS_PROXY", "http://us%40er:p%3Aw@proxy.lan:3128/"),
            ("http_proxy", "[fd00::1]:8080"),
            ("NO_PROXY", ".lan, x.org,10.0.0.0/8, y.org:443,z.org:80,fd00::/16"),
        ];
        let found = of(true, "a.net", variables).unwrap();
        assert_eq!(found, Some(("proxy.lan".into(), 3128, Some("us@er:p:w".into()))));
        assert_eq!(of(false, "a.net", variables).unwrap(), Some(("fd00::1".into(), 8080, None)));
        for direct in
            ["localhost", "127.0.0.1", "::1", "a.lan", "x.org", "a.x.org", "10.1.2.3", "y.org", "fd00::7"]
        {
            assert_eq!(of(true, direct, variables).unwrap(), None, "{direct}");
        }
        for by_proxy in ["lan", "ax.org", "11.0.0.1", "z.org"] {
            assert!(of(true, by_proxy, variables).unwrap().is_some(), "{by_proxy}");
        }
        assert_eq!(of(true, "a.net", &[]).unwrap(), None);
        let error = of(true, "a.net", &[("HTTPS_PROXY", "socks5://u:secret@h")]).unwrap_err();
        assert_eq!(error.to_string(), "HTTPS_PROXY is not of the form http://[user:password@]host:port");
    }
}
