//! CronJobs.

use super::{PLAIN, Workload, job, not_negative, value};
use crate::api::{Cause, Object, cron};

pub static CRON_JOB: Workload = Workload { template: "/spec/jobTemplate/spec/template", rules, ..PLAIN };

/// Its Jobs' names have 11 bytes more, and must be labels.
const NAME_LIMIT: usize = 52;

fn rules(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    if old.is_none() && new.name().len() > NAME_LIMIT {
        let detail = "must be no more than 52 characters";
        causes.push(Cause::invalid("metadata.name", new.name(), detail));
    }
    schedule(new, causes);
    not_negative(
        new,
        &["spec.startingDeadlineSeconds", "spec.successfulJobsHistoryLimit", "spec.failedJobsHistoryLimit"],
        causes,
    );
    job::spec(new, old, "spec.jobTemplate.spec", causes);
    let selector = value(new, "spec.jobTemplate.spec.selector");
    if !selector.is_null() {
        let detail = "`selector` will be auto-generated";
        causes.push(Cause::invalid("spec.jobTemplate.spec.selector", selector.clone(), detail));
    }
    if new.bool_at("/spec/jobTemplate/spec/manualSelector") {
        let field = "spec.jobTemplate.spec.manualSelector";
        causes.push(Cause::not_supported(field, true, &["nil", "false"]));
    }
}

fn schedule(new: &Object, causes: &mut Vec<Cause>) {
    let schedule = new.str_at("/spec/schedule");
    let zone = value(new, "spec.timeZone").as_str();
    let mut refuse = |detail: &str| causes.push(Cause::invalid("spec.schedule", schedule, detail));
    if schedule.is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        refuse(match zone {
            Some(_) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            None => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        });
    } else if let Err(detail) = cron::parse(schedule) {
        refuse(&detail);
    }
    if let Some((zone, Err(detail))) = zone.map(|zone| (zone, cron::time_zone(zone))) {
        causes.push(Cause::invalid("spec.timeZone", zone, &detail));
    }
}
