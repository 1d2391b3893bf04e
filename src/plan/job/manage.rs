//! Which pods a Job makes and deletes.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::track::{FAILURES, IGNORED, index_failures};
use super::{FINALIZER, INDEX, Look, is_tracked, policy};
use crate::api::kinds::POD;
use crate::api::{Object, time};
use crate::plan::control::{self, Action, Plan, Told, pods};
use crate::plan::replica_set::ranked;

/// So many pods are created or deleted at once.
const BURST: usize = 500;
/// How long a Job waits after a pod failed: it doubles with each failure in a row.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(360);
/// A generated name is a label with five more characters.
const PREFIX: usize = 58;

impl<'a> Look<'a> {
    /// The pods that go, and how many are made: either, never both.
    pub fn manage(
        &self,
        active: &[&'a Object],
        terminating: usize,
        plan: &mut Plan,
    ) -> (Vec<&'a Object>, usize) {
        if self.job.bool_at("/spec/suspend") {
            return (active.to_vec(), 0);
        }
        let count = |name: &str| self.number(name).and_then(|count| usize::try_from(count).ok());
        let succeeded = usize::try_from(self.succeeded).unwrap_or(0);
        let parallelism = count("parallelism").unwrap_or(1);
        let wanted = match count("completions") {
            // Whatever runs when the first has succeeded may end.
            None if succeeded > 0 => active.len(),
            None => parallelism,
            Some(completions) => completions.saturating_sub(succeeded).min(parallelism),
        };
        let gone = self.surplus(active, active.len().saturating_sub(wanted));
        if !gone.is_empty() {
            return (gone, 0);
        }
        // Until it is stored that one which is being deleted has failed, it may still succeed.
        let leaving = match self.completions {
            _ if self.only_failed => terminating,
            None => self.pods.iter().filter(|pod| pods::is_terminating(pod) && self.may_count(pod)).count(),
            Some(_) => 0,
        };
        let missing = wanted.saturating_sub(leaving + active.len()).min(control::burst(self.job, BURST));
        if missing == 0 {
            return (Vec::new(), 0);
        }
        let mut made: Vec<Object> = Vec::new();
        match self.completions {
            _ if self.per_index.is_none() && self.waits(plan) => {}
            None => made = std::iter::repeat_n(self.pod(None, None), missing).collect(),
            Some(completions) => {
                let last = self.last_failures();
                let mut taken = self.indexes.clone();
                if let Some(failed) = &self.failed_indexes {
                    taken.extend(failed, completions);
                }
                let holds =
                    |pod: &&Object| pods::is_active(pod) || self.only_failed && pods::is_terminating(pod);
                for index in self.pods.iter().filter(holds).filter_map(|pod| self.index(pod)) {
                    taken.insert(index);
                }
                for index in taken.missing(completions) {
                    if made.len() == missing {
                        break;
                    }
                    let before = last.get(&index).copied();
                    let failures = before.map_or(0, |pod| index_failures(pod).1.saturating_add(1));
                    if !before.is_some_and(|pod| self.pauses(failures, ended_at(pod), plan)) {
                        made.push(self.pod(Some(index), before));
                    }
                }
            }
        }
        let count = made.len();
        plan.actions.extend(made.into_iter().map(|pod| Action::Create(pod, Told::usual("Created", "pod"))));
        (Vec::new(), count)
    }

    /// At least so many: first those that are let go of already, and of an Indexed Job those whose index is too high or
    /// another's as well.
    fn surplus(&self, active: &[&'a Object], least: usize) -> Vec<&'a Object> {
        let (left, mut gone): (Vec<_>, Vec<_>) = active.iter().copied().partition(|pod| is_tracked(pod));
        let mut left = ranked(left, self.now);
        if self.completions.is_some() {
            let mut seen = BTreeSet::new();
            left.reverse();
            let (kept, surplus): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|pod| self.index(pod).is_some_and(|index| seen.insert(index)));
            left = kept;
            left.reverse();
            gone.extend(surplus);
        }
        let more = least.saturating_sub(gone.len());
        gone.extend(left.into_iter().take(more));
        gone.truncate(BURST);
        gone
    }

    /// Whether the failures since the last success hold up further pods. They are counted from the pods there are:
    /// a server that starts again knows them.
    fn waits(&self, plan: &mut Plan) -> bool {
        let ended = |is: &dyn Fn(&Object) -> bool| -> Vec<SystemTime> {
            self.pods.iter().filter(|pod| is(pod)).map(ended_at).collect()
        };
        let success = ended(&|pod| pod.str_at("/status/phase") == "Succeeded").into_iter().max();
        let spared = |pod: &Object| pod.deletion_timestamp().is_some() && !is_tracked(pod);
        let mut failed = ended(&|pod| self.is_failed(pod) && !spared(pod));
        failed.retain(|at| success.is_none_or(|success| *at > success));
        let Some(last) = failed.iter().max() else { return false };
        self.pauses(i64::try_from(failed.len()).unwrap_or(0), *last, plan)
    }

    fn pauses(&self, failures: i64, last: SystemTime, plan: &mut Plan) -> bool {
        let doublings = u32::try_from(failures.clamp(1, 10) - 1).unwrap_or(0);
        let pause = PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let Some(at) = last.checked_add(pause) else { return false };
        // A failure that is yet to come was told by a clock that was wrong.
        let waits = at.duration_since(self.now).is_ok_and(|left| !left.is_zero() && left <= pause * 2);
        if waits {
            plan.look_at(at);
        }
        waits
    }

    /// A new pod; `before` is the one of its index that failed.
    fn pod(&self, index: Option<i64>, before: Option<&Object>) -> Object {
        let job = self.job;
        let mut pod = control::from_template(POD, job.at("/spec/template").unwrap_or(&Value::Null), job);
        let mut finalizers = pod.array_at("/metadata/finalizers").to_vec();
        if !finalizers.iter().any(|name| name == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        pod.set("/metadata/finalizers", finalizers);
        let Some(index) = index else {
            pod.set("/metadata/generateName", control::generate_name(job));
            return pod;
        };
        let rest = format!("-{index}-");
        let name: String = job.name().chars().take(PREFIX - rest.len()).collect();
        pod.set("/metadata/generateName", format!("{name}{rest}"));
        pod.set("/spec/hostname", format!("{}-{index}", job.name()));
        pod.set_annotation(INDEX, &index.to_string());
        pod.set_label(INDEX, &index.to_string());
        if self.per_index.is_some() {
            let (mut counted, all) = before.map_or((0, 0), index_failures);
            let mut ignored = all - counted;
            match before.map(|pod| policy::of_failure(job, pod).counts) {
                Some(true) => counted = counted.saturating_add(1),
                Some(false) => ignored = ignored.saturating_add(1),
                None => {}
            }
            pod.set_annotation(FAILURES, &counted.to_string());
            if ignored > 0 {
                pod.set_annotation(IGNORED, &ignored.to_string());
            }
        }
        for list in ["/spec/containers", "/spec/initContainers"] {
            let containers = pod.at_mut(list).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(tell_index);
        }
        pod
    }
}

/// A container learns its index from its environment, unless it is told something else.
fn tell_index(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let mut env = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    if env.iter().all(|one| one["name"] != NAME) {
        let path = format!("metadata.labels['{INDEX}']");
        env.push(json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
        container["env"] = env.into();
    }
}

/// When a pod ended: the end of its last container, or whatever comes next to it.
fn ended_at(pod: &Object) -> SystemTime {
    let at = |status: &Value| {
        status.pointer("/state/terminated/finishedAt").and_then(Value::as_str).and_then(time::parse)
    };
    let ready = || {
        let ready = pod.condition("Ready").filter(|ready| ready["status"] == "False");
        ready?["lastTransitionTime"].as_str().and_then(time::parse)
    };
    let last = pod.array_at("/status/containerStatuses").iter().filter_map(at).max();
    let otherwise = || pod.deletion_timestamp().or_else(|| pod.creation_timestamp());
    last.or_else(ready).or_else(otherwise).unwrap_or(SystemTime::UNIX_EPOCH)
}
