//! Puts a configuration over an object, and takes fields out of one.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::node::{Layout, Node};
use super::set::{self, Set};
use super::walk::{element, index};

/// `live` with everything that `config` says. The configuration fits the schema.
pub fn merge(node: Node<'_>, live: Option<&Value>, config: &Value) -> Value {
    let layout = node.layout(config);
    match (layout, live, config) {
        (Layout::Map, Some(Value::Object(live)), Value::Object(config)) => {
            let kept = live.iter().filter(|(name, _)| !config.contains_key(*name));
            let mut merged: Map<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            for (name, value) in config {
                let child = node.entry(name).map_or(Node::Unknown, |(child, _)| child);
                merged.insert(name.clone(), merge(child, live.get(name), value));
            }
            Value::Object(merged)
        }
        (layout @ (Layout::Set | Layout::Keyed(_)), Some(live @ Value::Array(_)), Value::Array(items)) => {
            Value::Array(lists(node.item(), &layout, live, items))
        }
        // A map or list that is null says nothing of its fields.
        (Layout::Map | Layout::Set | Layout::Keyed(_), Some(live), Value::Null) => live.clone(),
        _ => config.clone(),
    }
}

/// The configuration's items in its order; those that only the object has stay between the same neighbours.
fn lists(item: Node<'_>, layout: &Layout<'_>, live: &Value, config: &[Value]) -> Vec<Value> {
    let known = index(layout, item, live);
    let id = |value: &Value| element(layout, item, value).unwrap_or_default();
    let wanted: Vec<String> = config.iter().map(id).collect();
    let all: BTreeSet<&String> = wanted.iter().collect();
    // For each place of the configuration, the first item from there on that the object has, too.
    let mut next: Vec<Option<&String>> = vec![None; wanted.len() + 1];
    for (place, id) in wanted.iter().enumerate().rev() {
        next[place] = if known.contains_key(id) { Some(id) } else { next[place + 1] };
    }
    let mut left = live.as_array().into_iter().flatten().peekable();
    let mut merged = Vec::with_capacity(wanted.len());
    for (place, (value, wanted)) in config.iter().zip(&wanted).enumerate() {
        while let Some(own) = left.peek() {
            let own_id = id(own);
            if !all.contains(&own_id) {
                merged.push((*own).clone());
            } else if next[place] == Some(&own_id) {
                if wanted == &own_id {
                    left.next();
                }
                break;
            }
            left.next();
        }
        let one = known.get(wanted).filter(|items| items.len() == 1).and_then(|items| items.first().copied());
        merged.push(merge(item, one, value));
    }
    merged.extend(left.filter(|own| !all.contains(&id(own))).cloned());
    merged
}

/// `value` without the fields of a set. A map or list that loses its last one goes with it.
pub fn without(node: Node<'_>, value: &Value, gone: &Set) -> Option<Value> {
    let layout = node.layout(value);
    match (layout, value) {
        (Layout::Map, Value::Object(map)) => {
            let keep = |(name, value): (&String, &Value)| {
                let value = match gone.child(&set::field(name)) {
                    None => Some(value.clone()),
                    Some(gone) if gone.member => None,
                    Some(gone) => {
                        without(node.entry(name).map_or(Node::Unknown, |(child, _)| child), value, gone)
                    }
                };
                value.map(|value| (name.clone(), value))
            };
            let rest: Map<String, Value> = map.iter().filter_map(keep).collect();
            (!rest.is_empty() || map.is_empty()).then_some(Value::Object(rest))
        }
        (layout @ (Layout::Set | Layout::Keyed(_)), Value::Array(items)) => {
            let keep = |value: &Value| match element(&layout, node.item(), value)
                .ok()
                .and_then(|id| gone.child(&id))
            {
                None => Some(value.clone()),
                Some(gone) if gone.member => None,
                Some(gone) => without(node.item(), value, gone),
            };
            let rest: Vec<Value> = items.iter().filter_map(keep).collect();
            (!rest.is_empty() || items.is_empty()).then_some(Value::Array(rest))
        }
        _ => Some(value.clone()),
    }
}

/// The set with every field that has fields of its own in it, where the schema names it: so that a struct of
/// which nothing is left goes, too.
pub fn with_structs(node: Node<'_>, set: &Set) -> Set {
    let mut all = set.clone();
    fill(node, &mut all);
    all
}

fn fill(node: Node<'_>, set: &mut Set) {
    set.each(|element, child| {
        let below = match element.strip_prefix("f:") {
            Some(name) => {
                let entry = node.entry(name);
                child.member |= entry.is_some_and(|(_, is_named)| is_named);
                entry.map(|(below, _)| below)
            }
            None => Some(node.item()),
        };
        fill(below.unwrap_or(Node::Unknown), child);
    });
}
