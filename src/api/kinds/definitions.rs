//! Kinds that users define.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::{CORE, Kind, READ_WRITE, Scale, Subresource};
use crate::api::object::escape;
use crate::api::strategy::{CustomStrategy, DefinitionStrategy};
use crate::api::structural::{Node, Path};
use crate::api::table::{self, Column};
use crate::api::{Object, Reason, Status};

pub static CUSTOM_RESOURCE_DEFINITION: &Kind = &Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    list_kind: "CustomResourceDefinitionList",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[Subresource::new("status", "CustomResourceDefinition", READ_WRITE)],
    strategy: &DefinitionStrategy,
    ..CORE
};

/// What a defined kind has beyond a row of the table. The row lives as long as the process and is shared by all
/// definitions that say the same; what may change while it is served is [`Defined`].
pub struct Definition {
    /// What field selectors may name: `spec.color`.
    pub selectable: &'static [&'static str],
    now: RwLock<Arc<Defined>>,
}

/// What a definition says now.
#[derive(Debug, Default)]
pub struct Defined {
    pub schema: Node,
    /// The definition's, so that documents made from it can be told from older ones.
    pub revision: u64,
    /// Objects as they are stored may lack a default, or say another version.
    pub converts: bool,
    /// The definition is going: nothing new is taken.
    pub terminating: bool,
    /// What requests for a deprecated version are warned of.
    pub warning: Option<String>,
}

impl Definition {
    pub fn now(&self) -> Arc<Defined> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether new objects are taken.
    ///
    /// # Errors
    /// 405, as upstream words it.
    pub fn admit_new(&self) -> Result<(), Status> {
        if !self.now().terminating {
            return Ok(());
        }
        let text = "create not allowed while custom resource definition is terminating";
        Err(Status::new(Reason::MethodNotAllowed, text))
    }
}

/// Rows made so far. They are never freed, so that there is a bound to what definitions that come and go can take.
#[derive(Default)]
pub struct Definitions {
    made: BTreeMap<String, &'static Kind>,
    bytes: usize,
}

/// Bytes of text in all rows that a server makes while it runs: some ten thousand kinds.
const LIMIT: usize = 4 << 20;

impl Definitions {
    /// The kinds of a definition, one for each version, with the version's place in `spec.versions`. The definition
    /// is valid, and `names` are those that it may use. None: too many were made.
    pub fn kinds(&mut self, definition: &Object, names: &Value) -> Option<Vec<&'static Kind>> {
        let versions = definition.array_at("/spec/versions");
        let stored = definition.array_at("/status/storedVersions").len();
        let mut kinds = Vec::with_capacity(versions.len());
        for version in versions {
            let kind = self.kind(definition, version, names)?;
            let null = Value::Null;
            let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&null);
            let schema = Node::compile(schema);
            let defined = Defined {
                converts: schema.has_defaults() || versions.len() > 1 || stored > 1,
                schema,
                revision: definition.resource_version().unwrap_or(0),
                terminating: definition.deletion_timestamp().is_some(),
                warning: deprecation(definition, version, kind),
            };
            if let Some(definition) = kind.definition {
                *definition.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(defined);
            }
            kinds.push(kind);
        }
        Some(kinds)
    }

    fn kind(&mut self, definition: &Object, version: &Value, names: &Value) -> Option<&'static Kind> {
        let key = json!([
            definition.str_at("/spec/group"),
            definition.str_at("/spec/scope"),
            names,
            version.get("name"),
            version.get("subresources"),
            version.get("additionalPrinterColumns"),
            version.get("selectableFields"),
        ])
        .to_string();
        if let Some(kind) = self.made.get(&key) {
            return Some(kind);
        }
        // Once as the key, once in the row.
        self.bytes += 2 * key.len() + size_of::<Kind>() + size_of::<Definition>();
        if self.bytes > LIMIT {
            return None;
        }
        let kind = make(definition, version, names);
        self.made.insert(key, kind);
        Some(kind)
    }
}

fn make(definition: &Object, version: &Value, names: &Value) -> &'static Kind {
    let name = |key: &str| leak(names.get(key).and_then(Value::as_str).unwrap_or(""));
    let words = |key: &str| -> &'static [&'static str] {
        let words = names.get(key).and_then(Value::as_array).into_iter().flatten();
        Vec::leak(words.filter_map(Value::as_str).map(leak).collect())
    };
    let kind = name("kind");
    let has_status = version.pointer("/subresources/status").is_some_and(|status| !status.is_null());
    let scale = scale(version);
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(Subresource::new("status", kind, READ_WRITE));
    }
    if scale.is_some() {
        let body = Some(("autoscaling", "v1"));
        subresources.push(Subresource { body, ..Subresource::new("scale", "Scale", READ_WRITE) });
    }
    let selectable = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    let selectable = selectable.filter_map(|field| field.get("jsonPath")?.as_str()?.strip_prefix('.'));
    let own = Definition { selectable: Vec::leak(selectable.map(leak).collect()), now: RwLock::default() };
    Box::leak(Box::new(Kind {
        group: leak(definition.str_at("/spec/group")),
        version: leak(version.get("name").and_then(Value::as_str).unwrap_or("")),
        kind,
        plural: name("plural"),
        singular: name("singular"),
        list_kind: name("listKind"),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: definition.str_at("/spec/scope") == "Namespaced",
        subresources: Vec::leak(subresources),
        columns: columns(version),
        strategy: if has_status {
            &CustomStrategy { has_status: true }
        } else {
            &CustomStrategy { has_status: false }
        },
        scale,
        definition: Some(Box::leak(Box::new(own))),
        ..CORE
    }))
}

