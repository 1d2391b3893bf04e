//! Lists, in pages.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{Registry, Selectors};
use crate::api::{Kind, Object, Status, object};

/// One object as it is stored: compact, parsed only on demand.
#[derive(Clone, Debug)]
pub struct Item {
    pub revision: u64,
    pub value: Arc<[u8]>,
}

impl Item {
    /// The object, with its resourceVersion.
    pub fn object(&self) -> Result<Object, Status> {
        let mut object = Object::from_slice(&self.value).map_err(Status::internal)?;
        object.set("/metadata/resourceVersion", self.revision.to_string());
        Ok(object)
    }

    /// The object's JSON, with its resourceVersion, without parsing.
    pub fn json(&self) -> Vec<u8> {
        object::with_resource_version(&self.value, self.revision)
    }
}

/// Which part of a list; the default is all of it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most so many items; 0 is no limit.
    pub limit: usize,
    /// The `token` of the page before.
    pub token: Option<String>,
}

/// Objects in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub items: Vec<Item>,
    /// The list's resourceVersion: a watch from here misses nothing.
    pub revision: u64,
    /// What asks for the next page; none on the last.
    pub token: Option<String>,
    /// How many items follow this page; unknown with selectors.
    pub remaining: Option<u64>,
}

/// How many entries are looked at in one go when selectors pick from them.
const CHUNK: usize = 256;

impl Registry {
    /// The objects of a kind in one namespace, or in all of them.
    ///
    /// All pages have the first one's revision; a later page shows changes that came in between, and a watch
    /// from that revision repeats them.
    ///
    /// Errors: 410 for a continue token whose revision is too old to watch from, 400 for one that is none.
    pub fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selectors: &Selectors,
        page: &Page,
    ) -> Result<List, Status> {
        let prefix = kind.prefix(namespace);
        let start = page.token.as_deref().map(|text| Token::parse(text, &prefix)).transpose()?;
        if let Some(token) = &start {
            self.store.watch(&prefix, token.revision).map_err(|_| Status::expired(EXPIRED))?;
        }
        let everything = selectors.labels.is_empty() && selectors.fields.is_empty();
        let mut after = start.as_ref().map(|token| format!("{prefix}{}", token.after));
        let mut list = List { revision: start.map_or(0, |token| token.revision), ..List::default() };
        loop {
            let chunk = if everything { page.limit } else { CHUNK };
            let found = self.store.list(&prefix, after.as_deref(), chunk);
            if list.revision == 0 {
                list.revision = found.revision;
            }
            let (mut left, count) = (found.more, found.entries.len());
            for (index, entry) in found.entries.into_iter().enumerate() {
                let full = page.limit > 0 && list.items.len() == page.limit;
                if full {
                    left += count - index;
                    break;
                }
                if selectors.match_stored(&entry.key, &entry.value)? {
                    list.items.push(Item { revision: entry.revision, value: entry.value });
                }
                after = Some(entry.key.to_string());
            }
            let full = page.limit > 0 && list.items.len() >= page.limit;
            if left == 0 {
                return Ok(list);
            }
            if full {
                let last = after.as_deref().and_then(|key| key.strip_prefix(&*prefix)).unwrap_or_default();
                list.token = Some(Token { revision: list.revision, after: last.to_owned() }.format());
                list.remaining = everything.then_some(left as u64);
                return Ok(list);
            }
        }
    }
}

/// Upstream's words.
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter.";

/// Where a list goes on.
#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "rv")]
    revision: u64,
    /// The last key that was returned, without the list's prefix.
    #[serde(rename = "after")]
    after: String,
}

impl Token {
    fn parse(text: &str, prefix: &str) -> Result<Self, Status> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token.filter(|token| token.revision > 0 && token.after.len() < 1024).ok_or_else(|| {
            Status::bad_request(format!("continue key is not valid: it was not made for a list of {prefix}"))
        })
    }

    fn format(&self) -> String {
        BASE64URL_NOPAD.encode(&serde_json::to_vec(self).unwrap_or_default())
    }
}
