//! Jobs: pods that are to end, each counted once.
//!
//! A pod's finalizer comes off only once what it came to is in the stored status: its uid in
//! `uncountedTerminatedPods`, or its index in `completedIndexes`. A uid moves into the counters when its pod has no
//! finalizer any more. So it takes several plans to the end of a Job, and losing any of their writes loses no pod.

mod indexes;
mod manage;
mod policy;
#[cfg(test)]
mod tests;
mod track;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::control::{self, Action, Plan, Told, pods};
use crate::api::selector::LabelSelector;
use crate::api::{Object, time};
use indexes::Indexes;
use track::Uncounted;

/// Keeps a pod until it is counted.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// 2020: before that a clock is not set yet.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_577_836_800);

/// How a Job ends: its interim condition, and the final one that follows once all its pods are gone and counted.
struct End {
    success: bool,
    reason: String,
    message: String,
}

impl End {
    fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self { success: false, reason: reason.to_owned(), message: message.into() }
    }

    fn interim(&self) -> &'static str {
        if self.success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }
}

/// A Job as its controller sees it.
struct Look<'a> {
    job: &'a Object,
    pods: &'a [Object],
    now: SystemTime,
    /// Of an Indexed Job.
    completions: Option<i64>,
    per_index: Option<i64>,
    /// Pods are replaced once they have ended, not when they are told to.
    only_failed: bool,
    uncounted: Uncounted<'a>,
    succeeded: i64,
    failed: i64,
    /// In the stored status; then with those of pods not counted yet.
    stored_indexes: Indexes,
    indexes: Indexes,
    failed_indexes: Option<Indexes>,
}

fn condition<'a>(job: &'a Object, kind: &str) -> Option<&'a Value> {
    job.condition(kind).filter(|condition| condition["status"] == "True")
}

/// The final condition of a Job that has ended.
pub fn finished(job: &Object) -> Option<&Value> {
    condition(job, "Complete").or_else(|| condition(job, "Failed"))
}

/// Whether the pod is kept until a Job has counted it.
pub fn is_tracked(pod: &Object) -> bool {
    pod.finalizers().any(|finalizer| finalizer == FINALIZER)
}

/// A pod of a Job that is gone, or not its Job's any more, with nothing that keeps it; None if nothing did.
pub fn release(pod: &Object) -> Option<Object> {
    if !is_tracked(pod) {
        return None;
    }
    let mut pod = pod.clone();
    let kept: Vec<Value> = pod.finalizers().filter(|name| *name != FINALIZER).map(Value::from).collect();
    if kept.is_empty() {
        pod.remove("/metadata/finalizers");
    } else {
        pod.set("/metadata/finalizers", kept);
    }
    Some(pod)
}

/// `found` are the pods that the Job controls, and those of its namespace that nothing does.
pub fn plan(job: &Object, found: Vec<Object>, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    if let Some(end) = finished(job) {
        expire(job, end, now, &mut plan);
        return plan;
    }
    if !matches!(job.str_at("/spec/managedBy"), "" | "kubernetes.io/job-controller") {
        return plan;
    }
    let Ok(selector) = LabelSelector::from_json(job.at("/spec/selector").unwrap_or(&Value::Null)) else {
        return plan;
    };
    let pods = control::claim(job, &selector, found, &mut plan);
    if !plan.actions.is_empty() {
        // What is taken or let go of is counted from the next plan on.
        for action in &mut plan.actions {
            let Action::Update(pod, _) = action else { continue };
            if !control::is_controlled_by(pod, job) {
                *pod = release(pod).unwrap_or_else(|| pod.clone());
            } else if !is_tracked(pod) {
                let mut finalizers = pod.array_at("/metadata/finalizers").to_vec();
                finalizers.push(FINALIZER.into());
                pod.set("/metadata/finalizers", finalizers);
            }
        }
        return plan;
    }
    Look::new(job, &pods, now).plan(&mut plan);
    plan
}

/// Deletes a Job `ttlSecondsAfterFinished` after it ended.
fn expire(job: &Object, end: &Value, now: SystemTime, plan: &mut Plan) {
    let ttl = job.i64_at("/spec/ttlSecondsAfterFinished").and_then(|ttl| u64::try_from(ttl).ok());
    let at = end["lastTransitionTime"].as_str().and_then(time::parse);
    let (Some(ttl), Some(at), None) = (ttl, at, job.deletion_timestamp()) else { return };
    let clock = SystemTime::UNIX_EPOCH + CLOCK_IS_SET;
    if at < clock && now >= clock {
        // It ended before the clock was set: nobody knows when.
        let mut status = job.at("/status").cloned().unwrap_or_default();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == end["type"] {
                condition["lastTransitionTime"] = time::format(now).into();
            }
        }
        return plan.set_status(job, status);
    }
    match at.checked_add(Duration::from_secs(ttl)) {
        Some(at) if at <= now => plan.actions.push(Action::Delete(job.clone(), Told::Nothing)),
        Some(at) => plan.look_at(at),
        None => {}
    }
}

