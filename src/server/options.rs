//! `metav1.ListOptions`, read from a query and checked.

use super::query::Query;
use super::registry::Selectors;
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::api::status::Details;
use crate::api::{Cause, CauseReason, Kind, Reason, Status};

/// What a list or watch asks for.
#[derive(Debug, Default)]
pub struct ListOptions {
    pub selectors: Selectors,
    pub watch: bool,
    /// 0 is no limit.
    pub limit: usize,
    pub token: Option<String>,
    /// `None` when unset, `Some(0)` for "anything will do".
    pub revision: Option<u64>,
    /// The one revision that a list is to show (`resourceVersionMatch=Exact`).
    pub at: Option<u64>,
    pub timeout_seconds: Option<u64>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// # Errors
    /// 400 for what can't be read, 422 for what does not go together.
    pub fn parse(kind: &'static Kind, query: &Query<'_>) -> Result<Self, Status> {
        let bad = |error: super::query::NotANumber| Status::bad_request(error.to_string());
        let revision = match query.text("resourceVersion") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let cause = Cause::invalid("resourceVersion", text, "must be a decimal number");
                invalid("ListOptions.meta.k8s.io", "", vec![cause])
            })?),
        };
        let initial = query.text("sendInitialEvents");
        let matching = query.text("resourceVersionMatch");
        let limit = query.number("limit").map_err(bad)?.unwrap_or(0);
        // A limit without another word asks for that revision, as upstream.
        let exact = matching == Some("Exact") || matching.is_none() && limit > 0;
        let options = Self {
            selectors: Selectors {
                labels: LabelSelector::parse(query.text("labelSelector").unwrap_or(""))?,
                fields: FieldSelector::parse(kind, query.text("fieldSelector").unwrap_or(""))?,
            },
            watch: query.switch("watch"),
            limit,
            token: query.text("continue").map(str::to_owned),
            revision,
            at: revision.filter(|&revision| exact && revision > 0),
            timeout_seconds: query.number("timeoutSeconds").map_err(bad)?.filter(|&seconds| seconds > 0),
            bookmarks: query.switch("allowWatchBookmarks"),
            send_initial_events: initial.map(|_| query.switch("sendInitialEvents")),
        };
        if options.token.is_some() && options.revision.unwrap_or(0) != 0 {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let causes = options.contradictions(matching);
        if causes.is_empty() { Ok(options) } else { Err(invalid("ListOptions.meta.k8s.io", "", causes)) }
    }

    /// Upstream's `ValidateListOptions`.
    fn contradictions(&self, matching: Option<&str>) -> Vec<Cause> {
        const MATCH: &str = "resourceVersionMatch";
        let mut causes = Vec::new();
        let mut forbid = |field: &str, why: &str| causes.push(Cause::forbidden(field, why));
        if matching.is_some() && self.token.is_some() {
            forbid(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if self.watch {
            if self.send_initial_events.is_some() && matching != Some("NotOlderThan") {
                forbid(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            if self.send_initial_events.is_none() && matching.is_some() {
                forbid(
                    MATCH,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            return causes;
        }
        if self.send_initial_events.is_some() {
            forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if matching.is_some() && self.revision.is_none() {
            forbid(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if matching == Some("Exact") && self.revision == Some(0) {
            forbid(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if let Some(other) = matching.filter(|text| !matches!(*text, "Exact" | "NotOlderThan")) {
            causes.push(Cause::not_supported(MATCH, other, &["Exact", "NotOlderThan", ""]));
        }
        causes
    }
}

/// 422 about something that is no kind of the table, such as a request's options.
pub fn invalid(kind: &str, name: &str, causes: Vec<Cause>) -> Status {
    let texts: Vec<String> = causes.iter().map(Cause::to_string).collect();
    let list = match texts.as_slice() {
        [only] => only.clone(),
        _ => format!("[{}]", texts.join(", ")),
    };
    let mut status = Status::new(Reason::Invalid, format!("{kind} \"{name}\" is invalid: {list}"));
    let (short, group) = kind.split_once('.').unwrap_or((kind, ""));
    status.details = Some(Box::new(Details {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: short.to_owned(),
        causes,
        ..Details::default()
    }));
    status
}

/// 504 for a resourceVersion that this server has not reached: the client may have it from another.
pub fn check_reached(revision: Option<u64>, current: u64) -> Result<(), Status> {
    match revision {
        Some(asked) if asked > current => {
            let mut status =
                Status::gateway_timeout(format!("Too large resource version: {asked}, current: {current}"));
            let cause = Cause {
                reason: CauseReason::ResourceVersionTooLarge,
                message: "Too large resource version".to_owned(),
                field: String::new(),
            };
            status.details =
                Some(Box::new(Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() }));
            Err(status)
        }
        _ => Ok(()),
    }
}
