//! Label selectors (`a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`).

use serde_json::{Map, Value};

use super::label_in;
use crate::api::{Object, Status, names};

/// A parsed label selector; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    /// Matches what lacks the key, too, as upstream has it.
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// The error is a 400.
    pub fn parse(text: &str) -> Result<LabelSelector, Status> {
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        while tokens.peek() != "" {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                "" => break,
                "," if tokens.peek() != "" => {}
                "," => return Err(bad("found '', expected: identifier after ','")),
                other => return Err(bad(format!("found '{other}', expected: ',' or 'end of string'"))),
            }
        }
        Ok(LabelSelector { requirements })
    }

    /// From a `metav1.LabelSelector` (matchLabels, matchExpressions).
    pub fn from_json(value: &Value) -> Result<LabelSelector, Status> {
        let mut requirements = Vec::new();
        if let Some(labels) = value.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or("").to_owned();
                requirements.push(checked(key, Test::In(vec![value]))?);
            }
        }
        for expression in value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or("");
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match (text("operator"), values.is_empty()) {
                ("In", false) => Test::In(values),
                ("NotIn", false) => Test::NotIn(values),
                ("Exists", true) => Test::Exists,
                ("DoesNotExist", true) => Test::Absent,
                ("In" | "NotIn", true) => {
                    return Err(bad("for 'in', 'notin' operators, values set can't be empty"));
                }
                ("Exists" | "DoesNotExist", false) => {
                    return Err(bad("values set must be empty for exists and does not exist"));
                }
                (other, _) => return Err(bad(format!("\"{other}\" is not a valid label selector operator"))),
            };
            requirements.push(checked(text("key"), test)?);
        }
        Ok(LabelSelector { requirements })
    }

    /// Labels that whatever matches must have.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|requirement| match &requirement.test {
            Test::In(values) if values.len() == 1 => Some((&*requirement.key, values.first()?.as_str())),
            _ => None,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.matches_labels(object.labels())
    }

    /// The same on a bare map of labels (None: no labels).
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(&|key| label_in(labels, key))
    }

    /// The same on labels that are kept in some other way.
    pub fn matches_with<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(limit) => number().is_some_and(|number| number > *limit),
                Test::Less(limit) => number().is_some_and(|number| number < *limit),
            }
        })
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, Status> {
    let absent = tokens.take("!");
    let key = tokens.next();
    if !is_word(key) {
        return Err(bad(format!("found '{key}', expected: identifier")));
    }
    if absent {
        return checked(key, Test::Absent);
    }
    let test = match tokens.peek() {
        "" | "," => Test::Exists,
        _ => match tokens.next() {
            "=" | "==" => Test::In(vec![exact_value(tokens)?]),
            "!=" => Test::NotIn(vec![exact_value(tokens)?]),
            "in" => Test::In(values(tokens)?),
            "notin" => Test::NotIn(values(tokens)?),
            operator @ (">" | "<") => {
                let value = exact_value(tokens)?;
                let Ok(number) = value.parse() else {
                    return Err(bad(format!(
                        "values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
                    )));
                };
                if operator == ">" { Test::Greater(number) } else { Test::Less(number) }
            }
            other => return Err(bad(format!("found '{other}', expected: in, notin, =, ==, !=, >, <"))),
        },
    };
    checked(key, test)
}

/// The value after an operator; none at all is the empty value.
fn exact_value(tokens: &mut Tokens<'_>) -> Result<String, Status> {
    match tokens.peek() {
        "" | "," => Ok(String::new()),
        word if is_word(word) => Ok(tokens.next().to_owned()),
        other => Err(bad(format!("found '{other}', expected: identifier"))),
    }
}

/// `(a, b)`; empty places are empty values, as upstream has it.
fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, Status> {
    if !tokens.take("(") {
        return Err(bad(format!("found '{}', expected: '('", tokens.peek())));
    }
    let mut values = Vec::new();
    loop {
        values.push(if is_word(tokens.peek()) { tokens.next().to_owned() } else { String::new() });
        match tokens.next() {
            ")" => return Ok(values),
            "," => {}
            other => return Err(bad(format!("found '{other}', expected: ',', or ')'"))),
        }
    }
}

fn checked(key: &str, test: Test) -> Result<Requirement, Status> {
    names::is_label_key(key).map_err(|message| bad(format!("key: Invalid value: \"{key}\": {message}")))?;
    if let Test::In(values) | Test::NotIn(values) = &test {
        for (index, value) in values.iter().enumerate() {
            names::is_label_value(value).map_err(|message| {
                bad(format!("values[{index}][{key}]: Invalid value: \"{value}\": {message}"))
            })?;
        }
    }
    Ok(Requirement { key: key.to_owned(), test })
}

fn bad(what: impl Into<String>) -> Status {
    Status::bad_request(format!("unable to parse requirement: {}", what.into()))
}

/// Splits into operators, brackets, commas and words; "" is the end.
struct Tokens<'a> {
    rest: &'a str,
}

const OPERATORS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

impl<'a> Tokens<'a> {
    fn peek(&self) -> &'a str {
        let text = self.rest.trim_start();
        for operator in OPERATORS {
            if text.starts_with(operator) {
                return text.get(..operator.len()).unwrap_or("");
            }
        }
        let end = text.find(|c: char| c.is_whitespace() || "=!(),<>".contains(c)).unwrap_or(text.len());
        text.get(..end).unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self.rest.trim_start().get(token.len()..).unwrap_or("");
        token
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.peek() == token;
        if there {
            self.next();
        }
        there
    }
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !OPERATORS.contains(&token)
}
