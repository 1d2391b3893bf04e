//! Label and field selectors, as they come in `labelSelector=` and `fieldSelector=`.

use super::{Kind, Object, Status};

/// A parsed label selector; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {}

impl LabelSelector {
    /// `a=b,c!=d,e in (f,g),h notin (i),j,!k`. The error is a 400 with upstream's text.
    pub fn parse(_text: &str) -> Result<LabelSelector, Status> {
        todo!()
    }
    /// From a `metav1.LabelSelector` (matchLabels, matchExpressions).
    pub fn from_json(_value: &serde_json::Value) -> Result<LabelSelector, Status> {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn matches(&self, _object: &Object) -> bool {
        todo!()
    }
    /// The same on a bare map of labels (None: no labels).
    pub fn matches_labels(&self, _labels: Option<&serde_json::Map<String, serde_json::Value>>) -> bool {
        todo!()
    }
}

/// A parsed field selector for one kind; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {}

impl FieldSelector {
    /// `metadata.name=x,status.phase!=y`. A field that the kind can't be selected by is a 400.
    pub fn parse(_kind: &'static Kind, _text: &str) -> Result<FieldSelector, Status> {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn matches(&self, _object: &Object) -> bool {
        todo!()
    }
    /// The name that a match must have (`metadata.name=x`), so that a list can be a single look-up.
    pub fn name(&self) -> Option<&str> {
        todo!()
    }
}