impl<'a> Look<'a> {
    fn new(job: &'a Object, pods: &'a [Object], now: SystemTime) -> Self {
        let indexed = job.str_at("/spec/completionMode") == "Indexed";
        let completions = job.i64_at("/spec/completions").filter(|_| indexed);
        let policy = job.at("/spec/podFailurePolicy").is_some();
        let below = completions.unwrap_or(0);
        let stored_indexes = Indexes::parse(job.str_at("/status/completedIndexes"), below);
        let per_index = job.i64_at("/spec/backoffLimitPerIndex").filter(|_| indexed);
        let mut this = Self {
            job,
            pods,
            now,
            completions,
            per_index,
            only_failed: policy || job.str_at("/spec/podReplacementPolicy") == "Failed",
            uncounted: Uncounted::of(job),
            succeeded: 0,
            failed: 0,
            indexes: stored_indexes.clone(),
            stored_indexes,
            failed_indexes: per_index.map(|_| Indexes::parse(job.str_at("/status/failedIndexes"), below)),
        };
        this.count();
        this
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.job.i64_at(&format!("/spec/{name}"))
    }

    /// Neither of an Indexed Job without an index, nor with one too high.
    fn is_valid(&self, pod: &Object) -> bool {
        self.completions.is_none() || self.index(pod).is_some()
    }

    fn index(&self, pod: &Object) -> Option<i64> {
        let index: i64 = pod.annotation(INDEX)?.parse().ok()?;
        (0..self.completions?).contains(&index).then_some(index)
    }

    /// A pod that is being deleted counts as failed, unless it is replaced only once it has ended.
    fn is_failed(&self, pod: &Object) -> bool {
        match pod.str_at("/status/phase") {
            "Failed" => true,
            "Succeeded" => false,
            _ => !self.only_failed && pod.deletion_timestamp().is_some(),
        }
    }

    fn plan(self, plan: &mut Plan) {
        let (job, now) = (self.job, self.now);
        let suspended = job.bool_at("/spec/suspend");
        let mut next = job.clone();
        let clock = SystemTime::UNIX_EPOCH + CLOCK_IS_SET;
        let mut start = job.time_at("/status/startTime").filter(|at| *at >= clock || now < clock);
        if start.is_none() && !suspended {
            start = Some(now);
        }
        let mut end = self.end(start.filter(|_| !suspended), plan);
        let active: Vec<&Object> = self.pods.iter().filter(|pod| pods::is_active(pod)).collect();
        let mut ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
        let terminating = self.pods.iter().filter(|pod| pods::is_terminating(pod)).count();
        let (present, mut gone, mut made) = (active.len(), Vec::new(), 0);
        if end.is_some() {
            gone.clone_from(&active);
        } else {
            let manages = job.deletion_timestamp().is_none();
            if manages {
                (gone, made) = self.manage(&active, terminating, plan);
            }
            let left = present - gone.len() + made;
            let complete = match self.number("completions") {
                None => self.succeeded > 0,
                Some(completions) => self.succeeded >= completions,
            };
            if complete && left == 0 {
                let message = "Reached expected number of succeeded pods".to_owned();
                end = Some(End { success: true, reason: "CompletionsReached".to_owned(), message });
            } else if manages && suspend(&mut next, suspended, now, plan) && !suspended {
                // The deadline counts from here.
                start = Some(now);
            }
        }
        ready -= gone.iter().filter(|pod| pods::is_ready(pod)).count();
        // What has to go before the Job's end has not failed: it is let go of, and deleted by the next plan.
        let spared = |pod: &Object| {
            release(pod).filter(|_| end.is_none()).map(|pod| Action::Update(pod, Told::Nothing))
        };
        let deleted = |pod: &Object| Action::Delete(pod.clone(), Told::usual("Deleted", "pod"));
        plan.actions.extend(gone.iter().map(|pod| spared(pod).unwrap_or_else(|| deleted(pod))));

        let stored = end.as_ref().is_none_or(|end| condition(job, end.interim()).is_some());
        let is_counted = self.track(end.as_ref(), stored, &gone, &mut next, plan);
        if let Some(start) = start {
            next.set("/status/startTime", time::format(start));
        }
        let left = present - gone.len() + made;
        let terminating = terminating + gone.len();
        set_count(&mut next, "active", left);
        next.set("/status/ready", ready);
        next.set("/status/terminating", terminating);
        if let Some(end) = end {
            if !stored {
                push(&mut next, end.interim(), &end, now);
            } else if is_counted && present == 0 && terminating == 0 {
                self.finish(&end, &mut next, plan);
            }
        }
        plan.set_status(job, next.remove("/status").unwrap_or_else(|| json!({})));
    }

