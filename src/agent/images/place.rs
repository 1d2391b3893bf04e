//! Where a request goes.

use http::Uri;

/// What a request is for.
#[derive(Clone)]
pub struct Place {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// With the query.
    pub path: String,
}

impl Place {
    pub fn parse(url: &str) -> Option<Place> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Place {
            tls,
            host,
            port,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Where a `Location` header leads.
    pub fn join(&self, location: &str) -> Option<Place> {
        if let Some(rest) = location.strip_prefix("//") {
            return Place::parse(&format!("{}://{rest}", if self.tls { "https" } else { "http" }));
        }
        if location.starts_with('/') {
            return Some(Place { path: location.to_owned(), ..self.clone() });
        }
        Place::parse(location)
    }

    pub fn is_at(&self, other: &Place) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// What a connection is to.
    pub fn origin(&self) -> String {
        format!("{}:{}:{}", self.tls, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_locations() {
        let at = Place::parse("https://x.org/v2/a").unwrap();
        for (location, expected) in [
            ("/b?c", Some("true:x.org:443 /b?c")),
            ("//y.org:5/b", Some("true:y.org:5 /b")),
            ("http://[::1]:80", Some("false:::1:80 /")),
            ("https://user:secret@y.org/", None),
            ("ftp://y.org/", None),
            ("b", None),
        ] {
            let found = at.join(location).map(|place| format!("{} {}", place.origin(), place.path));
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }
}
