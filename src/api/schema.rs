//! What Kubernetes objects may hold: one table of types ([`table`], `schema.txt`) drives defaults,
//! validation, strategic merge patch and the OpenAPI documents.
//!
//! The order in which a request's body goes through here:
//! 1. [`duplicates`] on the text, if the client asks for field validation;
//! 2. [`default`], which also drops nulls, as Go's decoder does;
//! 3. [`validate`], then [`Problems::rejection`] by the request's `fieldValidation`;
//! 4. [`prune`], so that what nobody knows is not stored;
//! 5. on create: [`unsupported`].

#![allow(clippy::todo)]

use super::{Cause, Kind, Object, Status};

pub mod table;

/// The query parameter `fieldValidation`: what becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped, with a `Warning` header each: what the API does when the client says nothing.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

impl FieldValidation {
    /// From the query parameter's value ("" when there is none); anything unknown is a 400... as upstream.
    pub fn parse(_value: &str) -> Result<FieldValidation, Status> {
        todo!()
    }
}

/// What is wrong with an object's shape.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first field whose JSON has another type than the table's, worded as upstream's decoder.
    pub mistyped: Option<String>,
    /// Fields that Kubernetes does not have: `spec.containers[0].foo`. At most [`MAX_PROBLEMS`].
    pub unknown: Vec<String>,
    /// Keys that came twice in one map, if the caller fills it in from [`duplicates`].
    pub duplicates: Vec<String>,
    /// Required fields that are missing and values outside a closed set.
    pub causes: Vec<Cause>,
}

/// How many unknown or duplicate fields are listed, as upstream's decoder.
pub const MAX_PROBLEMS: usize = 100;

impl Problems {
    /// Why the object can't be taken: 400 for what does not decode (with `Strict`, unknown and
    /// duplicate fields too), else 422 for the causes, else nothing.
    pub fn rejection(&self, _kind: &Kind, _name: &str, _validation: FieldValidation) -> Option<Status> {
        todo!()
    }

    /// One text for each `Warning: 299 - "…"` header: `unknown field "spec.foo"`. Not yet escaped.
    pub fn warnings(&self, _validation: FieldValidation) -> Vec<String> {
        todo!()
    }
}

/// Sets what the client left out and upstream sets: the table's constants, and what depends on other
/// fields (imagePullPolicy on the image's tag, requests on limits, serviceAccount on serviceAccountName).
/// Drops nulls, and writes quantities as strings.
pub fn default(_kind: &Kind, _object: &mut Object) {
    todo!()
}

/// Checks an object against the table. `metadata`'s rules and a kind's own are its strategy's.
pub fn validate(_kind: &Kind, _object: &Object) -> Problems {
    todo!()
}

/// Keys that come twice in one map of a JSON text, as paths: `spec.containers[0].name`. Empty when the
/// text is no JSON.
pub fn duplicates(_text: &[u8]) -> Vec<String> {
    todo!()
}

/// Drops the fields that Kubernetes does not have.
pub fn prune(_kind: &Kind, _object: &mut Object) {
    todo!()
}

/// What Kubernetes has and this release of midge does not act on, refused by name:
/// `spec.initContainers: Forbidden: not supported by midge 0.1 yet`. The object has its defaults.
pub fn unsupported(_kind: &Kind, _object: &Object) -> Vec<Cause> {
    todo!()
}
