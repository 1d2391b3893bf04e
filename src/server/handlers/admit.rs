//! What happens to every object that a client sends, before the registry sees it.

use hyper::header::USER_AGENT;

use crate::api::apply::{Operation, Writer};
use crate::api::kinds::SERVICE;
use crate::api::schema::{self, FieldValidation};
use crate::api::{Cause, Kind, Object, Status, strategy};
use crate::server::options::invalid;
use crate::server::registry::{Subresource, WriteOptions};
use crate::server::reply::{self, Reply};

use super::Call;

/// The most bytes of a writer's name.
const MAX_MANAGER: usize = 128;

impl Call<'_> {
    /// `fieldValidation`.
    pub fn field_validation(&self) -> Result<FieldValidation, Status> {
        FieldValidation::parse(self.query.text("fieldValidation").unwrap_or(""))
    }

    /// `dryRun`, the part that is written, and who writes it.
    pub fn write_options(&self) -> Result<WriteOptions<'_>, Status> {
        let mut options = WriteOptions {
            dry_run: dry_run(self.query.all("dryRun"))?,
            writer: self.writer()?,
            ..WriteOptions::DEFAULT
        };
        options.subresource = match self.target.subresource {
            Some("status") => Subresource::Status,
            Some("finalize") => Subresource::Finalize,
            Some("ephemeralcontainers") => Subresource::EphemeralContainers,
            _ => Subresource::None,
        };
        Ok(options)
    }

    /// Who a write is noted for: `fieldManager`, else the client's program.
    ///
    /// # Errors
    /// 422 for a name that is no name.
    pub fn writer(&self) -> Result<Writer<'_>, Status> {
        let subresource = self.target.subresource.unwrap_or("");
        let agent = self.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("");
        let agent = agent.split('/').next().unwrap_or("");
        let manager = self.query.text("fieldManager").unwrap_or(match agent.get(..MAX_MANAGER) {
            Some(start) => start,
            None if agent.is_empty() => "unknown",
            None => agent,
        });
        let mut causes = Vec::new();
        if manager.len() > MAX_MANAGER {
            causes.push(Cause::too_long("fieldManager", MAX_MANAGER));
        }
        if manager.chars().any(char::is_control) {
            let detail = "should only contain printable characters";
            causes.push(Cause::invalid("fieldManager", manager, detail));
        }
        match causes.is_empty() {
            true => Ok(Writer { manager, operation: Operation::Update, subresource }),
            false if self.name().is_empty() => Err(invalid("CreateOptions.meta.k8s.io", "", causes)),
            false => Err(invalid("PatchOptions.meta.k8s.io", "", causes)),
        }
    }

    /// Checks that an object is what the path says, and gives it what it left to the path.
    ///
    /// # Errors
    /// 400, as upstream words it.
    pub fn claim(&self, object: &mut Object) -> Result<(), Status> {
        self.claim_as(self.target.kind, object)
    }

    /// The same for a subresource whose bodies are of another kind.
    pub fn claim_as(&self, kind: &Kind, object: &mut Object) -> Result<(), Status> {
        let (api_version, expected) = (object.api_version().to_owned(), kind.api_version());
        if !api_version.is_empty() && api_version != expected {
            return Err(Status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        let found = object.kind().to_owned();
        if !found.is_empty() && found != kind.kind {
            let named = kind.kind;
            return Err(Status::bad_request(format!(
                "{found} in version \"{expected}\" cannot be handled as a {named}: the path is about {}",
                kind.plural
            )));
        }
        object.set("/apiVersion", expected.as_ref());
        object.set("/kind", kind.kind);
        let namespace = object.namespace().to_owned();
        if namespace.is_empty() {
            if kind.namespaced {
                object.set("/metadata/namespace", self.namespace());
            }
        } else if namespace != self.namespace() {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let name = object.name().to_owned();
        if !self.name().is_empty() && name.is_empty() {
            object.set("/metadata/name", self.name());
        } else if !self.name().is_empty() && name != self.name() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name()
            )));
        }
        Ok(())
    }

    /// Whether what [`Call::shape`] has let through is what the registry would make of it: the same kind's, and not of
    /// a definition, which may have another schema by then.
    pub fn shapes(&self) -> bool {
        self.target.kind == self.stored() && self.target.kind.definition.is_none()
    }

    /// Checks an object's shape, drops what Kubernetes does not have, and returns warnings for that.
    /// `text` is what the client sent, for keys that came twice.
    pub fn shape(
        &self,
        object: &mut Object,
        text: Option<&[u8]>,
        validation: FieldValidation,
    ) -> Result<Vec<String>, Status> {
        let is_new = self.name().is_empty();
        let mut warnings = shape(self.target.kind, object, text, validation, is_new)?;
        if self.target.subresource.is_none() {
            warnings.extend(inert(self.target.kind));
            warnings.extend(self.target.kind.strategy.warnings(object));
        }
        Ok(warnings)
    }
}

