//! `/etc/midge/registries.yaml`, in k3s's format: where images come from, and what it takes to get them.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use regex_lite::Regex;

use super::credentials::Credentials;
use super::yaml::{self, Yaml};
use crate::tls::Trust;

/// A file larger than this is not one of registries, bytes.
const LIMIT: u64 = 256 << 10;

/// Why the file can't be used. It says no more of the file than names: it holds passwords.
#[derive(Debug)]
pub enum Error {
    Read {
        path: PathBuf,
        source: io::Error,
    },
    Parse {
        path: PathBuf,
        source: yaml::Error,
    },
    /// `what` is wrong at `at`, for instance `mirrors.x.org.endpoint`.
    Value {
        path: PathBuf,
        at: String,
        what: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Parse { path, .. } => write!(f, "failed to parse `{}`", path.display()),
            Error::Value { path, at, what } => write!(f, "`{at}` in `{}` {what}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { source, .. } => Some(source),
            Error::Parse { source, .. } => Some(source),
            Error::Value { .. } => None,
        }
    }
}

/// One place to ask for an image.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// `/v2`, or the path that the file gives instead.
    pub prefix: String,
    /// The image's repository there.
    pub repository: String,
    /// The registry that this is a mirror of.
    pub mirror_of: Option<String>,
    pub credentials: Option<Credentials>,
    /// A pod's Secrets for the image's registry are for this one as well.
    pub takes_secrets: bool,
    pub trust: Trust,
}

/// What the file says.
#[derive(Default)]
pub struct Registries {
    mirrors: Vec<(String, Mirror)>,
    hosts: Vec<(String, Host)>,
}

struct Mirror {
    endpoints: Vec<Address>,
    rewrites: Vec<(Regex, String)>,
}

#[derive(Default)]
struct Host {
    credentials: Option<Credentials>,
    trust: Trust,
    /// It has a `tls` of its own.
    tls: bool,
}

#[derive(Clone)]
struct Address {
    tls: bool,
    host: String,
    port: Option<u16>,
    prefix: String,
}

impl Registries {
    /// One that is not there says nothing.
    pub fn read(path: &Path) -> Result<Registries, Error> {
        let text = fs::metadata(path).and_then(|metadata| {
            if metadata.len() > LIMIT {
                Err(io::Error::other("larger than 256 kB"))
            } else {
                fs::read_to_string(path)
            }
        });
        match text {
            Ok(text) => Registries::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Registries::default()),
            Err(source) => Err(Error::Read { path: path.into(), source }),
        }
    }

    /// `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Registries, Error> {
        let root = yaml::parse(text).map_err(|source| Error::Parse { path: path.into(), source })?;
        let wrong = |at: String, what| Error::Value { path: path.into(), at, what };
        let mut registries = Registries::default();
        for (key, value) in fields(&root, "", path)? {
            for (name, value) in fields(value, key, path)? {
                let at = format!("{key}.{name}");
                match key.as_str() {
                    "mirrors" => registries.mirrors.push((name.clone(), mirror(value, &at, path)?)),
                    "configs" => registries.hosts.push((name.clone(), host(value, &at, path)?)),
                    // k3s's embedded mirror and the like: nothing that changes where an image comes from.
                    _ => return Err(wrong(key.clone(), "is unknown: there are `mirrors` and `configs`")),
                }
            }
        }
        Ok(registries)
    }

    /// Where to ask for `repository` (`docker.io/library/web`), in turn.
    pub fn endpoints(&self, repository: &str) -> Vec<Endpoint> {
        let (registry, path) = repository.split_once('/').unwrap_or((repository, ""));
        let named =
            |name: &str| self.mirrors.iter().find(|(known, _)| known == name).map(|(_, mirror)| mirror);
        let own = named(registry);
        let mut endpoints = Vec::new();
        if let Some(mirror) = own.or_else(|| named("*")) {
            let rewrite = mirror.rewrites.iter().find(|(pattern, _)| pattern.is_match(path));
            let rewritten = rewrite.map_or_else(
                || path.to_owned(),
                |(pattern, replacement)| pattern.replace_all(path, replacement.as_str()).into_owned(),
            );
            for address in &mirror.endpoints {
                let mut endpoint = self.endpoint(address.clone(), &rewritten);
                endpoint.mirror_of = Some(registry.to_owned());
                endpoint.takes_secrets = own.is_some();
                endpoints.push(endpoint);
            }
        }
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let (name, port) = split_port(host);
        // As with containerd and Docker: on this machine a registry needs no TLS.
        let is_local =
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls = !is_local || port == Some(443) || self.host(host).is_some_and(|host| host.tls);
        let address = Address { tls, host: name.to_owned(), port, prefix: "/v2".into() };
        let mut endpoint = self.endpoint(address, path);
        if endpoint.credentials.is_none() {
            endpoint.credentials = self.host(registry).and_then(|host| host.credentials.clone());
        }
        let same = |other: &Endpoint| {
            (&other.host, other.port, &other.prefix, &other.repository)
                == (&endpoint.host, endpoint.port, &endpoint.prefix, &endpoint.repository)
        };
        if !endpoints.iter().any(same) {
            endpoints.push(endpoint);
        }
        endpoints
    }

    fn endpoint(&self, address: Address, repository: &str) -> Endpoint {
        let Address { tls, host, port, prefix } = address;
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let found = match port {
            Some(port) => self.host(&format!("{name}:{port}")).or_else(|| self.host(&name)),
            None => self.host(&name),
        };
        let found = found.or_else(|| self.host("*"));
        Endpoint {
            tls,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            host,
            prefix,
            repository: repository.to_owned(),
            mirror_of: None,
            credentials: found.and_then(|host| host.credentials.clone()),
            takes_secrets: true,
            trust: found.map(|host| host.trust.clone()).unwrap_or_default(),
        }
    }

    fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|(known, _)| known == name).map(|(_, host)| host)
    }
}

