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

    /// What is wanted of it: for loops that look at every change.
    pub fn part(&self, wanted: object::Wanted) -> Result<Object, Status> {
        Object::part(&self.value, wanted).map_err(Status::internal)
    }

    /// The object's JSON, with its resourceVersion, without parsing.
    pub fn json(&self) -> Vec<u8> {
        object::with_resource_version(&self.value, self.revision)
    }
}

/// Which part of a list; the default is all of it, as it is now.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most so many items; 0 is no limit.
    pub limit: usize,
    /// The `token` of the page before.
    pub token: Option<String>,
    /// As it was at this revision.
    pub at: Option<u64>,
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
    /// All objects of a kind, in one namespace or everywhere, as they are now.
    pub fn all(&self, kind: &Kind, namespace: Option<&str>) -> Result<List, Status> {
        self.list(kind, namespace, &Selectors::default(), &Page::default())
    }

    /// [`Registry::all`], parsed: for kinds of which there are few.
    pub fn objects(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Object>, Status> {
        self.all(kind, namespace)?.items.iter().map(Item::object).collect()
    }

    /// The objects of a kind in one namespace, or in all of them. All pages show the first one's revision.
    ///
    /// Errors: 410 for a revision that is too old to be told, for a continue token with one that goes on with
    /// what is there now; 400 for a token that is none.
    pub fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selectors: &Selectors,
        page: &Page,
    ) -> Result<List, Status> {
        let prefix = kind.prefix(namespace);
        let start = page.token.as_deref().map(|text| Token::parse(text, &prefix)).transpose()?;
        let mut at = start.as_ref().map(|token| token.revision).filter(|&at| at > 0).or(page.at);
        let everything = selectors.labels.is_empty() && selectors.fields.is_empty();
        let mut after = start.as_ref().map(|token| format!("{prefix}{}", token.after));
        let mut list = List::default();
        loop {
            let chunk = if everything { page.limit } else { CHUNK };
            let found = match at {
                None => self.store.list(&prefix, after.as_deref(), chunk),
                Some(at) => {
                    let found = self.store.list_at(&prefix, after.as_deref(), chunk, at);
                    found.map_err(|_| expired(start.as_ref()))?
                }
            };
            list.revision = found.revision;
            at = Some(found.revision);
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
    You can start a new list without the continue parameter, or use the continue token in this response to \
    retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - \
    objects that were created, modified, or deleted between the time the first chunk was returned and now may \
    show up in the list.";

/// 410, after a page with the token that goes on where that page ended.
fn expired(start: Option<&Token>) -> Status {
    match start {
        None => Status::expired("The resourceVersion for the provided list is too old."),
        Some(token) => {
            let mut status = Status::expired(EXPIRED);
            status.token = Some(Token { revision: 0, after: token.after.clone() }.format().into());
            status
        }
    }
}

/// Where a list goes on.
#[derive(Serialize, Deserialize)]
struct Token {
    /// 0: whatever is there now.
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
        token.filter(|token| token.after.len() < 1024).ok_or_else(|| {
            Status::bad_request(format!("continue key is not valid: it was not made for a list of {prefix}"))
        })
    }

    fn format(&self) -> String {
        BASE64URL_NOPAD.encode(&serde_json::to_vec(self).unwrap_or_default())
    }
}
