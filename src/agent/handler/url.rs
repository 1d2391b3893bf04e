//! The URLs that probes and hooks fetch, and where redirects lead from them.

use std::fmt;

use http::Uri;

use super::dial::authority;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub https: bool,
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
    /// With the query, without the fragment; only what may stand in a request's first line.
    pub target: String,
}

impl Url {
    /// `path` is what a user wrote: it may have a query, and what is not allowed in one is escaped.
    pub fn new(https: bool, host: String, port: u16, path: &str) -> Url {
        let slash = if path.starts_with('/') { "" } else { "/" };
        Url { https, host, port, target: format!("{slash}{}", escape(path)) }
    }

    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// What a `Location` header means that came from here (RFC 3986 section 5). None: it is no HTTP URL.
    pub fn join(&self, location: &str) -> Option<Url> {
        let location = escape(location);
        let scheme = if self.https { "https:" } else { "http:" };
        let absolute = if location.starts_with("//") { format!("{scheme}{location}") } else { location };
        if let Some((scheme, _)) = absolute.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            let https = match scheme.to_ascii_lowercase().as_str() {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let uri: Uri = absolute.parse().ok()?;
            let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            let slash = if target.starts_with('/') { "" } else { "/" };
            return Some(Url { https, host: host.to_owned(), port, target: format!("{slash}{target}") });
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match absolute.as_bytes().first() {
            Some(b'/') => absolute,
            Some(b'?') => format!("{path}{absolute}"),
            None => self.target.clone(),
            Some(_) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{absolute}")
            }
        };
        let (path, query) =
            target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let mut target = without_dots(path);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        Some(Url { target, ..self.clone() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Escapes what may not stand in a URL, and drops the fragment.
fn escape(text: &str) -> String {
    let text = text.split('#').next().unwrap_or("");
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let hex = |offset: usize| text.as_bytes().get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        let fits = match byte {
            b'%' => hex(1) && hex(2),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            _ => byte.is_ascii_graphic(),
        };
        if fits {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_into_a_request() {
        for (path, target) in [
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/a b?x=ä#frag", "/a%20b?x=%C3%A4"),
            ("/100%", "/100%25"),
            ("/%2f", "/%2f"),
            ("/a\r\nX: y", "/a%0D%0AX:%20y"),
            ("", "/"),
        ] {
            let url = Url::new(false, "fd00::1".into(), 80, path);
            assert_eq!(url.target, target, "{path}");
            assert!(url.target.parse::<Uri>().is_ok(), "{target}");
            assert_eq!(url.to_string(), format!("http://[fd00::1]:80{target}"));
        }
    }

    #[test]
    fn redirects() {
        let from = Url::new(false, "10.0.0.1".into(), 8080, "/a/b?q");
        for (location, to) in [
            ("/x?y#z", Some("http://10.0.0.1:8080/x?y")),
            ("x", Some("http://10.0.0.1:8080/a/x")),
            ("../../x/./y/..", Some("http://10.0.0.1:8080/x/")),
            ("?r", Some("http://10.0.0.1:8080/a/b?r")),
            ("", Some("http://10.0.0.1:8080/a/b?q")),
            ("//10.0.0.1/x", Some("http://10.0.0.1:80/x")),
            ("https://10.0.0.1", Some("https://10.0.0.1:443/")),
            ("HTTPS://[fd00::1]:1/x", Some("https://[fd00::1]:1/x")),
            ("http://10.0.0.1:8080?x", Some("http://10.0.0.1:8080/?x")),
            ("ftp://10.0.0.1/", None),
            ("http://", None),
            ("http://a:99999/", None),
            ("x?u=http://y", Some("http://10.0.0.1:8080/a/x?u=http://y")),
        ] {
            assert_eq!(from.join(location).map(|url| url.to_string()).as_deref(), to, "{location}");
        }
    }
}
