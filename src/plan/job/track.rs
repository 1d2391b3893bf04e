//! Counting a Job's pods, each once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{End, Look, is_tracked, policy, release, set_count};
use crate::api::Object;
use crate::plan::control::{Action, Plan, Told, pods};

/// So many uids are in a status at most: it stays under 20 kB.
const MOST: usize = 500;
/// How often an index failed before a pod was made for it.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// `uncountedTerminatedPods` as stored.
pub struct Uncounted<'a> {
    succeeded: BTreeSet<&'a str>,
    failed: BTreeSet<&'a str>,
}

impl<'a> Uncounted<'a> {
    pub fn of(job: &'a Object) -> Self {
        let uids = |name: &str| {
            let list = job.array_at(&format!("/status/uncountedTerminatedPods/{name}"));
            list.iter().filter_map(Value::as_str).collect()
        };
        Self { succeeded: uids("succeeded"), failed: uids("failed") }
    }

    fn has(&self, pod: &Object) -> bool {
        self.succeeded.contains(pod.uid()) || self.failed.contains(pod.uid())
    }
}

fn annotated(pod: &Object, key: &str) -> i64 {
    pod.annotation(key).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The failures of its index before this pod: those that count, and all.
pub fn index_failures(pod: &Object) -> (i64, i64) {
    let counted = annotated(pod, FAILURES);
    (counted, counted.saturating_add(annotated(pod, IGNORED)))
}

impl<'a> Look<'a> {
    /// Counts what is in the status, and what ended since.
    pub fn count(&mut self) {
        let stored = |name: &str| self.job.i64_at(&format!("/status/{name}")).unwrap_or(0);
        let length = |uids: &BTreeSet<&str>| i64::try_from(uids.len()).unwrap_or(0);
        self.succeeded = stored("succeeded") + length(&self.uncounted.succeeded);
        self.failed = stored("failed") + length(&self.uncounted.failed);
        for pod in self.pods {
            if !is_tracked(pod) || !self.is_valid(pod) {
                continue;
            }
            let is_new = !self.uncounted.has(pod);
            if pod.str_at("/status/phase") == "Succeeded" {
                self.succeeded += i64::from(is_new);
                if let Some(index) = self.index(pod).filter(|_| !self.uncounted.failed.contains(pod.uid())) {
                    self.indexes.insert(index);
                }
            } else if self.is_failed(pod) {
                let verdict = policy::of_failure(self.job, pod);
                self.failed += i64::from(is_new && verdict.counts);
                let over = |limit| verdict.counts && index_failures(pod).0 >= limit;
                if (verdict.fails_index || self.per_index.is_some_and(over))
                    && let Some(index) = self.index(pod)
                    && let Some(failed) = &mut self.failed_indexes
                {
                    failed.insert(index);
                }
            }
        }
        if self.completions.is_some() {
            self.succeeded = self.indexes.total();
        }
    }

    pub fn may_count(&self, pod: &Object) -> bool {
        is_tracked(pod) && !self.uncounted.has(pod)
    }

    /// The failed pods that tell how often their indexes failed: they stay until others are made in their place.
    pub fn last_failures(&self) -> BTreeMap<i64, &'a Object> {
        let mut last: BTreeMap<i64, &'a Object> = BTreeMap::new();
        if self.per_index.is_none() {
            return last;
        }
        let active: BTreeSet<i64> =
            self.pods.iter().filter(|pod| pods::is_active(pod)).filter_map(|pod| self.index(pod)).collect();
        for pod in self.pods {
            let Some(index) = self.index(pod) else { continue };
            let is_over = self.indexes.contains(index)
                || self.failed_indexes.as_ref().is_some_and(|failed| failed.contains(index))
                || active.contains(&index);
            if is_over || !is_tracked(pod) || self.uncounted.has(pod) || !self.is_failed(pod) {
                continue;
            }
            let best = last.entry(index).or_insert(pod);
            if index_failures(best).1 <= index_failures(pod).1 {
                *best = pod;
            }
        }
        last
    }

    /// Notes in the status what pods came to, and lets those go of which it is stored; true when none are left to be
    /// counted. `stored`: so is how the Job ends. `gone`: what this plan deletes.
    pub fn track(
        &self,
        end: Option<&End>,
        stored: bool,
        gone: &[&Object],
        next: &mut Object,
        plan: &mut Plan,
    ) -> bool {
        let held: Vec<&Object> = self.pods.iter().filter(|pod| is_tracked(pod)).collect();
        let uids: BTreeSet<&str> = held.iter().map(|pod| pod.uid()).collect();
        let gone: BTreeSet<&str> = gone.iter().map(|pod| pod.uid()).collect();
        let [mut succeeded, mut failed] = [&self.uncounted.succeeded, &self.uncounted.failed]
            .map(|all| all.intersection(&uids).copied().collect::<Vec<&str>>());
        // Those whose pods have been let go are in the counters from now on.
        let mut counts = [
            ("succeeded", &self.uncounted.succeeded, succeeded.len()),
            ("failed", &self.uncounted.failed, failed.len()),
        ]
        .map(|(name, all, left)| {
            let before = self.job.i64_at(&format!("/status/{name}")).unwrap_or(0);
            (name, usize::try_from(before).unwrap_or(0) + all.len() - left)
        });
        let last = self.last_failures();
        let ends = end.is_some() || self.job.deletion_timestamp().is_some();
        let mut fresh = 0;
        for pod in &held {
            if gone.contains(pod.uid()) {
                continue;
            }
            if succeeded.len() + failed.len() + fresh >= MOST {
                break;
            }
            // What successPolicy ended did not fail.
            let was_ended =
                end.is_some_and(|end| end.reason == "SuccessPolicy") && pod.deletion_timestamp().is_some();
            let is_failed = self.is_failed(pod) && !was_ended;
            let succeeds = pod.str_at("/status/phase") == "Succeeded";
            let index = self.index(pod);
            let waits =
                index.is_some_and(|index| last.get(&index).is_some_and(|last| last.uid() == pod.uid()));
            if !(ends || succeeds || is_failed && !waits) {
                continue;
            }
            let mut is_stored = true;
            if self.uncounted.has(pod) {
            } else if succeeds {
                match (self.completions, index) {
                    (None, _) => {
                        succeeded.push(pod.uid());
                        is_stored = false;
                    }
                    (Some(_), Some(index)) => {
                        is_stored = self.stored_indexes.contains(index);
                        fresh += usize::from(!is_stored);
                    }
                    (Some(_), None) => {}
                }
            } else if (is_failed || end.is_some_and(|end| !end.success))
                && self.is_valid(pod)
                && policy::of_failure(self.job, pod).counts
            {
                failed.push(pod.uid());
                is_stored = false;
            }
            if is_stored && stored {
                plan.actions.extend(release(pod).map(|pod| Action::Update(pod, Told::Nothing)));
                fresh += 1;
            }
        }
        if self.completions.is_some() {
            counts[0].1 = usize::try_from(self.indexes.total()).unwrap_or(0);
            set_text(
                next,
                "completedIndexes",
                Some(self.indexes.to_string()).filter(|text| !text.is_empty()),
            );
            set_text(next, "failedIndexes", self.failed_indexes.as_ref().map(ToString::to_string));
        }
        for (name, count) in counts {
            set_count(next, name, count);
        }
        let is_counted = held.is_empty() && succeeded.is_empty() && failed.is_empty();
        let mut uncounted = json!({});
        for (name, uids) in [("succeeded", succeeded), ("failed", failed)] {
            if !uids.is_empty() {
                uncounted[name] = uids.into();
            }
        }
        next.set("/status/uncountedTerminatedPods", uncounted);
        is_counted
    }
}

fn set_text(job: &mut Object, name: &str, text: Option<String>) {
    let pointer = format!("/status/{name}");
    match text {
        None => drop(job.remove(&pointer)),
        Some(text) => job.set(&pointer, text),
    }
}