fn leak(text: &str) -> &'static str {
    Box::leak(Box::from(text))
}

fn scale(version: &Value) -> Option<&'static Scale> {
    let scale = version.pointer("/subresources/scale").filter(|scale| !scale.is_null())?;
    let pointer = |key: &str| {
        let path = Path::parse(scale.get(key)?.as_str()?).ok()?;
        let steps = path.fields()?;
        let pointer: String = steps.iter().map(|step| format!("/{}", escape(step))).collect();
        Some(leak(&pointer))
    };
    Some(Box::leak(Box::new(Scale {
        replicas: pointer("specReplicasPath")?,
        status_replicas: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath").unwrap_or(""),
    })))
}

fn columns(version: &Value) -> &'static [Column] {
    let added =
        version.get("additionalPrinterColumns").and_then(Value::as_array).filter(|added| !added.is_empty());
    let Some(added) = added else { return table::NAME_AND_AGE };
    let mut columns = vec![table::name()];
    columns.extend(added.iter().map(|column| {
        let text = |key: &str| leak(column.get(key).and_then(Value::as_str).unwrap_or(""));
        let priority = column.get("priority").and_then(Value::as_i64).unwrap_or(0);
        let priority = u8::try_from(priority.clamp(0, 255)).unwrap_or(0);
        table::column(
            text("name"),
            text("type"),
            text("format"),
            text("description"),
            priority,
            text("jsonPath"),
        )
    }));
    Vec::leak(columns)
}

/// What a deprecated version's requests are warned of: what the definition says, or upstream's words.
fn deprecation(definition: &Object, version: &Value, kind: &Kind) -> Option<String> {
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return None;
    }
    if let Some(text) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let mut text = format!("{} {} is deprecated", kind.api_version(), kind.kind);
    let flag = |version: &Value, key: &str| version.get(key) == Some(&Value::Bool(true));
    let others = definition.array_at("/spec/versions").iter();
    let better = others.filter(|other| flag(other, "served") && !flag(other, "deprecated"));
    let better = better.filter_map(|other| other.get("name")?.as_str());
    if let Some(better) = better
        .filter(|better| version_order(better) < version_order(kind.version))
        .min_by_key(|name| version_order(name))
    {
        text.push_str(&format!("; use {}/{better} {}", kind.group, kind.kind));
    }
    Some(text)
}

/// Orders versions as Kubernetes prefers them: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then others by name.
pub fn version_order(name: &str) -> impl Ord + use<> {
    use std::cmp::Reverse;
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with(['0', '+']));
    let parsed = name.strip_prefix('v').and_then(|rest| {
        let stages = [("alpha", 0), ("beta", 1)];
        for (word, stage) in stages {
            if let Some((major, minor)) = rest.split_once(word) {
                return Some((stage, number(major)?, number(minor)?));
            }
        }
        Some((2, number(rest)?, 0))
    });
    (Reverse(parsed), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_the_order_of_preference() {
        let mut names =
            ["v1beta2", "foo1", "v10", "v1alpha1", "v11beta2", "v2", "v01", "v3beta1", "v12alpha1"];
        names.sort_by_key(|name| version_order(name));
        assert_eq!(
            names,
            ["v10", "v2", "v11beta2", "v3beta1", "v1beta2", "v12alpha1", "v1alpha1", "foo1", "v01"]
        );
    }

    #[test]
    fn rows_are_shared_and_bounded() {
        let definition = |plural: &str, note: &str| {
            let names = json!({"plural": plural, "singular": "a", "kind": "A", "listKind": "AList"});
            let schema = json!({"type": "object", "description": note});
            let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
            let spec =
                json!({"group": "example.com", "scope": "Cluster", "names": names, "versions": versions});
            (Object::from_value(json!({"spec": spec})).unwrap(), names)
        };
        let mut rows = Definitions::default();
        let mut kinds = |plural: &str, note: &str| {
            let (definition, names) = definition(plural, note);
            rows.kinds(&definition, &names)
        };
        let first = kinds("as", "one").unwrap()[0];
        assert!(std::ptr::eq(first, kinds("as", "two").unwrap()[0]), "a schema is no part of the row");
        assert!(!std::ptr::eq(first, kinds("bs", "one").unwrap()[0]));
        let long = "x".repeat(100_000);
        let made = (0..100).take_while(|number| kinds(&format!("{long}{number}"), "").is_some()).count();
        assert!((5..50).contains(&made), "{made}");
        assert!(kinds("as", "three").is_some(), "what was made stays");
    }
}
