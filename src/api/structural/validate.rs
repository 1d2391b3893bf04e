//! Holds an object against its schema, in the words of upstream's validator.

use std::collections::HashSet;

use serde_json::{Number, Value};

use super::{ListType, Node, Of, Rules, format, members};
use crate::api::Cause;
use crate::api::schema::MAX_PROBLEMS;
use crate::api::strategy::embedded;

impl Node {
    /// What is wrong with an object that is pruned and has its defaults. `apiVersion`, `kind` and `metadata` are
    /// others' to check.
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Causes(Vec::new());
        self.check(object, "", true, &mut causes);
        causes.0
    }

    pub(super) fn validate_at(&self, value: &Value, path: &str) -> Vec<Cause> {
        let mut causes = Causes(Vec::new());
        self.check(value, path, false, &mut causes);
        causes.0
    }

    fn check(&self, value: &Value, path: &str, root: bool, causes: &mut Causes) {
        if causes.are_full() || !self.check_type(value, path, causes) {
            return;
        }
        if let Some(rules) = &self.rules {
            rules.check(value, path, root, causes);
        }
        match value {
            Value::Object(map) => {
                for mut cause in if self.embedded { embedded(value) } else { Vec::new() } {
                    cause.field = child(path, &cause.field);
                    causes.push(cause);
                }
                for (name, value) in members(map, root || self.embedded) {
                    if let Some(node) = self.member(name) {
                        node.check(value, &child(path, name), false, causes);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(node) = self.items() {
                    for (index, value) in items.iter().enumerate() {
                        node.check(value, &format!("{path}[{index}]"), false, causes);
                    }
                }
                self.check_list(items, path, causes);
            }
            _ => {}
        }
    }

    /// Whether it is worth looking further.
    fn check_type(&self, value: &Value, path: &str, causes: &mut Causes) -> bool {
        let wanted = match self.of {
            _ if value.is_null() && self.nullable => return false,
            None if self.int_or_string => match value {
                Value::String(_) => return true,
                Value::Number(number) if is_integer(number) => return true,
                _ => "integer,string",
            },
            None => return true,
            Some(of) => match (of, value) {
                (Of::Array, Value::Array(_))
                | (Of::Boolean, Value::Bool(_))
                | (Of::Number, Value::Number(_))
                | (Of::Object, Value::Object(_))
                | (Of::String, Value::String(_)) => return true,
                (Of::Integer, Value::Number(number)) if is_integer(number) => return true,
                _ => of.as_str(),
            },
        };
        let found = name(value);
        causes.push(Cause::invalid(
            path,
            found,
            &format!("{path} in body must be of type {wanted}: \"{found}\""),
        ));
        false
    }

    /// Items that must differ.
    fn check_list(&self, items: &[Value], path: &str, causes: &mut Causes) {
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let identity = match &self.list {
                ListType::Atomic => return,
                ListType::Set => item.clone(),
                ListType::Map(keys) => {
                    let keys = keys
                        .iter()
                        .filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone())));
                    Value::Object(keys.collect())
                }
            };
            if !seen.insert(identity.to_string()) {
                causes.push(Cause::duplicate(format!("{path}[{index}]"), identity));
            }
        }
    }
}