    /// How the Job ends, if it does, before its pods are managed.
    fn end(&self, start: Option<SystemTime>, plan: &mut Plan) -> Option<End> {
        let job = self.job;
        let text = |condition: &Value, name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        let stored = |kind: &str, success: bool| {
            let found = condition(job, kind)?;
            Some(End { success, reason: text(found, "reason"), message: text(found, "message") })
        };
        if let Some(end) = stored("SuccessCriteriaMet", true).or_else(|| stored("FailureTarget", false)) {
            return Some(end);
        }
        if job.at("/spec/podFailurePolicy").is_some() {
            let failed = self.pods.iter().filter(|pod| self.is_failed(pod));
            if let Some(message) = failed.filter_map(|pod| policy::of_failure(job, pod).fails).next() {
                return Some(End::failure("PodFailurePolicy", message));
            }
        }
        let limit = self.number("backoffLimit").unwrap_or(6);
        if self.failed > limit || self.restarted_too_often(limit) {
            return Some(End::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let deadline = self.number("activeDeadlineSeconds").and_then(|seconds| u64::try_from(seconds).ok());
        if let (Some(seconds), Some(start)) = (deadline, start)
            && let Some(at) = start.checked_add(Duration::from_secs(seconds))
        {
            if at <= self.now {
                let message = "Job was active longer than specified deadline";
                return Some(End::failure("DeadlineExceeded", message));
            }
            plan.look_at(at);
        }
        let completions = self.completions?;
        if let Some(failed) = self.failed_indexes.as_ref().map(Indexes::total) {
            if self.number("maxFailedIndexes").is_some_and(|most| failed > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return Some(End::failure("MaxFailedIndexesExceeded", message));
            }
            if failed > 0 && failed + self.indexes.total() >= completions {
                return Some(End::failure("FailedIndexes", "Job has failed indexes"));
            }
        }
        let message = policy::success(job, &self.indexes, completions)?;
        Some(End { success: true, reason: "SuccessPolicy".to_owned(), message })
    }

    /// Of pods that restart their containers themselves the restarts count.
    fn restarted_too_often(&self, limit: i64) -> bool {
        if self.job.str_at("/spec/template/spec/restartPolicy") != "OnFailure" {
            return false;
        }
        let lives = |pod: &&Object| matches!(pod.str_at("/status/phase"), "Running" | "Pending");
        let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
        let statuses = self.pods.iter().filter(lives).flat_map(|pod| lists.map(|list| pod.array_at(list)));
        let restarts: i64 = statuses.flatten().filter_map(|status| status["restartCount"].as_i64()).sum();
        restarts >= limit.max(1)
    }

    fn finish(&self, end: &End, next: &mut Object, plan: &mut Plan) {
        let mut tell = |warning, reason: &'static str, message: &str| {
            plan.actions.push(Action::Event { warning, reason, message: message.to_owned() });
        };
        if end.success {
            push(next, "Complete", end, self.now);
            next.set("/status/completionTime", time::format(self.now));
            let succeeded = next.i64_at("/status/succeeded").unwrap_or(0);
            if self.number("completions").is_some_and(|completions| succeeded > completions) {
                tell(true, "TooManySucceededPods", "Too many succeeded pods");
            }
            tell(false, "Completed", "Job completed");
        } else {
            push(next, "Failed", end, self.now);
            const REASONS: [&str; 5] = [
                "PodFailurePolicy",
                "BackoffLimitExceeded",
                "DeadlineExceeded",
                "MaxFailedIndexesExceeded",
                "FailedIndexes",
            ];
            let reason = REASONS.into_iter().find(|reason| *reason == end.reason).unwrap_or("Failed");
            tell(true, reason, &end.message);
        }
    }
}

/// A counter that is left out when it is 0.
fn set_count(job: &mut Object, name: &str, count: usize) {
    let pointer = format!("/status/{name}");
    match count {
        0 => drop(job.remove(&pointer)),
        count => job.set(&pointer, count),
    }
}

fn push(job: &mut Object, kind: &str, end: &End, now: SystemTime) {
    let now = time::format(now);
    let mut conditions = job.array_at("/status/conditions").to_vec();
    conditions.push(json!({"type": kind, "status": "True", "reason": end.reason, "message": end.message,
        "lastProbeTime": now, "lastTransitionTime": now}));
    job.set("/status/conditions", conditions);
}

/// Keeps the condition Suspended true to the specification; says whether it has changed.
fn suspend(job: &mut Object, suspended: bool, now: SystemTime, plan: &mut Plan) -> bool {
    let (status, reason, message, event) = match suspended {
        true => ("True", "JobSuspended", "Job suspended", "Suspended"),
        false => ("False", "JobResumed", "Job resumed", "Resumed"),
    };
    let mut conditions = job.array_at("/status/conditions").to_vec();
    let at = conditions.iter().position(|condition| condition["type"] == "Suspended");
    let found = at.and_then(|at| conditions.get(at));
    if found.map_or(!suspended, |found| found["status"] == status) {
        return false;
    }
    let now = time::format(now);
    let condition = json!({"type": "Suspended", "status": status, "reason": reason, "message": message,
        "lastProbeTime": now, "lastTransitionTime": now});
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    job.set("/status/conditions", conditions);
    plan.actions.push(Action::Event { warning: false, reason: event, message: message.to_owned() });
    true
}
