//! `NodeSelector`: terms of which one must hold (`core.v1`, as node affinity uses it).

use std::collections::BTreeMap;

use serde_json::Value;

/// Whether a node is selected. No selector selects every node; one without terms none.
pub fn selects(selector: &Value, name: &str, labels: &BTreeMap<String, String>) -> bool {
    if selector.is_null() {
        return true;
    }
    terms(selector).iter().any(|term| matches(term, name, labels))
}

/// The terms of a selector.
pub fn terms(selector: &Value) -> &[Value] {
    list(selector, "nodeSelectorTerms")
}

fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether one term selects a node. A term that says nothing matches nothing.
pub fn matches(term: &Value, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let (expressions, fields) = (list(term, "matchExpressions"), list(term, "matchFields"));
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| {
            let key = requirement["key"].as_str().unwrap_or_default();
            holds(requirement, labels.get(key).map(String::as_str))
        })
        && fields
            .iter()
            .all(|requirement| requirement["key"] == "metadata.name" && holds(requirement, Some(name)))
}

/// The names of the only nodes that can be selected, where every term names some.
pub fn names(selector: &Value) -> Option<Vec<&str>> {
    let terms = terms(selector);
    let mut names = Vec::new();
    for term in terms {
        let mut fields = list(term, "matchFields").iter();
        let field = fields.find(|field| field["key"] == "metadata.name" && field["operator"] == "In")?;
        names.extend(list(field, "values").iter().filter_map(Value::as_str));
    }
    (!terms.is_empty()).then_some(names)
}

fn holds(requirement: &Value, value: Option<&str>) -> bool {
    let values = || requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    match requirement["operator"].as_str() {
        Some("In") => value.is_some_and(|value| values().any(|one| one == value)),
        Some("NotIn") => value.is_none_or(|value| values().all(|one| one != value)),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => number(value).zip(number(values().next())).is_some_and(|(value, than)| value > than),
        Some("Lt") => number(value).zip(number(values().next())).is_some_and(|(value, than)| value < than),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_operator() {
        let labels =
            BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("cores".to_owned(), "4".to_owned())]);
        let term = |key: &str, operator: &str, values: Value| json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]});
        for (selector, expected) in [
            (Value::Null, true),
            (json!({"nodeSelectorTerms": []}), false),
            (json!({"nodeSelectorTerms": [{}]}), false),
            (term("zone", "In", json!(["a", "b"])), true),
            (term("zone", "In", json!(["b"])), false),
            (term("none", "In", json!(["b"])), false),
            (term("none", "NotIn", json!(["b"])), true),
            (term("zone", "NotIn", json!(["a"])), false),
            (term("zone", "Exists", json!([])), true),
            (term("zone", "DoesNotExist", json!([])), false),
            (term("cores", "Gt", json!(["3"])), true),
            (term("cores", "Lt", json!(["4"])), false),
            (term("zone", "Gt", json!(["3"])), false),
            (term("zone", "Odd", json!(["a"])), false),
            (
                json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}),
                true,
            ),
        ] {
            assert_eq!(selects(&selector, "n", &labels), expected, "{selector}");
        }
    }
}