impl Rules {
    fn check(&self, value: &Value, path: &str, root: bool, causes: &mut Causes) {
        let mut invalid = |detail: String| causes.push(Cause::invalid(path, value.clone(), &detail));
        match value {
            Value::Number(number) => self.check_number(number, path, &mut invalid),
            Value::String(text) => {
                if let Some(format) = self.format.as_deref().filter(|format| !format::matches(format, text)) {
                    invalid(format!("{path} in body must be of type {format}: {value}"));
                }
                if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
                    invalid(format!("{path} in body should match '{}'", pattern.text()));
                }
            }
            _ => {}
        }
        let (kind, count) = match value {
            Value::String(text) => (0, text.chars().count() as u64),
            Value::Array(items) => (1, items.len() as u64),
            Value::Object(map) => (2, map.len() as u64),
            _ => (3, 0),
        };
        if let Some(limit) = self.at_least.get(kind).copied().flatten().filter(|limit| count < *limit) {
            let what = ["should be at least", "should have at least", "should have at least"].get(kind);
            let unit = ["chars long", "items", "properties"].get(kind);
            invalid(format!("{path} in body {} {limit} {}", what.unwrap_or(&""), unit.unwrap_or(&"")));
        }
        if let Some(limit) = self.at_most.get(kind).copied().flatten().filter(|limit| count > *limit) {
            causes.push(match kind {
                0 => Cause::too_long(path, limit as usize),
                _ => Cause::too_many(path, count as usize, limit as usize),
            });
        }
        if !self.values.is_empty() && !self.values.iter().any(|known| same(known, value)) {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let known: Vec<String> = self.values.iter().map(text).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            causes.push(Cause::not_supported(path, value.clone(), &known));
        }
        if let Value::Object(map) = value {
            for name in self.required.iter().filter(|name| !map.contains_key(name.as_ref())) {
                causes.push(Cause::required(child(path, name), ""));
            }
        }
        self.check_junctors(value, path, root, causes);
    }

    fn check_number(&self, number: &Number, path: &str, invalid: &mut impl FnMut(String)) {
        let Some(value) = number.as_f64() else { return };
        if let Some(limit) = self.maximum {
            match self.exclusive_maximum {
                true if value >= limit => invalid(format!("{path} in body should be less than {limit}")),
                false if value > limit => {
                    invalid(format!("{path} in body should be less than or equal to {limit}"))
                }
                _ => {}
            }
        }
        if let Some(limit) = self.minimum {
            match self.exclusive_minimum {
                true if value <= limit => invalid(format!("{path} in body should be greater than {limit}")),
                false if value < limit => {
                    invalid(format!("{path} in body should be greater than or equal to {limit}"))
                }
                _ => {}
            }
        }
        if let Some(factor) = self.multiple_of.filter(|factor| *factor > 0.0) {
            let times = value / factor;
            if (times - times.round()).abs() > 1e-9 {
                invalid(format!("{path} in body should be a multiple of {factor}"));
            }
        }
        let fits = match self.format.as_deref() {
            Some("int32") => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Some("int64") => number.as_i64().is_some(),
            Some("float") => value.abs() <= f64::from(f32::MAX),
            _ => true,
        };
        if let Some(format) = self.format.as_deref().filter(|_| !fits) {
            invalid(format!("{path} in body must be of type {format}: \"{number}\""));
        }
    }

    fn check_junctors(&self, value: &Value, path: &str, root: bool, causes: &mut Causes) {
        let problems = |node: &Node| {
            let mut causes = Causes(Vec::new());
            node.check(value, path, root, &mut causes);
            causes.0
        };
        for node in &self.all {
            problems(node).into_iter().for_each(|cause| causes.push(cause));
        }
        let mut must =
            |what: &str| causes.push(Cause::invalid(path, value.clone(), &format!("\"{path}\" must {what}")));
        if !self.any.is_empty() && !self.any.iter().any(|node| problems(node).is_empty()) {
            must("validate at least one schema (anyOf)");
        }
        if !self.one.is_empty() {
            match self.one.iter().filter(|node| problems(node).is_empty()).count() {
                1 => {}
                0 => must("validate one and only one schema (oneOf). Found none valid"),
                count => must(&format!(
                    "validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        if self.not.as_ref().is_some_and(|node| problems(node).is_empty()) {
            must("not validate the schema (not)");
        }
    }
}

struct Causes(Vec<Cause>);

impl Causes {
    fn push(&mut self, cause: Cause) {
        if !self.are_full() {
            self.0.push(cause);
        }
    }

    fn are_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// 1 and 1.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    left == right || left.as_f64().is_some_and(|left| Some(left) == right.as_f64())
}

fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_integer(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
