//! JSONPath, as far as printer columns and scale subresources use it: `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    /// `[*]`, `.*`
    All,
    /// `[0]`; from the end where it is negative.
    Index(i64),
    /// `[1:3]`
    Slice(Option<i64>, Option<i64>),
    /// `[?(@.a=="b")]`
    Filter(Path, Option<(Compare, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: &[(&str, Compare)] = &[
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

/// Steps of one path, and bytes of its text.
const LIMIT: usize = 1024;

impl Path {
    /// Reads a path that begins with `.`, `[`, or (inside a filter) `@`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text.len() > LIMIT {
            return Err(format!("must have at most {LIMIT} bytes"));
        }
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (step, after) = match rest.as_bytes() {
                [b'.', b'.', ..] => {
                    return Err("recursive descent (`..`) is not supported by midge".to_owned());
                }
                [b'.', b'[', ..] => bracket(&rest[1..])?,
                [b'.', ..] => field(&rest[1..])?,
                [b'[', ..] => bracket(rest)?,
                _ => return Err(format!("unexpected `{rest}`")),
            };
            steps.extend(step);
            rest = after;
        }
        Ok(Path(steps))
    }

    /// The fields of a path of nothing else: `.spec.replicas`.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| if let Step::Field(name) = step { Some(name.as_str()) } else { None })
            .collect()
    }

    /// Everything that it leads to.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.take(value)).collect();
        }
        found
    }
}

type Parsed<'t> = Result<(Option<Step>, &'t str), String>;

/// What follows a dot.
fn field(text: &str) -> Parsed<'_> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    let mut end = text.len();
    while let Some((index, c)) = characters.next() {
        match c {
            '\\' => name.extend(characters.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = index;
                break;
            }
            ' ' | '{' | '}' | '(' | ')' | ']' | '?' | '=' | '<' | '>' | '!' => {
                return Err(format!("unexpected `{c}` in `{text}`"));
            }
            _ => name.push(c),
        }
    }
    let rest = text.get(end..).unwrap_or("");
    match name.as_str() {
        // `.` alone is the object.
        "" if rest.is_empty() => Ok((None, rest)),
        "" => Err(format!("a field's name is missing before `{rest}`")),
        "*" => Ok((Some(Step::All), rest)),
        _ => Ok((Some(Step::Field(name)), rest)),
    }
}

/// `[…]`
fn bracket(text: &str) -> Parsed<'_> {
    let end = closing(text).ok_or_else(|| format!("`{text}` is not closed"))?;
    let (inside, rest) = (text.get(1..end).unwrap_or("").trim(), text.get(end + 1..).unwrap_or(""));
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("`{inside}` is no index"));
    let optional = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
    let step = if inside == "*" {
        Step::All
    } else if let Some(condition) = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        filter(condition)?
    } else if let Some(name) = quoted(inside) {
        Step::Field(name.to_owned())
    } else if let Some((from, to)) = inside.split_once(':') {
        Step::Slice(optional(from)?, optional(to)?)
    } else {
        Step::Index(number(inside)?)
    };
    Ok((Some(step), rest))
}

/// Where the bracket that begins the text closes; quoted text is no part of it.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

/// `@.a=="b"`, `@.a`
fn filter(text: &str) -> Result<Step, String> {
    let text = text.trim();
    let path = |text: &str| match text.trim().strip_prefix('@') {
        // One level is what anybody writes; more could nest without end.
        Some(path) if !path.contains("?(") => Path::parse(path),
        _ => Err(format!("`{text}` is no condition about `@`")),
    };
    let found =
        COMPARISONS.iter().filter_map(|(word, compare)| Some((text.find(word)?, word.len(), *compare)));
    // `<=` before `<`: the longer word stands first in the table.
    let Some((at, length, compare)) = found.min_by_key(|found| found.0) else {
        return Ok(Step::Filter(path(text)?, None));
    };
    let (left, right) = (text.get(..at).unwrap_or(""), text.get(at + length..).unwrap_or("").trim());
    let value = match quoted(right) {
        Some(text) => text.into(),
        None => serde_json::from_str(right).map_err(|_| format!("`{right}` is no value"))?,
    };
    Ok(Step::Filter(path(left)?, Some((compare, value))))
}

impl Step {
    fn take<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let members = || -> Vec<&'v Value> {
            match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            }
        };
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::All => members(),
            Step::Index(index) => {
                let items = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
                place(*index, items.len()).and_then(|index| items.get(index)).into_iter().collect()
            }
            Step::Slice(from, to) => {
                let items = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
                let bound = |index: i64| place(index, items.len()).unwrap_or(0).min(items.len());
                let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
                items.get(from..to).unwrap_or(&[]).iter().collect()
            }
            Step::Filter(path, condition) => {
                let holds = |value: &&Value| {
                    let found = path.find(value);
                    match condition {
                        None => !found.is_empty(),
                        Some((compare, wanted)) => {
                            found.first().is_some_and(|found| compare.holds(found, wanted))
                        }
                    }
                };
                members().into_iter().filter(holds).collect()
            }
        }
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(index.unsigned_abs() as usize) } else { usize::try_from(index).ok() }
}

impl Compare {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right)),
        };
        match self {
            Compare::Equal => left == right || order.is_some_and(|order| order.is_eq()),
            Compare::NotEqual => left != right && !order.is_some_and(|order| order.is_eq()),
            Compare::Less => order.is_some_and(|order| order.is_lt()),
            Compare::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Compare::Greater => order.is_some_and(|order| order.is_gt()),
            Compare::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}
