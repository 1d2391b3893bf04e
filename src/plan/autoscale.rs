//! HorizontalPodAutoscalers: how many replicas a target shall have, by what its pods use (upstream's rules).

mod limits;
mod pods;
mod replicas;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::api::{Object, Status, time};
pub use limits::History;
pub use pods::{Pod, Usage, Used};

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// What is known of a target.
pub struct Target {
    /// How many replicas it shall have by now.
    pub replicas: i64,
    pub pods: Vec<Pod>,
    /// Why its pods can't be told: a condition's reason, and what is wrong.
    pub unclear: Option<(&'static str, String)>,
}

/// What is to be done, and said.
pub struct Verdict {
    /// The autoscaler with its new status.
    object: Object,
    /// So many replicas the target shall have, and why. [`Verdict::rescaled`] is told how that went.
    pub rescale: Option<(i64, String)>,
    /// Whether they are warnings, reasons and messages.
    pub events: Vec<(bool, &'static str, String)>,
    current: i64,
}

/// Decides for one autoscaler. The target may be missing, or none that can be scaled.
pub fn decide(
    autoscaler: &Object,
    target: Result<&Target, &Status>,
    history: &mut History,
    now: SystemTime,
) -> Verdict {
    let mut verdict = Verdict { object: autoscaler.clone(), rescale: None, events: Vec::new(), current: 0 };
    let generation = autoscaler.generation();
    verdict.object.set("/status/observedGeneration", generation);
    for count in ["/status/currentReplicas", "/status/desiredReplicas"] {
        verdict.object.set(count, autoscaler.i64_at(count).unwrap_or(0));
    }
    match target {
        Ok(target) => verdict.decide(target, history, now),
        Err(status) => {
            verdict.warn("FailedGetScale", status.message.clone());
            let why = format!(
                "the HPA controller was unable to get the target's current scale: {}",
                status.message
            );
            verdict.say(ABLE, false, "FailedGetScale", why, now);
        }
    }
    // What goes on being wrong is told once; the conditions show it as long as it lasts.
    if history.is_told(&verdict.events) {
        verdict.events.clear();
    }
    verdict
}

impl Verdict {
    /// The autoscaler's whole status.
    pub fn status(&self) -> Value {
        self.object.at("/status").cloned().unwrap_or_default()
    }

    fn decide(&mut self, target: &Target, history: &mut History, now: SystemTime) {
        let current = target.replicas;
        self.current = current;
        let able = "the HPA controller was able to get the target's current scale";
        self.say(ABLE, true, "SucceededGetScale", able.to_owned(), now);
        history.begin(current, now);
        let most = self.object.i64_at("/spec/maxReplicas").unwrap_or(0);
        let least = self.object.i64_at("/spec/minReplicas").unwrap_or(1);
        let (mut desired, mut why, mut metrics) = (current, String::new(), Value::Null);
        if current == 0 && least != 0 {
            let none = "scaling is disabled since the replica count of the target is zero";
            self.say(ACTIVE, false, "ScalingDisabled", none.to_owned(), now);
        } else if current > most {
            (desired, why) = (most, "Current number of replicas above Spec.MaxReplicas".to_owned());
        } else if current < least {
            (desired, why) = (least, "Current number of replicas below Spec.MinReplicas".to_owned());
        } else {
            match self.measure(target, &mut metrics, now) {
                Ok((proposal, name)) => {
                    if proposal > current {
                        why = format!("{name} above target");
                    } else if proposal < current {
                        why = "All metrics below target".to_owned();
                    }
                    let limited = history.limit(&self.object, current, proposal, now);
                    desired = limited.replicas;
                    let (reason, message) = limited.able;
                    self.say(ABLE, true, reason, message.to_owned(), now);
                    let (is_limited, reason, message) = limited.limited;
                    self.say(LIMITED, is_limited, reason, message.to_owned(), now);
                }
                Err(error) => {
                    self.warn("FailedComputeMetricsReplicas", error);
                    return self.count(None, metrics);
                }
            }
        }
        // What is not done yet is not said to be desired.
        self.count((desired == current).then_some(current), metrics);
        if desired != current {
            self.rescale = Some((desired, why));
        }
    }