fn split_port(host: &str) -> (&str, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    (name.trim_start_matches('[').trim_end_matches(']'), port)
}

/// A mapping's entries; nothing (`mirrors:`) has none.
fn fields<'a>(value: &'a Yaml, at: &str, path: &Path) -> Result<&'a [(String, Yaml)], Error> {
    match value {
        Yaml::Map(entries) => Ok(entries),
        Yaml::Scalar(text) if text.is_empty() || text == "~" || text == "null" => Ok(&[]),
        _ => {
            let at = if at.is_empty() { "the file" } else { at };
            Err(Error::Value { path: path.into(), at: at.into(), what: "must be a mapping" })
        }
    }
}

fn mirror(value: &Yaml, at: &str, path: &Path) -> Result<Mirror, Error> {
    let wrong = |key: &str, what| Error::Value { path: path.into(), at: format!("{at}.{key}"), what };
    let mut mirror = Mirror { endpoints: Vec::new(), rewrites: Vec::new() };
    for (key, value) in fields(value, at, path)? {
        match (key.as_str(), value) {
            ("endpoint", Yaml::List(list)) => {
                for one in list {
                    let address = match one {
                        Yaml::Scalar(text) => address(text),
                        _ => None,
                    };
                    mirror.endpoints.push(
                        address.ok_or_else(|| wrong(key, "must hold addresses like https://host:5000"))?,
                    );
                }
            }
            ("endpoint", Yaml::Scalar(text)) if text.is_empty() => {}
            ("endpoint", _) => return Err(wrong(key, "must be a list of addresses")),
            ("rewrite", value) => {
                for (pattern, replacement) in fields(value, &format!("{at}.rewrite"), path)? {
                    let (Ok(pattern), Yaml::Scalar(replacement)) = (Regex::new(pattern), replacement) else {
                        return Err(wrong(key, "must map regular expressions to texts"));
                    };
                    mirror.rewrites.push((pattern, replacement.clone()));
                }
            }
            _ => return Err(wrong(key, "is unknown: there are `endpoint` and `rewrite`")),
        }
    }
    Ok(mirror)
}

fn host(value: &Yaml, at: &str, path: &Path) -> Result<Host, Error> {
    let wrong = |key: &str, what| Error::Value { path: path.into(), at: format!("{at}.{key}"), what };
    let mut host = Host::default();
    for (key, value) in fields(value, at, path)? {
        let inner = fields(value, &format!("{at}.{key}"), path)?;
        let text = |name: &str| {
            inner.iter().find(|(known, _)| known == name).and_then(|(_, value)| match value {
                Yaml::Scalar(text) if !text.is_empty() => Some(text.clone()),
                _ => None,
            })
        };
        let known: &[&str] = match key.as_str() {
            "auth" => &["username", "password", "auth", "identity_token"],
            "tls" => &["ca_file", "cert_file", "key_file", "insecure_skip_verify"],
            _ => return Err(wrong(key, "is unknown: there are `auth` and `tls`")),
        };
        if let Some((name, _)) = inner.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(wrong(&format!("{key}.{name}"), "is unknown"));
        }
        if key == "auth" {
            host.credentials = Credentials::of(text);
            if host.credentials.is_none() && !inner.is_empty() {
                return Err(wrong(key, "needs `username` and `password`, `auth` or `identity_token`"));
            }
            continue;
        }
        host.tls = !inner.is_empty();
        host.trust.ca_file = text("ca_file").map(PathBuf::from);
        host.trust.insecure = match text("insecure_skip_verify").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(wrong("tls.insecure_skip_verify", "must be true or false")),
        };
        host.trust.identity = match (text("cert_file"), text("key_file")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(wrong(key, "needs `cert_file` and `key_file`, or neither")),
        };
    }
    Ok(host)
}

/// `https://host[:port][/path]`; without a scheme it is HTTPS. The path, if there is one, stands in for `/v2`.
fn address(text: &str) -> Option<Address> {
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if uri.query().is_some() || authority.as_str().contains('@') {
        return None;
    }
    let (host, port) = split_port(authority.as_str());
    let path = uri.path().trim_end_matches('/');
    let prefix = if path.is_empty() { "/v2" } else { path };
    Some(Address { tls, host: host.to_owned(), port, prefix: prefix.into() })
}

#[cfg(test)]
mod tests;
