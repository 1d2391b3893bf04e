//! The query of a request: `metav1.ListOptions` and its siblings, as Kubernetes reads them.

use std::borrow::Cow;

/// The decoded parameters, in the order they came.
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// `a=1&b=2`, percent-encoded, `+` for a space. All of them: a command has one for each word, and a
    /// request's header is bounded.
    pub fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value of `name`; `None` when it is absent or empty, which mean the same here.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// A switch: as upstream's conversion, anything but `false`, `0` and absence turns it on, also `?follow`.
    pub fn switch(&self, name: &str) -> bool {
        self.all(name)
            .next()
            .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number; text that is none is an error that names the parameter.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, NotANumber> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => {
                let malformed = |_| NotANumber { name: name.to_owned(), text: text.to_owned() };
                text.parse().map(Some).map_err(malformed)
            }
        }
    }
}

/// A parameter that should have been a number.
#[derive(Debug)]
pub struct NotANumber {
    name: String,
    text: String,
}

impl std::fmt::Display for NotANumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid value for query parameter {}: {:?} is not a number", self.name, self.text)
    }
}

impl std::error::Error for NotANumber {}

/// Percent-decodes; a broken escape stays as it is, and bytes that are no UTF-8 become U+FFFD.
pub fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).and_then(hex_pair).filter(|_| bytes[at] == b'%');
        match (escaped, bytes[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 2;
            }
            (None, b'+') if plus_is_space => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(pair[0])? << 4 | digit(pair[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse(
            "labelSelector=app%3Dweb%2Ctier+in+(a)&watch=1&follow&limit=5&previous=false&x=%zz%4",
        );
        assert_eq!(query.text("labelSelector"), Some("app=web,tier in (a)"));
        assert!(query.switch("watch") && query.switch("follow"));
        assert!(!query.switch("previous") && !query.switch("absent"));
        assert_eq!(query.number("limit").unwrap(), Some(5_u64));
        assert_eq!(query.text("x"), Some("%zz%4"));
        let error = Query::parse("limit=many").number::<u64>("limit").unwrap_err();
        assert!(error.to_string().contains("limit"), "{error}");
    }
}
