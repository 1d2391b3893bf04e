//! Why an apply is refused, in upstream's words.

use super::managed::{Entry, Operation};
use super::set::Set;
use crate::api::status::Details;
use crate::api::{Cause, CauseReason, Kind, Object, Reason, Status};

/// What other writers own of the fields that would change.
#[derive(Default)]
pub struct Conflicts(Vec<(String, Set)>);

impl Conflicts {
    pub fn note(&mut self, entry: &Entry, taken: &Set) {
        let mut both = entry.set.clone();
        both.intersect(taken);
        if !both.is_empty() {
            self.0.push((shown(entry), both));
        }
    }

    /// Leaves out what does not count.
    pub fn allow(&mut self, allowed: &Set) {
        self.0.retain_mut(|(_, set)| {
            set.subtract(allowed);
            !set.is_empty()
        });
    }

    /// # Errors
    /// 409, if there are any.
    pub fn refuse(mut self) -> Result<(), Status> {
        self.0.sort_by(|one, other| one.0.cmp(&other.0));
        let all: Vec<(String, Vec<String>)> =
            self.0.into_iter().map(|(manager, set)| (manager, set.paths())).collect();
        let count: usize = all.iter().map(|(_, paths)| paths.len()).sum();
        let message = match all.as_slice() {
            [] => return Ok(()),
            [(manager, paths)] if count == 1 => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat())
            }
            _ => {
                let lists: Vec<String> = all
                    .iter()
                    .map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")))
                    .collect();
                format!("Apply failed with {count} conflicts: {}", lists.join("\n"))
            }
        };
        let causes = all.iter().flat_map(|(manager, paths)| {
            paths.iter().map(move |path| Cause {
                reason: CauseReason::FieldManagerConflict,
                message: format!("conflict with {manager}"),
                field: path.clone(),
            })
        });
        let mut status = Status::new(Reason::Conflict, message);
        status.details = Some(Box::new(Details { causes: causes.collect(), ..Details::default() }));
        Err(status)
    }
}

/// A writer, as messages show it.
fn shown(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

/// A configuration that the schema does not take. Upstream has no code of its own for it.
pub fn misfit(kind: &Kind, config: &Object, errors: &[String]) -> Status {
    let list = match errors {
        [only] => only.clone(),
        _ => format!("errors:\n  {}", errors.join("\n  ")),
    };
    Status::new(
        Reason::Unknown,
        format!(
            "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {list}",
            config.namespace(),
            config.name(),
            kind.group,
            kind.version,
            kind.kind
        ),
    )
}
