//! CronJobs: a Job whenever the schedule says so, however the clock got there.

#[cfg(test)]
mod tests;
mod times;
mod zone;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::control::{self, Action, Plan, Told};
use super::job;
use crate::api::kinds::JOB;
use crate::api::{Object, cron, time};
pub use zone::Zone;

/// Tells a Job that the schedule made from one that somebody did.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So many missed times are worth a warning.
const MANY: i64 = 100;
const TOO_MANY: &str =
    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";

fn event(plan: &mut Plan, warning: bool, reason: &'static str, message: String) {
    plan.actions.push(Action::Event { warning, reason, message });
}

fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// `jobs` are those that the CronJob controls; `zone` is its time zone, or why there is none.
pub fn plan(cron: &Object, jobs: &[Object], zone: Result<Zone, String>, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    let mut next = cron.clone();
    // A clock that was ahead once left times that are of no use.
    let limit = now + Duration::from_secs(86_400);
    if next.time_at("/status/lastScheduleTime").is_some_and(|at| at > limit) {
        next.set("/status/lastScheduleTime", time::format(now));
    }
    let mut active = observe(cron, jobs, limit, &mut next, &mut plan);
    if cron.deletion_timestamp().is_none() {
        match zone {
            Err(why) => event(&mut plan, true, "UnknownTimeZone", why),
            Ok(_) if cron.bool_at("/spec/suspend") => {}
            Ok(zone) => start(cron, &zone, jobs, &next, &mut active, now, &mut plan),
        }
    }
    if active.is_empty() {
        next.remove("/status/active");
    } else {
        next.set("/status/active", active);
    }
    plan.set_status(cron, next.remove("/status").unwrap_or_else(|| json!({})));
    if plan.status.is_none() {
        // What is about to go is in the status.
        clean(cron, jobs, &mut plan);
    }
    plan
}

/// Takes in what has become of the Jobs; the list of those that run.
fn observe(
    cron: &Object,
    jobs: &[Object],
    limit: SystemTime,
    next: &mut Object,
    plan: &mut Plan,
) -> Vec<Value> {
    let known = cron.array_at("/status/active");
    let mut active = Vec::new();
    for reference in known {
        match jobs.iter().find(|job| reference["uid"] == job.uid()) {
            None => {
                let name = reference["name"].as_str().unwrap_or_default();
                event(plan, false, "MissingJob", format!("Active job went missing: {name}"));
            }
            Some(job) => match job::finished(job) {
                None => active.push(reference.clone()),
                Some(end) => {
                    let end = end["type"].as_str().unwrap_or_default();
                    let message = format!("Saw completed job: {}, condition: {end}", job.name());
                    event(plan, false, "SawCompletedJob", message);
                }
            },
        }
    }
    for job in jobs {
        let scheduled = job.annotation(SCHEDULED).and_then(time::parse);
        later(next, "/status/lastScheduleTime", scheduled.filter(|at| *at <= limit));
        match job::finished(job) {
            Some(end) if end["type"] == "Complete" => {
                later(next, "/status/lastSuccessfulTime", job.time_at("/status/completionTime"));
            }
            Some(_) => {}
            None if known.iter().any(|reference| reference["uid"] == job.uid()) => {}
            None if scheduled.is_some() => active.push(json!({
                "apiVersion": job.api_version(), "kind": job.kind(), "namespace": job.namespace(),
                "name": job.name(), "uid": job.uid(),
            })),
            None => {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {}", job.name());
                event(plan, true, "UnexpectedJob", message);
            }
        }
    }
    active
}

fn later(object: &mut Object, pointer: &str, found: Option<SystemTime>) {
    if let Some(found) = found.filter(|found| object.time_at(pointer).is_none_or(|before| before < *found)) {
        object.set(pointer, time::format(found));
    }
}

/// Starts the Job that is due.
fn start(
    cron: &Object,
    zone: &Zone,
    jobs: &[Object],
    next: &Object,
    active: &mut Vec<Value>,
    now: SystemTime,
    plan: &mut Plan,
) {
    let text = cron.str_at("/spec/schedule");
    let schedule = match cron::parse(text) {
        Ok(schedule) => schedule,
        Err(why) => {
            return event(
                plan,
                true,
                "UnparseableSchedule",
                format!("unparseable schedule: {text:?} : {why}"),
            );
        }
    };
    let (unix, _) = time::unix(now);
    let last = next.time_at("/status/lastScheduleTime");
    let mut since = last.or_else(|| cron.creation_timestamp()).map_or(unix, |last| time::unix(last).0);
    if let Some(deadline) = cron.i64_at("/spec/startingDeadlineSeconds") {
        since = since.max(unix.saturating_sub(deadline));
    }
    let due = times::latest(&schedule, zone, since, unix);
    let after = match schedule {
        cron::Schedule::Every(_) => due.map_or(since, |(due, _)| due),
        cron::Schedule::At(_) => unix,
    };
    if let Some(upcoming) = times::next(&schedule, zone, after) {
        plan.look_at(at(upcoming));
    }
    let Some((due, missed)) = due else { return };
    let name = format!("{}-{}", cron.name(), due / 60);
    if jobs.iter().any(|job| job.name() == name) {
        return;
    }
    if missed > MANY {
        event(plan, true, "TooManyMissedTimes", TOO_MANY.to_owned());
    }
    match cron.str_at("/spec/concurrencyPolicy") {
        "Forbid" if !active.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            return event(plan, false, "JobAlreadyActive", message.to_owned());
        }
        "Replace" => {
            let told =
                || Told::Events { done: "Deleted job {}".to_owned(), failed: "Deleted job: {}".to_owned() };
            for reference in active.drain(..) {
                let job = jobs.iter().find(|job| reference["uid"] == job.uid());
                plan.actions.extend(job.map(|job| Action::Delete(job.clone(), told())));
            }
        }
        _ => {}
    }
    let mut job = control::from_template(JOB, cron.at("/spec/jobTemplate").unwrap_or(&Value::Null), cron);
    job.set("/metadata/name", name);
    job.set_annotation(SCHEDULED, &time::format(at(due)));
    let told =
        Told::Events { done: "Created job {}".to_owned(), failed: "Error creating job: {}".to_owned() };
    plan.actions.push(Action::Create(job, told));
}

/// Deletes the oldest of the Jobs that have ended, down to the limits.
fn clean(cron: &Object, jobs: &[Object], plan: &mut Plan) {
    for (limit, default, end) in [("successful", 3, "Complete"), ("failed", 1, "Failed")] {
        let limit = cron.i64_at(&format!("/spec/{limit}JobsHistoryLimit")).unwrap_or(default);
        let ended = |job: &&Object| {
            job.deletion_timestamp().is_none() && job::finished(job).is_some_and(|found| found["type"] == end)
        };
        let mut ended: Vec<&Object> = jobs.iter().filter(ended).collect();
        ended.sort_by_key(|job| (job.time_at("/status/startTime"), job.name()));
        let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let told =
            || Told::Events { done: "Deleted job {}".to_owned(), failed: "Deleted job: {}".to_owned() };
        plan.actions.extend(ended.into_iter().take(surplus).map(|job| Action::Delete(job.clone(), told())));
    }
}