/// Refuses what is too much to be looked into.
pub fn check_bounds(kind: &Kind, object: &Object) -> Result<(), Status> {
    match strategy::check_bounds(object) {
        None => Ok(()),
        Some(cause) => Err(Status::invalid(kind, object.name(), vec![cause])),
    }
}

/// [`Call::shape`] of an object of a given kind. `is_new`: nothing is there that it is to replace.
pub fn shape(
    kind: &Kind,
    object: &mut Object,
    text: Option<&[u8]>,
    validation: FieldValidation,
    is_new: bool,
) -> Result<Vec<String>, Status> {
    check_bounds(kind, object)?;
    schema::default(kind, object);
    let mut problems = schema::validate(kind, object);
    if let Some(text) = text.filter(|_| validation != FieldValidation::Ignore) {
        problems.duplicates = schema::duplicates(text);
    }
    if is_new && problems.mistyped.is_none() && !problems.causes.is_empty() {
        problems.causes.extend(further(kind, object, &problems.causes));
        problems.causes.truncate(schema::MAX_PROBLEMS);
    }
    if let Some(status) = problems.rejection(kind, object.name(), validation) {
        return Err(status);
    }
    if !problems.unknown.is_empty() {
        schema::prune(kind, object);
    }
    Ok(problems.warnings(validation))
}

/// What the kind's rules say against a new object whose shape is refused, so that its author need not ask twice.
fn further(kind: &Kind, object: &Object, known: &[Cause]) -> Vec<Cause> {
    let mut object = object.clone();
    let prefix: String = object.str_at("/metadata/generateName").chars().take(58).collect();
    if object.name().is_empty() && !prefix.is_empty() {
        object.set("/metadata/name", format!("{prefix}00000"));
    }
    kind.strategy.prepare_create(&mut object);
    let mut causes = strategy::validate(kind, &object, None);
    causes.retain(|cause| known.iter().all(|known| known.field != cause.field));
    causes
}

/// A warning for who writes what nothing acts on.
pub fn inert(kind: &Kind) -> Option<String> {
    let (version, plural) = (crate::VERSION, kind.plural);
    let text = match kind == SERVICE {
        true => format!(
            "midge {version} keeps the endpoints of services, but nothing routes to their addresses yet"
        ),
        false => format!("midge {version} stores {plural}, but has no controller that acts on them yet"),
    };
    kind.is_inert.then_some(text)
}

/// `dryRun=All`, or nothing.
pub fn dry_run<'q>(values: impl Iterator<Item = &'q str>) -> Result<bool, Status> {
    let mut dry = false;
    for value in values {
        match value {
            "" => {}
            "All" => dry = true,
            other => {
                let cause = Cause::not_supported("dryRun", other, &["All"]);
                return Err(invalid("CreateOptions.meta.k8s.io", "", vec![cause]));
            }
        }
    }
    Ok(dry)
}

/// Adds the warnings to a reply.
pub fn warned(mut reply: Reply, warnings: &[String]) -> Reply {
    for text in warnings {
        reply::warn(&mut reply, text);
    }
    reply
}
