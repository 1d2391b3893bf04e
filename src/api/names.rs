//! Rules for names, labels and the like, with upstream's messages (apimachinery `util/validation`).
//!
//! Each returns the first thing that is wrong.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', \
                         and must start and end with an alphanumeric character";
const QUALIFIED_REGEX: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// RFC 1123 label: at most 63 bytes of `[a-z0-9-]`, alphanumeric at both ends.
pub fn is_dns_label(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if is_label(text) {
        return Ok(());
    }
    let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                and must start and end with an alphanumeric character";
    Err(explain(rule, LABEL, &["my-name", "123-abc"]))
}

/// RFC 1035 label: an RFC 1123 label that begins with a letter.
pub fn is_dns_1035_label(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(());
    }
    let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                alphabetic character, and end with an alphanumeric character";
    Err(explain(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]))
}

/// RFC 1123 subdomain: at most 253 bytes of labels joined by dots.
pub fn is_dns_subdomain(text: &str) -> Result<(), String> {
    at_most(text, 253)?;
    if text.split('.').all(is_label) {
        return Ok(());
    }
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                '.', and must start and end with an alphanumeric character";
    Err(explain(rule, &format!("{LABEL}(\\.{LABEL})*"), &["example.com"]))
}

/// A label's or annotation's key: `[prefix/]name` (annotations: of the key in lower case).
pub fn is_label_key(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            let rule = explain(QUALIFIED, QUALIFIED_REGEX, &["MyName", "my.name", "123-abc"]);
            return Err(format!(
                "a qualified name {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
        Some(("", _)) => return Err("prefix part must be non-empty".to_owned()),
        Some((prefix, name)) => {
            is_dns_subdomain(prefix).map_err(|message| format!("prefix part {message}"))?;
            name
        }
    };
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    at_most(name, 63).map_err(|message| format!("name part {message}"))?;
    if is_qualified(name) {
        return Ok(());
    }
    Err(format!("name part {}", explain(QUALIFIED, QUALIFIED_REGEX, &["MyName", "my.name", "123-abc"])))
}

/// A label's value: empty, or at most 63 bytes.
pub fn is_label_value(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if text.is_empty() || is_qualified(text) {
        return Ok(());
    }
    let rule = format!("a valid label must be an empty string or {}", QUALIFIED.trim_start_matches("must "));
    Err(explain(&rule, &format!("({QUALIFIED_REGEX})?"), &["MyValue", "my_value", "12345"]))
}

/// A ConfigMap's or Secret's key, which may become a file's name.
pub fn is_config_key(text: &str) -> Result<(), String> {
    at_most(text, 253)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fits) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        return Err(explain(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => Err("must not be '.'".to_owned()),
        ".." => Err("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Err("must not start with '..'".to_owned()),
        _ => Ok(()),
    }
}

/// An environment variable's name: any printable ASCII but `=`, as upstream since 1.34.
pub fn is_env_name(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        return Ok(());
    }
    let rule =
        "a valid environment variable name must consist only of printable ASCII characters other than '='";
    Err(explain(rule, "^[ -<>-~]+$", &[]))
}

/// A container port's name (IANA service name, RFC 6335 section 5.1).
pub fn is_port_name(text: &str) -> Result<(), String> {
    at_most(text, 15)?;
    let problem = if !text.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit())
        || text.is_empty()
    {
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    } else if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if text.contains("--") {
        "must not contain consecutive hyphens"
    } else if text.starts_with('-') || text.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

/// An HTTP header's name.
pub fn is_http_header(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    Err(explain(rule, "[-A-Za-z0-9]+", &["X-Header-Name"]))
}

/// A name that stands in a URL's path: what RBAC's objects are called.
pub fn is_path_segment(text: &str) -> Result<(), String> {
    if matches!(text, "." | "..") {
        return Err(format!("may not be '{text}'"));
    }
    match ["/", "%"].into_iter().find(|part| text.contains(part)) {
        Some(part) => Err(format!("may not contain '{part}'")),
        None => at_most(text, 253),
    }
}

/// A host's name, or `*.` and one.
pub fn is_host(text: &str) -> Result<(), String> {
    if !text.contains('*') {
        return is_dns_subdomain(text);
    }
    if text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        return at_most(text, 253);
    }
    let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which \
                must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric \
                character";
    Err(explain(rule, &format!("\\*\\.{LABEL}(\\.{LABEL})*"), &["*.example.com"]))
}

/// A port's number.
pub fn is_port(number: i64) -> Result<(), String> {
    if (1..=65535).contains(&number) {
        return Ok(());
    }
    Err("must be between 1 and 65535, inclusive".to_owned())
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn at_most(text: &str, limit: usize) -> Result<(), String> {
    if text.len() <= limit { Ok(()) } else { Err(format!("must be no more than {limit} bytes")) }
}

/// Upstream's wording, two blanks before "or" included.
fn explain(rule: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(
            is_dns_subdomain("Web").unwrap_err(),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
        assert_eq!(
            is_label_value("-a").unwrap_err(),
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
             '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        );
    }

    #[test]
    fn edges() {
        assert!(is_dns_label(&"a".repeat(63)).is_ok() && is_dns_label(&"a".repeat(64)).is_err());
        for bad in ["", "-a", "a-", "a.b", "A", "ä"] {
            assert!(is_dns_label(bad).is_err(), "{bad}");
        }
        assert!(is_dns_subdomain("a.b-c.1").is_ok() && is_dns_subdomain("a..b").is_err());
        for good in ["a", "A_b.c", "example.com/x"] {
            assert!(is_label_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "Ex.com/a", "a b"] {
            assert!(is_label_key(bad).is_err(), "{bad}");
        }
        assert!(is_config_key("..a").is_err() && is_config_key("a..").is_ok());
        assert!(is_env_name("my var-1").is_ok() && is_env_name("a=b").is_err());
        assert!(is_path_segment("system:a b").is_ok() && is_path_segment("a/b").is_err());
        assert!(is_host("*.a.b").is_ok() && is_host("a.*.b").is_err() && is_host("*").is_err());
        assert!(is_port_name("http-2").is_ok() && is_port_name("80").is_err());
    }
}
