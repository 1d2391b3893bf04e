//! What registries and their token servers say and want to hear: challenges, tokens, errors.

use data_encoding::BASE64;
use http::HeaderValue;
use serde_json::Value;

/// One challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The challenges of a header, as far as they can be read.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let length = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        if length == 0 {
            return challenges;
        }
        let (word, after) = rest.split_at(length);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
            continue;
        };
        let (value, after) = read_value(value.trim_start());
        if let Some(challenge) = challenges.last_mut() {
            challenge.parameters.push((word.to_owned(), value));
        }
        rest = after;
    }
}

/// A token or a quoted string, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find([',', ' ']).unwrap_or(text.len());
        let (value, rest) = text.split_at(length);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

pub fn bearer(token: &str) -> Option<HeaderValue> {
    secret(format!("Bearer {token}"))
}

pub fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    secret(format!("Basic {}", BASE64.encode(format!("{username}:{password}").as_bytes())))
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The token in a token server's answer.
pub fn token(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let field = |name: &str| answer.get(name)?.as_str().filter(|token| !token.is_empty());
    field("token").or_else(|| field("access_token")).map(str::to_owned)
}

/// What a registry's error says in words, short and on one line.
pub fn detail(answer: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(answer).ok();
    let said = answer.as_ref().and_then(|answer| {
        let first = answer.get("errors")?.get(0)?;
        first
            .get("message")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .or(first.get("code")?.as_str())
    });
    let said = said.or_else(|| answer.as_ref()?.get("details")?.as_str()).unwrap_or_default();
    said.chars().filter(|character| !character.is_control()).take(200).collect()
}

/// `application/x-www-form-urlencoded`
#[derive(Default)]
pub struct Form(String);

impl Form {
    /// Without a value it is left out.
    pub fn push(&mut self, name: &str, value: &str) {
        use std::fmt::Write;
        if value.is_empty() {
            return;
        }
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' => self.0.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => self.0.push(char::from(byte)),
                byte => {
                    let _ = write!(self.0, "%{byte:02X}");
                }
            }
        }
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let found = challenges(
            r#"Bearer realm="https://a.org/token?x=1,2",service="r \"q\"",scope="repository:a/b:pull,push", Basic realm=x"#,
        );
        assert_eq!(found.len(), 2);
        assert!(found[0].is("bearer") && found[1].is("BASIC"));
        assert_eq!(found[0].parameter("realm"), Some("https://a.org/token?x=1,2"));
        assert_eq!(found[0].parameter("Service"), Some("r \"q\""));
        assert_eq!(found[0].parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(found[1].parameter("realm"), Some("x"));
        for odd in ["", ",", "=", "a=", "Bearer realm=\"open", "é=\"\\", "Bearer ==,=", "\"x"] {
            challenges(odd);
        }
    }

    #[test]
    fn reads_answers_and_writes_forms() {
        assert_eq!(token(br#"{"access_token":"a"}"#).as_deref(), Some("a"));
        assert_eq!(token(br#"{"token":"","access_token":"a"}"#).as_deref(), Some("a"));
        assert_eq!(token(b"[]"), None);
        assert_eq!(detail(br#"{"errors":[{"code":"X","message":"no\nsuch"}]}"#), "nosuch");
        assert_eq!(detail(br#"{"errors":[{"code":"X"}]}"#), "X");
        assert_eq!(detail(b"<html>"), "");
        let mut form = Form::default();
        form.push("scope", "repository:a/b:pull");
        form.push("service", "");
        form.push("t", "+ &");
        assert_eq!(form.into_text(), "scope=repository%3Aa%2Fb%3Apull&t=%2B%20%26");
    }
}
