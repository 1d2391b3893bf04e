//! What Kubernetes objects may hold: one table of types ([`table`], `schema.txt`) drives defaults,
//! validation, strategic merge patch and the OpenAPI documents.
//!
//! The order in which a request's body goes through here:
//! 1. [`duplicates`] on the text, if the client asks for field validation;
//! 2. [`default`], which also drops nulls, as Go's decoder does;
//! 3. [`validate`], then [`Problems::rejection`] by the request's `fieldValidation`;
//! 4. [`prune`], so that what nobody knows is not stored;
//! 5. on create: [`unsupported`].

use super::{Cause, Kind, Object, Reason, Status, kinds};

mod defaults;
mod defined;
mod duplicates;
pub mod table;
mod unsupported;
mod validate;

#[cfg(test)]
mod tests;

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
    /// From the query parameter's value, "" when there is none.
    pub fn parse(value: &str) -> Result<FieldValidation, Status> {
        match value {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            _ => {
                let cause = Cause::not_supported("fieldValidation", value, &["", "Ignore", "Strict", "Warn"]);
                Err(Status::new(Reason::Invalid, format!("the request's options are invalid: {cause}")))
            }
        }
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
    /// Required fields that are missing, and values outside a closed set. At most [`MAX_PROBLEMS`].
    pub causes: Vec<Cause>,
}

/// How many problems of one sort are listed, so that a flood of them is not answered with another.
pub const MAX_PROBLEMS: usize = 100;

impl Problems {
    /// Why the object can't be taken: 400 for what does not decode (with `Strict`, unknown and
    /// duplicate fields too), else 422 for the causes, else nothing.
    pub fn rejection(&self, kind: &Kind, name: &str, validation: FieldValidation) -> Option<Status> {
        let strict = || Some(format!("strict decoding error: {}", self.strict_errors().join(", ")));
        let is_strict = validation == FieldValidation::Strict && self.has_strict_errors();
        let decoding = self.mistyped.clone().or_else(|| if is_strict { strict() } else { None });
        if let Some(error) = decoding {
            return Some(Status::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: {error}",
                kind.kind, kind.version, kind.kind
            )));
        }
        (!self.causes.is_empty()).then(|| Status::invalid(kind, name, self.causes.clone()))
    }

    /// The texts of the `Warning: 299 - "…"` headers, quotes not yet escaped: `unknown field "spec.foo"`.
    pub fn warnings(&self, validation: FieldValidation) -> Vec<String> {
        if validation == FieldValidation::Warn { self.strict_errors() } else { Vec::new() }
    }

    fn has_strict_errors(&self) -> bool {
        !self.unknown.is_empty() || !self.duplicates.is_empty()
    }

    fn strict_errors(&self) -> Vec<String> {
        let unknown = self.unknown.iter().map(|path| format!("unknown field \"{path}\""));
        let duplicates = self.duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
        unknown.chain(duplicates).collect()
    }
}

fn of(kind: &Kind) -> Option<table::Type> {
    table::kind(&kind.api_version(), kind.kind)
}

/// Sets the table's constants where the client left a field out; drops nulls, and writes quantities in
/// their canonical text. What depends on other fields is the strategy's, but for a pod's serviceAccount, which is
/// serviceAccountName under another name.
pub fn default(kind: &Kind, object: &mut Object) {
    if let Some(definition) = kind.definition {
        return defined::fill(&definition.now(), object);
    }
    if let Some(of) = of(kind) {
        defaults::fill(of, object.as_map_mut());
    }
    if kind == kinds::POD {
        defaults::account(object);
    }
}

/// Checks an object against the table. `metadata`'s rules and a kind's own are its strategy's.
pub fn validate(kind: &Kind, object: &Object) -> Problems {
    if let Some(definition) = kind.definition {
        return defined::check(&definition.now(), object);
    }
    of(kind).map(|of| validate::object(of, object.as_map())).unwrap_or_default()
}

/// Keys that come twice in one map of a JSON text, as paths: `spec.containers[0].name`. Empty when the
/// text is no JSON.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    duplicates::find(text)
}

/// Drops the fields that Kubernetes does not have.
pub fn prune(kind: &Kind, object: &mut Object) {
    if let Some(definition) = kind.definition {
        return defined::prune(&definition.now(), object);
    }
    if let Some(of) = of(kind) {
        validate::prune(of, object.as_map_mut());
    }
}

/// Makes of a stored object what it is in the version of `kind`: objects of defined kinds are stored as they were
/// written, in whichever version.
pub fn convert(kind: &Kind, object: &mut Object) {
    if kind.view_of.is_some() {
        return kinds::events::show(object);
    }
    let Some(defined) = kind.definition.map(|definition| definition.now()).filter(|defined| defined.converts)
    else {
        return;
    };
    object.set("/apiVersion", kind.api_version().as_ref());
    defined::prune(&defined, object);
    defined::fill(&defined, object);
}

/// What Kubernetes has and this release of midge does not act on, refused by name:
/// `spec.initContainers: Forbidden: not supported by midge 0.1 yet`. The object has its defaults.
pub fn unsupported(kind: &Kind, object: &Object) -> Vec<Cause> {
    if kind == kinds::POD { unsupported::pod(object) } else { Vec::new() }
}
