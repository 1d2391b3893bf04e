//! Who we are to a registry: `auth` of registries.yaml, and Secrets that `imagePullSecrets` name.

use std::fmt;

use data_encoding::BASE64;
use serde_json::Value;

use super::super::configs::{Configs, Kind};
use crate::api::Object;

#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic {
        username: String,
        password: String,
    },
    /// A refresh token, exchanged at the registry's token server.
    Identity(String),
    /// What the registry itself takes.
    Bearer(String),
}

/// Secret: not for any log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Out of the fields of registries.yaml and of Docker's configuration, whose `auth` is base64 of
    /// `username:password`. `None` if they say nothing.
    pub fn of(field: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
        let field = |name: &str| field(name).filter(|value| !value.is_empty());
        if let Some(token) = field("identity_token").or_else(|| field("identitytoken")) {
            return Some(Credentials::Identity(token));
        }
        if let Some(token) = field("registrytoken") {
            return Some(Credentials::Bearer(token));
        }
        if let Some(username) = field("username") {
            return Some(Credentials::Basic { username, password: field("password").unwrap_or_default() });
        }
        let text = String::from_utf8(BASE64.decode(field("auth")?.trim().as_bytes()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        // Docker's own writer ends some with a NUL.
        let password = password.trim_end_matches('\0');
        Some(Credentials::Basic { username: username.into(), password: password.into() })
    }
}

impl Credentials {
    /// Gives `to` all that tells them from others.
    pub fn feed(&self, to: &mut impl FnMut(&str)) {
        match self {
            Credentials::Basic { username, password } => [username, password].map(|text| to(text)),
            Credentials::Identity(token) => ["identity", token].map(to),
            Credentials::Bearer(token) => ["bearer", token].map(to),
        };
    }
}

/// What a pod's Secrets know.
pub struct Keyring {
    /// By what they are for: `host[:port][/path]`, with `*` in the host's labels; the longest first.
    keys: Vec<(String, Credentials)>,
    /// Secrets that are named and not there, or hold no credentials.
    pub missing: Vec<String>,
}

impl Keyring {
    /// Those of `imagePullSecrets`.
    pub fn of(pod: &Object, configs: &Configs) -> Keyring {
        let mut ring = Keyring { keys: Vec::new(), missing: Vec::new() };
        for reference in pod.array_at("/spec/imagePullSecrets") {
            let Some(name) = reference.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
            else {
                continue;
            };
            let secret = configs.get(Kind::Secret, pod.namespace(), name);
            if secret.is_none_or(|secret| ring.add(&secret).is_none()) {
                ring.missing.push(name.to_owned());
            }
        }
        ring.keys.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        ring
    }

    fn add(&mut self, secret: &Object) -> Option<()> {
        let data = |key: &str| {
            let text = secret.map_at("/data")?.get(key)?.as_str()?;
            serde_json::from_slice::<Value>(&BASE64.decode(text.as_bytes()).ok()?).ok()
        };
        let (new, old) = (data(".dockerconfigjson"), data(".dockercfg"));
        let auths = new.as_ref().and_then(|config| config.get("auths")).or(old.as_ref())?.as_object()?;
        for (server, entry) in auths {
            let field = |name: &str| entry.get(name)?.as_str().map(str::to_owned);
            if let Some(credentials) = Credentials::of(field) {
                self.keys.push((key(server), credentials));
            }
        }
        Some(())
    }

    /// The credentials for a repository, `host[:port]/path`, the most particular first.
    pub fn matching(&self, repository: &str) -> Vec<Credentials> {
        let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
        let is_for = |key: &str| {
            let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
            let hosts: &[&str] = if host == "docker.io" {
                &["docker.io", "index.docker.io", "registry-1.docker.io"]
            } else {
                &[host]
            };
            path.starts_with(key_path) && hosts.iter().any(|host| is_host(key_host, host))
        };
        self.keys.iter().filter(|(key, _)| is_for(key)).map(|(_, credentials)| credentials.clone()).collect()
    }
}

/// `https://index.docker.io/v1/` → `index.docker.io`
fn key(server: &str) -> String {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path.strip_prefix("v1").or_else(|| path.strip_prefix("v2")).unwrap_or(path);
    let path = path.trim_matches('/');
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// Label for label, with the same port.
fn is_host(pattern: &str, host: &str) -> bool {
    let split = |text| -> (&str, &str) { str::rsplit_once(text, ':').unwrap_or((text, "")) };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    pattern_port == port
        && pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, label)| glob(pattern, label))
}

/// `*` stands for any number of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_credentials_of_a_repository() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "x.org:5000": {"username": "port", "password": "p"},
            "*.x.org": {"username": "star"},
            "x.org/team": {"username": "team"},
            "https://x.org/v2/": {"identitytoken": "refresh", "username": "ignored"},
            "bad.org": {"auth": "%%%"},
        }});
        let config = BASE64.encode(config.to_string().as_bytes());
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {".dockerconfigjson": config}});
        let mut ring = Keyring { keys: Vec::new(), missing: Vec::new() };
        ring.add(&Object::from_value(secret).unwrap()).unwrap();
        ring.keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        let names = |repository: &str| {
            let found = ring.matching(repository).into_iter().map(|credentials| match credentials {
                Credentials::Basic { username, password } => format!("{username}:{password}"),
                Credentials::Identity(token) | Credentials::Bearer(token) => token,
            });
            found.collect::<Vec<_>>().join(" ")
        };
        for (repository, expected) in [
            ("docker.io/library/web", "hub:pw"),
            ("x.org:5000/a", "port:p"),
            ("x.org/team/a", "team: refresh"),
            ("x.org/other", "refresh"),
            ("a.x.org/b", "star:"),
            ("b.a.x.org/b", ""),
            ("bad.org/b", ""),
            ("y.org/b", ""),
        ] {
            assert_eq!(names(repository), expected, "{repository}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "axxbyc", true),
            ("a", "ab", false),
            ("a*b", "a", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
