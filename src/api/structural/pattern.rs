//! `pattern` of strings: compiled when it is first needed, and kept while there is room for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex_lite::{Error, Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const LIMIT: usize = 256 << 10;
/// Bytes of one that is kept, and how many are: others are compiled each time.
const KEPT_LIMIT: usize = 32 << 10;
const KEPT_MOST: usize = 128;

/// How many are kept, of all definitions: they share one process's memory.
static KEPT: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub(super) struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<Kept>>,
}

#[derive(Debug)]
struct Kept(Regex);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        match self.compiled.get_or_init(|| Kept::compile(&self.text)) {
            Some(Kept(regex)) => regex.is_match(value),
            None => compile(&self.text).is_ok_and(|regex| regex.is_match(value)),
        }
    }
}

/// Compiles a pattern; why it can't be.
pub(super) fn compile(text: &str) -> Result<Regex, Error> {
    RegexBuilder::new(text).size_limit(LIMIT).build()
}

impl Kept {
    fn compile(text: &str) -> Option<Self> {
        if KEPT.fetch_add(1, Ordering::Relaxed) < KEPT_MOST
            && let Ok(regex) = RegexBuilder::new(text).size_limit(KEPT_LIMIT).build()
        {
            return Some(Self(regex));
        }
        KEPT.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_answer_kept_or_not() {
        for (text, value, matches) in
            [("^[a-z]{2,3}$", "abc", true), ("^[a-z]{2,3}$", "abcd", false), ("(", "(", false)]
        {
            let pattern = Pattern::new(text);
            assert_eq!((pattern.matches(value), pattern.matches(value)), (matches, matches), "{text}");
            assert_eq!(pattern.compiled.get().is_some_and(Option::is_some), text != "(");
        }
        // Larger than what is kept.
        let large = Pattern::new("^(a{50}){60}$");
        assert!(large.matches(&"a".repeat(3000)) && !large.matches("a"));
        assert!(large.compiled.get().is_some_and(Option::is_none));
        // No more than there is room for, and room again when they go.
        let many: Vec<Pattern> =
            (0..2 * KEPT_MOST).map(|number| Pattern::new(&format!("^{number}$"))).collect();
        for (number, pattern) in many.iter().enumerate() {
            assert!(pattern.matches(&number.to_string()) && !pattern.matches("x"));
        }
        let kept = |pattern: &&Pattern| pattern.compiled.get().is_some_and(Option::is_some);
        assert!(many.iter().filter(kept).count() <= KEPT_MOST);
        drop(many);
        let again = Pattern::new("^a$");
        assert!(again.matches("a") && kept(&&again));
    }
}