    /// What the metrics ask for together, and which of them asks for most.
    fn measure(
        &mut self,
        target: &Target,
        statuses: &mut Value,
        now: SystemTime,
    ) -> Result<(i64, String), String> {
        if let Some((reason, message)) = &target.unclear {
            self.warn(reason, message.clone());
            self.say(ACTIVE, false, reason, message.clone(), now);
            return Err(message.clone());
        }
        let metrics = self.object.array_at("/spec/metrics").to_vec();
        let tolerances = replicas::Tolerances::of(&self.object);
        let mut best: Option<(i64, String)> = None;
        let (mut failed, mut said) = (Vec::new(), Vec::new());
        for metric in &metrics {
            let ask = replicas::Ask { metric, current: target.replicas, pods: &target.pods, tolerances, now };
            said.push(match ask.answer(self.object.namespace()) {
                Ok(answer) => {
                    if best.as_ref().is_none_or(|(most, _)| *most == 0 || answer.replicas > *most) {
                        best = Some((answer.replicas, answer.name));
                    }
                    answer.status
                }
                Err(failure) => {
                    failed.push(failure);
                    json!({"type": ""})
                }
            });
        }
        *statuses = said.into();
        let count = failed.len();
        let error = failed.first().map(|(_, first)| {
            format!("invalid metrics ({count} invalid out of {}), first error is: {first}", metrics.len())
        });
        let first = failed.first().cloned();
        for (reason, message) in failed {
            self.warn(reason, message);
        }
        // Fewer replicas are only for those who know all.
        match (best, first) {
            (Some((most, name)), failed) if failed.is_none() || most >= target.replicas => {
                let message =
                    format!("the HPA was able to successfully calculate a replica count from {name}");
                self.say(ACTIVE, true, "ValidMetricFound", message, now);
                Ok((most, name))
            }
            (_, Some((reason, message))) => {
                let message = format!("the HPA was unable to compute the replica count: {message}");
                self.say(ACTIVE, false, reason, message, now);
                Err(error.unwrap_or_default())
            }
            (_, None) => Err("there are no metrics".to_owned()),
        }
    }

    /// Tells how it went to give the target other replicas.
    pub fn rescaled(&mut self, outcome: Result<(), &Status>, history: &mut History, now: SystemTime) {
        let Some((size, why)) = self.rescale.take() else { return };
        match outcome {
            Ok(()) => {
                let message = format!("the HPA controller was able to update the target scale to {size}");
                self.say(ABLE, true, "SucceededRescale", message, now);
                self.events.push((false, "SuccessfulRescale", format!("New size: {size}; reason: {why}")));
                self.object.set("/status/desiredReplicas", size);
                self.object.set("/status/lastScaleTime", time::format(now));
                if self.object.at("/spec/behavior").is_some_and(Value::is_object) {
                    history.changed(size - self.current, now);
                }
            }
            Err(status) => {
                let error = &status.message;
                self.warn("FailedRescale", format!("New size: {size}; reason: {why}; error: {error}"));
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                self.say(ABLE, false, "FailedUpdateScale", message, now);
            }
        }
    }

    fn count(&mut self, desired: Option<i64>, metrics: Value) {
        self.object.set("/status/currentReplicas", self.current);
        if let Some(desired) = desired {
            self.object.set("/status/desiredReplicas", desired);
        }
        match metrics {
            Value::Null => drop(self.object.remove("/status/currentMetrics")),
            metrics => self.object.set("/status/currentMetrics", metrics),
        }
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push((true, reason, message));
    }

    fn say(&mut self, kind: &str, status: bool, reason: &str, message: String, now: SystemTime) {
        let status = if status { "True" } else { "False" };
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": self.object.generation(),
        });
        self.object.set_condition(condition, now);
    }
}
