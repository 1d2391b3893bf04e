//! How many pods of a PodDisruptionBudget may be missing, and whether one may be evicted: as upstream's disruption
//! controller and eviction count it.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::control::pods::is_ready;
use crate::api::object::escape;
use crate::api::selector::LabelSelector;
use crate::api::status::Details;
use crate::api::{Cause, CauseReason, Object, Reason, Status, time};

/// How long a pod that was to be evicted counts as gone before it is.
const EVICTION: Duration = Duration::from_secs(120);
/// Evictions that may be on their way at once.
const MOST: usize = 2000;
const DENIED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Whether a budget is about a pod of its namespace.
pub fn selects(budget: &Object, pod: &Object) -> bool {
    let selector = budget.at("/spec/selector").and_then(|selector| LabelSelector::from_json(selector).ok());
    selector.is_some_and(|selector| selector.matches(pod))
}

/// A budget's status as it should be, and when it must be looked at again. `pods` are those that it is about,
/// `scale` what their controllers want of them in all, or why nobody can tell.
pub fn status(
    budget: &Object,
    pods: &[Object],
    scale: impl FnOnce() -> Result<i64, String>,
    now: SystemTime,
) -> (Value, Option<SystemTime>) {
    let mut disrupted = Map::new();
    let mut again = None;
    for (name, since) in budget.map_at("/status/disruptedPods").into_iter().flatten() {
        let Some(end) = since.as_str().and_then(time::parse).map(|since| since + EVICTION) else { continue };
        let there = pods.iter().any(|pod| pod.name() == name && pod.deletion_timestamp().is_none());
        if there && end > now {
            again = Some(again.map_or(end, |again: SystemTime| again.min(end)));
            disrupted.insert(name.clone(), since.clone());
        }
    }
    let healthy = |pod: &&Object| {
        pod.deletion_timestamp().is_none() && !disrupted.contains_key(pod.name()) && is_ready(pod)
    };
    let healthy = count(pods.iter().filter(healthy).count());
    let (expected, desired, failure) = match wanted(budget, count(pods.len()), scale) {
        Ok((expected, desired)) => (expected, desired, None),
        Err(why) => {
            let before = |name: &str| budget.i64_at(&format!("/status/{name}")).unwrap_or(0);
            (before("expectedPods"), before("desiredHealthy"), Some(why))
        }
    };
    let allowed = match (expected > 0, &failure) {
        (true, None) => (healthy - desired).max(0),
        _ => 0,
    };
    let (reason, message) = match (&failure, allowed) {
        (Some(why), _) => ("SyncFailed", why.as_str()),
        (None, 0) => ("InsufficientPods", ""),
        (None, _) => ("SufficientPods", ""),
    };
    let mut status = json!({
        "observedGeneration": budget.generation(),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": conditions(budget, allowed > 0, reason, message, now),
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = disrupted.into();
    }
    (status, again)
}

/// How many pods there should be, and how many of them healthy.
fn wanted(
    budget: &Object,
    pods: i64,
    scale: impl FnOnce() -> Result<i64, String>,
) -> Result<(i64, i64), String> {
    if let Some(most) = budget.at("/spec/maxUnavailable") {
        let expected = scale()?;
        return Ok((expected, (expected - scaled(most, expected)?).max(0)));
    }
    match budget.at("/spec/minAvailable") {
        None => Ok((pods, 0)),
        Some(Value::Number(least)) => Ok((pods, least.as_i64().unwrap_or(0))),
        Some(least) => {
            let expected = scale()?;
            Ok((expected, scaled(least, expected)?))
        }
    }
}

/// A number, or so many percent of `whole`, rounded up.
pub(super) fn scaled(value: &Value, whole: i64) -> Result<i64, String> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse().ok());
    let percent: i64 = percent.ok_or_else(|| format!("invalid value for IntOrString: {value}"))?;
    let product = percent.checked_mul(whole).ok_or_else(|| format!("{percent}% is too much"))?;
    Ok(product.div_euclid(100) + i64::from(product.rem_euclid(100) > 0))
}

