//! How lists merge, and in which order their items end up.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Error, PATCH, clean_map, merge_map};
use crate::api::schema::table::{Merge, Type};

/// A list of maps whose items are told apart by a key.
#[derive(Clone, Copy)]
pub struct Keyed<'a> {
    /// The list's field, for errors.
    pub field: &'a str,
    pub key: &'static str,
    /// The type of the items.
    pub item: Option<Type>,
}

impl Keyed<'_> {
    fn map<'v>(&self, item: &'v Value) -> Result<&'v Map<String, Value>, Error> {
        item.as_object().ok_or_else(|| Error::NotMap { field: self.field.to_owned() })
    }

    /// What tells the item apart, as text.
    fn id(&self, item: &Map<String, Value>) -> Result<String, Error> {
        let value = item.get(self.key);
        value
            .map(Value::to_string)
            .ok_or_else(|| Error::MergeKey { field: self.field.to_owned(), key: self.key })
    }
}

/// Merges the items of a patch into those of the current list.
pub fn merge_maps(now: Vec<Value>, patch: &[Value], list: Keyed<'_>) -> Result<Vec<Value>, Error> {
    let mut gone = HashSet::new();
    let mut replace = false;
    let mut changes = Vec::new();
    for item in patch {
        let map = list.map(item)?;
        match map.get(PATCH).map(Value::as_str) {
            None | Some(Some("merge")) => changes.push(map),
            Some(Some("delete")) => drop(gone.insert(list.id(map)?)),
            Some(Some("replace")) => replace = true,
            Some(_) => {
                return Err(Error::Directive {
                    found: map.get(PATCH).map(Value::to_string).unwrap_or_default(),
                });
            }
        }
    }
    if replace {
        return Ok(changes.into_iter().map(|map| Value::Object(clean_map(map))).collect());
    }

    let mut items: Vec<(String, Map<String, Value>)> = Vec::with_capacity(now.len() + changes.len());
    for item in now {
        let Value::Object(map) = item else { return Err(Error::NotMap { field: list.field.to_owned() }) };
        let id = list.id(&map)?;
        if !gone.contains(&id) {
            items.push((id, map));
        }
    }
    let before: Vec<String> = items.iter().map(|(id, _)| id.clone()).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, id) in before.iter().enumerate() {
        places.entry(id.clone()).or_insert(place);
    }
    let mut wanted = Vec::with_capacity(changes.len());
    for change in changes {
        let id = list.id(change)?;
        wanted.push(id.clone());
        if let Some(place) = places.get(&id) {
            let map = std::mem::take(&mut items[*place].1);
            items[*place].1 = merge_map(map, change, list.item)?;
        } else {
            places.insert(id.clone(), items.len());
            items.push((id, clean_map(change)));
        }
    }
    let items = items.into_iter().map(|(id, map)| (id, Value::Object(map))).collect();
    Ok(interleave(items, &wanted, &before))
}

/// Adds the patch's scalars to the current ones; each is there once.
pub fn add_scalars(now: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let before: Vec<String> = now.iter().map(Value::to_string).collect();
    let wanted: Vec<String> = patch.iter().map(Value::to_string).collect();
    let mut seen = HashSet::new();
    let items = now
        .into_iter()
        .chain(patch.iter().cloned())
        .map(|item| (item.to_string(), item))
        .filter(|(id, _)| seen.insert(id.clone()))
        .collect();
    interleave(items, &wanted, &before)
}

/// `$deleteFromPrimitiveList/<field>`.
pub fn delete_scalars(current: &mut Map<String, Value>, field: &str, gone: &Value) -> Result<(), Error> {
    let gone = gone.as_array().ok_or_else(|| Error::NotList { field: field.to_owned() })?;
    if let Some(Value::Array(items)) = current.get_mut(field) {
        let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
        items.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}

/// A list that a `$setElementOrder/<field>` is about.
pub struct Ordered<'a> {
    pub field: &'a str,
    pub merge: Option<Merge>,
}

impl Ordered<'_> {
    fn id(&self, item: &Value) -> Result<String, Error> {
        match self.merge {
            Some(Merge::Key(key)) => {
                let list = Keyed { field: self.field, key, item: None };
                list.map(item).and_then(|map| list.id(map))
            }
            _ => Ok(item.to_string()),
        }
    }

    fn items<'v>(&self, list: &'v Value) -> Result<&'v [Value], Error> {
        list.as_array().map(Vec::as_slice).ok_or_else(|| Error::NotList { field: self.field.to_owned() })
    }

    /// What tells the items of a list apart, in its order.
    pub fn ids(&self, list: Option<&Value>) -> Result<Vec<String>, Error> {
        let Some(list) = list else { return Ok(Vec::new()) };
        self.items(list)?.iter().map(|item| self.id(item)).collect()
    }

    /// Puts the items that `order` names into its order; those that only the server knows stay in
    /// front of what they were in front of (`before` is the list before the patch).
    pub fn reorder(
        &self,
        current: &mut Map<String, Value>,
        before: &[String],
        order: &Value,
        patch: Option<&Value>,
    ) -> Result<(), Error> {
        let wanted = self.ids(Some(order))?;
        if let Some(patch) = patch.filter(|patch| !patch.is_null()) {
            let mut rest = wanted.iter();
            for item in self.items(patch)?.iter().filter(|item| item.get(PATCH).is_none()) {
                let item = self.id(item)?;
                if !rest.any(|wanted| *wanted == item) {
                    return Err(Error::Order { field: self.field.to_owned() });
                }
            }
        }
        let Some(Value::Array(items)) = current.get_mut(self.field) else { return Ok(()) };
        let items_with_ids = std::mem::take(items)
            .into_iter()
            .map(|item| Ok((self.id(&item)?, item)))
            .collect::<Result<Vec<_>, _>>()?;
        *items = interleave(items_with_ids, &wanted, before);
        Ok(())
    }
}

/// Orders items: the wanted ones as `wanted` has them, the others as they come, each of these before
/// the first remaining wanted one that it was in front of (`before` is the old order).
fn interleave(items: Vec<(String, Value)>, wanted: &[String], before: &[String]) -> Vec<Value> {
    let rank = |order: &[String]| {
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, id) in order.iter().enumerate() {
            ranks.entry(id.clone()).or_insert(rank);
        }
        ranks
    };
    let (wanted, before) = (rank(wanted), rank(before));
    let (mut named, others): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|(id, _)| wanted.contains_key(id));
    named.sort_by_key(|(id, _)| wanted.get(id).copied());
    let mut others = others.into_iter().peekable();
    let mut result = Vec::with_capacity(named.len() + others.len());
    for (id, item) in named {
        let place = before.get(&id);
        while let Some((other, _)) = others.peek() {
            let is_before = matches!((before.get(other), place), (Some(other), Some(place)) if other < place);
            if !is_before {
                break;
            }
            result.extend(others.next().map(|(_, item)| item));
        }
        result.push(item);
    }
    result.extend(others.map(|(_, item)| item));
    result
}
