//! Image references: from what people write to the names of containerd's image records.

use std::fmt;

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    Empty,
    TooLong,
    UpperCase,
    Format,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Empty => "image reference is empty",
            Invalid::TooLong => "image name is longer than 255 characters",
            Invalid::UpperCase => "repository name must be lowercase",
            Invalid::Format => "invalid reference format",
        })
    }
}

impl std::error::Error for Invalid {}

const DEFAULT_HOST: &str = "docker.io";
const NAME_LIMIT: usize = 255;

/// `busybox` → `docker.io/library/busybox:latest`; `x.org/a/b@sha256:…` and full names stay as they are.
/// With a tag and a digest the digest counts, and the tag is dropped.
pub fn normalize(reference: &str) -> Result<String, Invalid> {
    if reference.is_empty() {
        return Err(Invalid::Empty);
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
        Some(_) => return Err(Invalid::Format),
        None => (reference, None),
    };
    // A colon before a slash belongs to a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(Invalid::Format);
    }
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => (DEFAULT_HOST, name),
    };
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Invalid::UpperCase);
    }
    if !path.split('/').all(is_component) || !is_host_valid(host) {
        return Err(Invalid::Format);
    }
    let library = if host == DEFAULT_HOST && !path.contains('/') { "library/" } else { "" };
    let name = format!("{host}/{library}{path}");
    if name.len() > NAME_LIMIT {
        return Err(Invalid::TooLong);
    }
    Ok(match digest {
        Some(digest) => format!("{name}@{digest}"),
        None => format!("{name}:{}", tag.unwrap_or("latest")),
    })
}

/// The tag is `latest`, written or implied, and no digest is given: pulled anew by default.
pub fn is_latest(normalized: &str) -> bool {
    normalized.ends_with(":latest")
}

/// A normalised reference without tag and digest.
pub fn repository(normalized: &str) -> &str {
    let name = normalized.split_once('@').map_or(normalized, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The digest of a normalised reference, if it has one.
pub fn digest(normalized: &str) -> Option<&str> {
    normalized.split_once('@').map(|(_, digest)| digest)
}

/// `sha256:` and 64 digits of lower-case hex, or the same for sha512.
pub fn is_digest(text: &str) -> bool {
    let (length, hex) = match text.split_once(':') {
        Some(("sha256", hex)) => (64, hex),
        Some(("sha512", hex)) => (128, hex),
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// The first part names a registry, and not a folder on the default one.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host_valid(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The last colon of an IPv6 address without port is inside the brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name_valid = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    name_valid && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower-case letters and digits, with one `.`, one or two `_` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    word(first)
        && word(last)
        && bytes.split(word).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn fills_in_what_is_left_out() {
        for (written, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("a/b", "docker.io/a/b:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/library/busybox:latest", "docker.io/library/busybox:latest"),
            ("localhost/b", "localhost/b:latest"),
            ("localhost:5000/b", "localhost:5000/b:latest"),
            ("x.org:5000/a/b/c:t", "x.org:5000/a/b/c:t"),
            ("[::1]:5000/b", "[::1]:5000/b:latest"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ] {
            assert_eq!(normalize(written).as_deref(), Ok(full));
            assert_eq!(normalize(full).as_deref(), Ok(full));
        }
        let digested = format!("docker.io/library/busybox@{DIGEST}");
        assert_eq!(normalize(&format!("busybox:1@{DIGEST}")), Ok(digested.clone()));
        assert_eq!(repository(&digested), "docker.io/library/busybox");
        assert_eq!(repository("x.org:5000/b:1"), "x.org:5000/b");
        assert_eq!(digest(&digested), Some(DIGEST));
        assert!(is_latest("x.org:5000/b:latest") && !is_latest("x.org:5000/b:1") && !is_latest(&digested));
    }

    #[test]
    fn refuses_what_is_none() {
        assert_eq!(normalize(""), Err(Invalid::Empty));
        assert_eq!(normalize("Busybox"), Err(Invalid::UpperCase));
        assert_eq!(normalize(&"a".repeat(256)), Err(Invalid::TooLong));
        for bad in [
            "a b",
            "a:",
            "a//b",
            "a/",
            "/a",
            "a@sha256:12",
            "a___b",
            "a..b",
            "-a",
            "a:.t",
            "x.org:p/a",
            "ä",
            "a\nb",
        ] {
            assert_eq!(normalize(bad), Err(Invalid::Format), "{bad}");
        }
    }
}