fn conditions(budget: &Object, allowed: bool, reason: &str, message: &str, now: SystemTime) -> Vec<Value> {
    let status = if allowed { "True" } else { "False" };
    let mut conditions = budget.array_at("/status/conditions").to_vec();
    let before = conditions.iter().position(|condition| condition["type"] == "DisruptionAllowed");
    let since = before.and_then(|index| conditions.get(index)).filter(|before| before["status"] == status);
    let since = since.map_or_else(|| json!(time::format(now)), |before| before["lastTransitionTime"].clone());
    let condition = json!({
        "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "observedGeneration": budget.generation(), "lastTransitionTime": since,
    });
    match before.and_then(|index| conditions.get_mut(index)) {
        Some(before) => *before = condition,
        None => conditions.push(condition),
    }
    conditions
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether budgets have no say: the pod serves nobody.
pub fn is_free(pod: &Object) -> bool {
    matches!(pod.str_at("/status/phase"), "Succeeded" | "Failed" | "Pending")
        || pod.deletion_timestamp().is_some()
}

/// What the budget is after this eviction; `None` if the eviction costs nothing.
///
/// # Errors
/// 429 when it may not be, 403 when the budget can't be counted on.
pub fn evict(budget: &Object, pod: &Object, now: SystemTime) -> Result<Option<Object>, Status> {
    let number = |name: &str| budget.i64_at(&format!("/status/{name}")).unwrap_or(0);
    let (healthy, desired, allowed) =
        (number("currentHealthy"), number("desiredHealthy"), number("disruptionsAllowed"));
    if !is_ready(pod) {
        let always = budget.str_at("/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if always || healthy >= desired && desired > 0 {
            return Ok(None);
        }
    }
    let name = budget.name();
    if number("observedGeneration") < budget.generation() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(denied(why, 10));
    }
    let forbidden = |why: &str| {
        Err(Status::forbidden(format!("poddisruptionbudgets.policy \"{name}\" is forbidden: {why}")))
    };
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget.map_at("/status/disruptedPods").map_or(0, Map::len) > MOST {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let failed = budget.condition("DisruptionAllowed").filter(|found| found["reason"] == "SyncFailed");
        let why = match failed {
            Some(failed) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                failed["message"].as_str().unwrap_or("")
            ),
            None => format!(
                "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            ),
        };
        return Err(denied(why, 0));
    }
    let mut after = budget.clone();
    after.set("/status/disruptionsAllowed", allowed - 1);
    if allowed == 1 {
        after.set("/status/conditions", conditions(budget, false, "InsufficientPods", "", now));
    }
    after.set(&format!("/status/disruptedPods/{}", escape(pod.name())), time::format(now));
    Ok(Some(after))
}

fn denied(why: String, retry_after_seconds: u32) -> Status {
    let mut status = Status::new(Reason::TooManyRequests, DENIED);
    let cause = Cause { reason: CauseReason::DisruptionBudget, message: why, field: String::new() };
    status.details =
        Some(Box::new(Details { causes: vec![cause], retry_after_seconds, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn pods(ready: usize, unready: usize) -> Vec<Object> {
        let pod = |index: usize| {
            let status = if index < ready { "True" } else { "False" };
            object(json!({"metadata": {"name": format!("p{index}"), "labels": {"a": "b"}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}))
        };
        (0..ready + unready).map(pod).collect()
    }

    fn budget(spec: Value) -> Object {
        object(json!({"metadata": {"name": "b", "generation": 1}, "spec": spec}))
    }

    #[test]
    fn budgets_are_counted() {
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        // spec, ready, unready, scale: expected, desired, healthy, allowed
        for (spec, ready, unready, scale, counted) in [
            (json!({"minAvailable": 2}), 3, 0, None, [3, 2, 3, 1]),
            (json!({"minAvailable": 3}), 2, 1, None, [3, 3, 2, 0]),
            (json!({"minAvailable": "50%"}), 3, 0, Some(5), [5, 3, 3, 0]),
            (json!({"maxUnavailable": 1}), 3, 0, Some(3), [3, 2, 3, 1]),
            (json!({"maxUnavailable": "34%"}), 3, 0, Some(3), [3, 1, 3, 2]),
            (json!({"maxUnavailable": 9}), 1, 0, Some(3), [3, 0, 1, 1]),
            (json!({"maxUnavailable": 1}), 0, 0, Some(0), [0, 0, 0, 0]),
        ] {
            let scale = || scale.ok_or_else(String::new);
            let (status, again) = status(&budget(spec.clone()), &pods(ready, unready), scale, now);
            let numbers = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"];
            assert_eq!(numbers.map(|name| status[name].as_i64().unwrap()), counted, "{spec}");
            assert_eq!(again, None);
            let reason = if counted[3] > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!(status["conditions"][0]["reason"], reason);
        }
        let lost = || Err("found no controllers for pod \"p0\"".to_owned());
        let (status, _) = status(&budget(json!({"maxUnavailable": 1})), &pods(1, 0), lost, now);
        assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
        assert_eq!(status["disruptionsAllowed"], 0);
    }

    #[test]
    fn evictions_are_paid_for() {
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        let all = pods(2, 1);
        let fresh = budget(json!({"minAvailable": 1}));
        let refused = evict(&fresh, &all[0], now).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds()), (429, Some(10)));
        let mut counted = fresh.clone();
        counted.set("/status", status(&fresh, &all, || Ok(3), now).0);
        assert_eq!(evict(&counted, &all[2], now), Ok(None), "an unready pod of a healthy budget");
        let paid = evict(&counted, &all[0], now).unwrap().unwrap();
        assert_eq!(paid.i64_at("/status/disruptionsAllowed"), Some(0));
        let refused = evict(&paid, &all[1], now).unwrap_err();
        assert_eq!(refused.message, DENIED);
        let cause = &refused.details.unwrap().causes[0];
        assert_eq!(cause.message, "The disruption budget b needs 1 healthy pods and has 2 currently");
        // Until the pod is gone it counts as gone, and after two minutes as there.
        let (status, again) = status(&paid, &all, || Ok(3), now);
        assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(1), &json!(0)));
        let (status, _) = super::status(&paid, &all, || Ok(3), again.unwrap());
        assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(2), &json!(1)));
    }
}
