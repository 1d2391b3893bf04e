//! How far and how fast replicas change: stabilization, policies, bounds.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::api::Object;

/// How long fewer replicas are waited for, where no behavior says otherwise.
const DOWN_WINDOW: i64 = 300;
/// The longest period that a policy may have.
const LONGEST_PERIOD: Duration = Duration::from_secs(1800);

/// What was recommended and done of late. It is lost with the process, as upstream's is.
#[derive(Default)]
pub struct History {
    /// When each count was recommended last: of more of the same nothing depends on the older ones.
    recommendations: Vec<(i64, SystemTime)>,
    /// How many replicas were added, or taken away.
    changes: Vec<(i64, SystemTime)>,
    /// What was told to be wrong last.
    told: Vec<(bool, &'static str, String)>,
}

/// What is left of a proposal.
pub struct Limited {
    pub replicas: i64,
    /// Reason and message of AbleToScale.
    pub able: (&'static str, &'static str),
    /// ScalingLimited.
    pub limited: (bool, &'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl History {
    /// A target's replicas when it is first seen count as recommended.
    pub fn begin(&mut self, current: i64, now: SystemTime) {
        if self.recommendations.is_empty() {
            self.recommendations.push((current, now));
        }
    }

    /// Takes note of a change that a policy may limit further ones by.
    pub fn changed(&mut self, by: i64, now: SystemTime) {
        self.changes.retain(|(_, at)| is_within(*at, LONGEST_PERIOD, now));
        self.changes.push((by, now));
    }

    /// Whether these events were told last time; they are from now on.
    pub fn is_told(&mut self, events: &[(bool, &'static str, String)]) -> bool {
        let told = self.told == events;
        if !told {
            self.told = events.to_vec();
        }
        told
    }

    /// Brings what metrics propose within what the autoscaler allows.
    pub fn limit(&mut self, autoscaler: &Object, current: i64, proposal: i64, now: SystemTime) -> Limited {
        let most = autoscaler.i64_at("/spec/maxReplicas").unwrap_or(0);
        let least = autoscaler.i64_at("/spec/minReplicas").unwrap_or(1);
        let behavior = autoscaler.at("/spec/behavior").filter(|behavior| behavior.is_object());
        let rules = |direction| behavior.and_then(|behavior| behavior.get(direction)).unwrap_or(&Value::Null);
        let (up, down) = (rules("scaleUp"), rules("scaleDown"));
        let window = |rules: &Value, default| {
            let seconds = rules.get("stabilizationWindowSeconds").and_then(Value::as_i64).unwrap_or(default);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        let (up_window, down_window) = (window(up, 0), window(down, DOWN_WINDOW));
        let (mut lowest, mut highest) = (proposal, proposal);
        for (count, at) in &self.recommendations {
            if is_within(*at, up_window, now) {
                lowest = lowest.min(*count);
            }
            if is_within(*at, down_window, now) {
                highest = highest.max(*count);
            }
        }
        let longest = up_window.max(down_window);
        self.recommendations.retain(|(count, at)| *count != proposal && is_within(*at, longest, now));
        self.recommendations.push((proposal, now));

        let stable = if behavior.is_some() { current.max(lowest).min(highest) } else { highest };
        let able = match stable == proposal {
            true => READY,
            false if behavior.is_some() && proposal >= current => UP_STABILIZED,
            false => DOWN_STABILIZED,
        };
        let up_limit = || match behavior {
            Some(_) => self.policy_limit(up, 1, current, now).max(current),
            None => (2 * current).max(4),
        };
        let down_limit = || match behavior {
            Some(_) => self.policy_limit(down, -1, current, now).min(current),
            None => least,
        };
        let (mut replicas, mut reason) = (stable, WITHIN);
        if stable > current {
            let limit = up_limit();
            let (limit, why) = if most > limit { (limit, UP_LIMIT) } else { (most, TOO_MANY) };
            if stable > limit {
                (replicas, reason) = (limit, why);
            }
        } else if stable < current {
            let limit = down_limit();
            let (limit, why) = if least < limit { (limit, DOWN_LIMIT) } else { (least, TOO_FEW) };
            if stable < limit {
                (replicas, reason) = (limit, why);
            }
        }
        Limited { replicas, able, limited: (replicas != stable, reason.0, reason.1) }
    }

    /// How far policies let replicas go in a direction: 1 is up, -1 is down.
    fn policy_limit(&self, rules: &Value, direction: i64, current: i64, now: SystemTime) -> i64 {
        let select = rules.get("selectPolicy").and_then(Value::as_str).unwrap_or_default();
        if select == "Disabled" {
            return current;
        }
        let mut limits = Vec::new();
        for policy in rules.get("policies").and_then(Value::as_array).into_iter().flatten() {
            let number = |key| policy.get(key).and_then(Value::as_i64).unwrap_or(0);
            let period = Duration::from_secs(u64::try_from(number("periodSeconds")).unwrap_or(0));
            let recent = self.changes.iter().filter(|(_, at)| is_within(*at, period, now));
            let start = recent.fold(current, |start, (by, _)| start.saturating_sub(*by));
            let by = direction.saturating_mul(number("value"));
            limits.push(match policy.get("type").and_then(Value::as_str) {
                Some("Percent") => {
                    let limit = start as f64 * (1.0 + by as f64 / 100.0);
                    // Rounded up, too little would never grow.
                    (if direction > 0 { limit.ceil() } else { limit }) as i64
                }
                _ => start.saturating_add(by),
            });
        }
        // The lowest change is the lowest limit on the way up, and the highest on the way down.
        let limit =
            if (select == "Min") == (direction > 0) { limits.iter().min() } else { limits.iter().max() };
        limit.copied().unwrap_or(current)
    }
}

/// Whether `at` is no longer ago than that. What a clock set back has put into the future is not yet over.
fn is_within(at: SystemTime, window: Duration, now: SystemTime) -> bool {
    now.duration_since(at).map_or(!window.is_zero(), |ago| ago < window)
}
