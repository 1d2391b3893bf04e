//! Servers' addresses: `https://<host>[:<port>]`.

use std::fmt;
use std::str::FromStr;

/// `https://host[:port][/]`. The port is 6443 unless given (k3s's, and kubeconfigs'), the path is dropped if it is `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// A DNS name or an address; an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
}

/// Why a text is no server's address.
#[derive(Debug, PartialEq, Eq)]
pub enum UrlError {
    /// `http://`: refused by name.
    PlainHttp {
        text: String,
    },
    Scheme {
        text: String,
    },
    /// No host, or one with characters that no host has.
    Host {
        text: String,
    },
    Port {
        text: String,
    },
    /// User, path, query or fragment.
    Surplus {
        text: String,
    },
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp { text } => {
                write!(f, "`{text}` is not encrypted: the server speaks HTTPS only, write https://")
            }
            Self::Scheme { text } => write!(f, "`{text}` does not start with https://"),
            Self::Host { text } => write!(f, "`{text}` names no host"),
            Self::Port { text } => write!(f, "the port in `{text}` is not a number from 1 to 65535"),
            Self::Surplus { text } => {
                write!(f, "`{text}` has more than https://<host>:<port>: leave user, path and query out")
            }
        }
    }
}

impl std::error::Error for UrlError {}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl Url {
    /// `host:port` as in a Host header, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let own = || text.chars().take(200).collect::<String>();
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("ws://") {
            return Err(UrlError::PlainHttp { text: own() });
        }
        if !lower.starts_with("https://") && !lower.starts_with("wss://") {
            return Err(UrlError::Scheme { text: own() });
        }
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Surplus { text: own() });
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(|| UrlError::Host { text: own() })?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host { text: own() })?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(UrlError::Host { text: own() }),
                }
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(allowed) {
            return Err(UrlError::Host { text: own() });
        }
        let port = match port {
            None => 6443,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(UrlError::Port { text: own() }),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("https://pi.local:6443/", "https://pi.local:6443"),
            ("HTTPS://10.0.0.1", "https://10.0.0.1:6443"),
            ("https://[fd00::1]:443", "https://[fd00::1]:443"),
            ("wss://host", "https://host:6443"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), shown);
        }
        for text in ["https://", "https://[::1", "https://[x]:1", "https://a b", "https://:6443"] {
            assert!(matches!(text.parse::<Url>(), Err(UrlError::Host { .. })), "{text}");
        }
        for text in ["https://h:0", "https://h:65536", "https://h:", "https://fd00::1:6443"] {
            assert!(matches!(text.parse::<Url>(), Err(UrlError::Port { .. })), "{text}");
        }
        for text in ["https://user:pass@h", "https://h/path", "https://h?x"] {
            assert!(matches!(text.parse::<Url>(), Err(UrlError::Surplus { .. })), "{text}");
        }
        assert!(matches!("http://h:6443".parse::<Url>(), Err(UrlError::PlainHttp { .. })));
        assert!(matches!("h:6443".parse::<Url>(), Err(UrlError::Scheme { .. })));
    }
}
