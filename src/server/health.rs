//! `/healthz`, `/livez` and `/readyz`: whether this server can do its work, check by check, in upstream's words.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use hyper::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};

use super::State;
use super::query::Query;
use super::reply::{self, Reply};
use crate::api::Status;

/// Says whether a loop works: it has seen everything, and has not failed since.
#[derive(Clone, Debug, Default)]
pub struct Working(Arc<AtomicBool>);

impl Working {
    pub fn set(&self, works: bool) {
        self.0.store(works, Ordering::Relaxed);
    }

    fn or(&self, why: &'static str) -> Outcome {
        if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err(why) }
    }
}

/// The loops without which nothing that is asked for happens.
#[derive(Default)]
pub struct Loops {
    pub scheduler: Working,
    pub controllers: Working,
}

/// How a check went.
type Outcome = Result<(), &'static str>;

struct Check {
    name: &'static str,
    /// Who fails it lives, and takes no requests.
    only_ready: bool,
    run: fn(&State) -> Outcome,
}

static CHECKS: [Check; 5] = [
    Check { name: "ping", only_ready: false, run: |_| Ok(()) },
    Check {
        name: "registry",
        only_ready: false,
        run: |state| match state.registry.store().is_writable() {
            true => Ok(()),
            false => Err("the journal could not be written"),
        },
    },
    Check {
        name: "scheduler",
        only_ready: true,
        run: |state| state.loops.scheduler.or("it has not seen everything yet"),
    },
    Check {
        name: "controllers",
        only_ready: true,
        run: |state| state.loops.controllers.or("they have not seen everything yet"),
    },
    Check {
        name: "shutdown",
        only_ready: true,
        run: |state| if state.closing.is_closed() { Err("process is shutting down") } else { Ok(()) },
    },
];

/// Answers `/NAME`, and `/NAME/CHECK`; `check` is empty for all.
///
/// # Errors
/// 404 for a check that is none.
pub fn serve(state: &State, name: &str, check: &str, query: Option<&str>) -> Result<Reply, Status> {
    let mut checks = CHECKS.iter().filter(|check| name == "readyz" || !check.only_ready);
    let (passed, text) = if check.is_empty() {
        let outcomes: Vec<_> = checks.map(|check| (check.name, (check.run)(state))).collect();
        all(name, &outcomes, &Query::parse(query.unwrap_or("")))
    } else {
        let check = checks.find(|known| known.name == check).ok_or_else(Status::no_such_resource)?;
        match (check.run)(state) {
            Ok(()) => (true, String::from("ok")),
            Err(why) => (false, format!("internal server error: {why}\n")),
        }
    };
    let code = if passed { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let mut reply = reply::full(code, reply::TEXT, text);
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

/// Whether none failed, and what is said. Who may not know why is not told why: anybody may ask.
fn all(name: &str, outcomes: &[(&str, Outcome)], query: &Query<'_>) -> (bool, String) {
    let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
    let (mut passed, mut text) = (true, String::new());
    for (check, outcome) in outcomes {
        let (sign, said) = match outcome {
            _ if excluded.remove(check) => ('+', "excluded: ok"),
            Ok(()) => ('+', "ok"),
            Err(_) => {
                passed = false;
                ('-', "failed: reason withheld")
            }
        };
        let _ = writeln!(text, "[{sign}]{check} {said}");
    }
    if !excluded.is_empty() {
        let quoted: Vec<String> = excluded.iter().map(|check| format!("{check:?}")).collect();
        let quoted = quoted.join(",");
        let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {quoted}");
    }
    if passed && query.all("verbose").next().is_none() {
        return (true, String::from("ok"));
    }
    let _ = writeln!(text, "{name} check {}", if passed { "passed" } else { "failed" });
    (passed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let well = [("ping", Ok(())), ("registry", Ok(()))];
        let full = [("ping", Ok(())), ("registry", Err("no space"))];
        for (outcomes, query, passed, expected) in [
            (&well, "", true, "ok"),
            (&well, "exclude=registry", true, "ok"),
            (&well, "verbose", true, "[+]ping ok\n[+]registry ok\nreadyz check passed\n"),
            (&well, "verbose=false", true, "[+]ping ok\n[+]registry ok\nreadyz check passed\n"),
            (
                &well,
                "verbose&exclude=registry&exclude=b&exclude=a",
                true,
                "[+]ping ok\n[+]registry excluded: ok\nwarn: some health checks cannot be excluded: no matches for \
                 \"a\",\"b\"\nreadyz check passed\n",
            ),
            (&full, "", false, "[+]ping ok\n[-]registry failed: reason withheld\nreadyz check failed\n"),
            (&full, "exclude=registry", true, "ok"),
        ] {
            let said = all("readyz", outcomes, &Query::parse(query));
            assert_eq!(said, (passed, expected.to_owned()), "{query}");
        }
    }
}
