//! How many replicas one metric asks for.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::pods::{Pod, RESOURCES, Standing};
use crate::api::Object;
use crate::api::quantity::Quantity;

/// How far from its target a metric may be before it asks for other replicas.
#[derive(Clone, Copy)]
pub struct Tolerances {
    up: f64,
    down: f64,
}

impl Tolerances {
    pub fn of(autoscaler: &Object) -> Self {
        let of = |direction: &str| {
            let own = autoscaler.at(&format!("/spec/behavior/{direction}/tolerance"));
            let own = own.and_then(|own| Quantity::from_json(own).ok());
            own.map_or(0.1, |own| own.nanos() as f64 / 1e9)
        };
        Self { up: of("scaleUp"), down: of("scaleDown") }
    }

    fn hold(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// One metric of an autoscaler, and what is known.
pub struct Ask<'a> {
    pub metric: &'a Value,
    pub current: i64,
    pub pods: &'a [Pod],
    pub tolerances: Tolerances,
    pub now: SystemTime,
}

pub struct Answer {
    pub replicas: i64,
    /// What events call the metric.
    pub name: String,
    /// Its place in `status.currentMetrics`.
    pub status: Value,
}

/// What pods use on average: of the target, of their requests in percent, and in thousandths.
struct Use {
    ratio: f64,
    percent: i64,
    average: i64,
}

/// What the pods shall use on average.
#[derive(Clone, Copy)]
enum Goal {
    /// Percent of their requests.
    Utilization(i64),
    /// Thousandths.
    Average(i64),
}

impl Ask<'_> {
    /// A failure has a reason.
    pub fn answer(&self, namespace: &str) -> Result<Answer, (&'static str, String)> {
        let metric = self.metric;
        let text = |pointer: &str| metric.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let custom = |name: &str| {
            format!(
                "unable to get metric {name}: unable to fetch metrics from custom metrics API: no custom metrics API \
                 (custom.metrics.k8s.io) registered"
            )
        };
        let (kind, field, failed) = match text("/type") {
            "Resource" => ("Resource", "resource", "FailedGetResourceMetric"),
            "ContainerResource" => {
                ("ContainerResource", "containerResource", "FailedGetContainerResourceMetric")
            }
            "Pods" => return Err(("FailedGetPodsMetric", custom(text("/pods/metric/name")))),
            "Object" => return Err(("FailedGetObjectMetric", custom(text("/object/metric/name")))),
            "External" => {
                let message = format!(
                    "unable to get external metric {namespace}/{}: unable to fetch metrics from external metrics API: \
                     no external metrics API (external.metrics.k8s.io) registered",
                    text("/external/metric/name")
                );
                return Err(("FailedGetExternalMetric", message));
            }
            other => {
                return Err(("InvalidMetricSourceType", format!("unknown metric source type {other:?}")));
            }
        };
        let source = metric.get(field).unwrap_or(&Value::Null);
        let own = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default();
        let (resource, container) = (own("name"), own("container"));
        let target = source.get("target").unwrap_or(&Value::Null);
        let average = target.get("averageValue").and_then(|amount| Quantity::from_json(amount).ok());
        let percent = target.get("averageUtilization").and_then(Value::as_i64);
        let (goal, what) = match (average, percent) {
            (Some(average), _) => (Goal::Average(average.milli()), "usage"),
            (None, Some(percent)) => (Goal::Utilization(percent), "utilization"),
            (None, None) => {
                let message = "invalid resource metric source: neither an average utilization target nor an average \
                               value (usage) target was set";
                return Err((failed, message.to_owned()));
            }
        };
        let found = self.replicas(resource, container, namespace, goal);
        let (replicas, used) =
            found.map_err(|error| (failed, format!("failed to get {resource} {what}: {error}")))?;
        let mut current = json!({"averageValue": milli(used.average)});
        let of_container = if container.is_empty() { "" } else { "container " };
        let name = match goal {
            Goal::Average(_) => format!("{resource} {of_container}resource"),
            Goal::Utilization(_) => {
                current["averageUtilization"] = used.percent.into();
                format!("{resource} {of_container}resource utilization (percentage of request)")
            }
        };
        let mut status = json!({"name": resource, "current": current});
        if !container.is_empty() {
            status["container"] = container.into();
        }
        let mut of_kind = json!({"type": kind});
        of_kind[field] = status;
        Ok(Answer { replicas, name, status: of_kind })
    }

    fn replicas(
        &self,
        name: &str,
        container: &str,
        namespace: &str,
        goal: Goal,
    ) -> Result<(i64, Use), String> {
        let unable = |why: String| format!("unable to get metrics for resource {name}: {why}");
        let resource = RESOURCES.iter().position(|known| *known == name).unwrap_or(usize::MAX);
        let lacks = |pod: &&Pod| pod.usage.as_ref().is_some_and(|usage| usage.of(0, container).is_none());
        if let Some(pod) = self.pods.iter().find(lacks).filter(|_| !container.is_empty()) {
            let pod = format!("{namespace}/{}", pod.name);
            return Err(unable(format!("container {container} not present in metrics for pod {pod}")));
        }
        let knows =
            |pod: &Pod| pod.usage.as_ref().is_some_and(|usage| usage.of(resource, container).is_some());
        if !self.pods.iter().any(knows) {
            return Err(unable("no metrics returned from resource metrics API".to_owned()));
        }
        // Of each pod that counts, what it uses and asks for.
        let (mut counted, mut missing, mut unready) = (Vec::new(), Vec::new(), Vec::new());
        let mut requests = Ok(());
        for pod in self.pods {
            let request = match goal {
                Goal::Average(_) => 0,
                Goal::Utilization(_) => pod.request(resource, container).unwrap_or_else(|error| {
                    requests = std::mem::replace(&mut requests, Ok(())).and(Err(error));
                    0
                }),
            };
            match pod.standing(resource, container, self.now) {
                Standing::Ignored => {}
                Standing::Unready => unready.push(request),
                Standing::Missing => missing.push(request),
                Standing::Ready(value) => counted.push((value, request)),
            }
        }
        if counted.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        requests?;
        let used = goal.compare(&counted)?;
        let ratio = used.ratio;
        let grows_with_unready = !unready.is_empty() && ratio > 1.0;
        if missing.is_empty() && !grows_with_unready {
            let holds = self.tolerances.hold(ratio);
            let replicas = if holds { self.current } else { ceiling(ratio * counted.len() as f64) };
            return Ok((replicas, used));
        }
        // Of pods that nothing is known of, what keeps the change small is taken for granted.
        if ratio != 1.0 {
            counted.extend(missing.into_iter().map(|request| match goal {
                _ if ratio > 1.0 => (0, request),
                Goal::Utilization(percent) => (request.saturating_mul(percent.max(100)) / 100, request),
                Goal::Average(amount) => (amount, request),
            }));
        }
        if grows_with_unready {
            counted.extend(unready.into_iter().map(|request| (0, request)));
        }
        let then = goal.compare(&counted)?.ratio;
        let replicas = ceiling(then * counted.len() as f64);
        let turns = (ratio < 1.0 && then > 1.0)
            || (ratio > 1.0 && then < 1.0)
            || (then < 1.0 && replicas > self.current)
            || (then > 1.0 && replicas < self.current);
        let stays = turns || self.tolerances.hold(then);
        Ok((if stays { self.current } else { replicas }, used))
    }
}

impl Goal {
    fn compare(self, pods: &[(i64, i64)]) -> Result<Use, String> {
        let sum = |part: fn(&(i64, i64)) -> i64| pods.iter().map(part).fold(0, i64::saturating_add);
        let (used, asked) = (sum(|pod| pod.0), sum(|pod| pod.1));
        let average = used / i64::try_from(pods.len()).unwrap_or(1).max(1);
        match self {
            Self::Average(amount) => Ok(Use { ratio: average as f64 / amount as f64, percent: 0, average }),
            Self::Utilization(_) if asked <= 0 => Err("no metrics returned matched known pods".to_owned()),
            Self::Utilization(target) => {
                let percent = (used.saturating_mul(100) / asked).min(i64::from(i32::MAX));
                Ok(Use { ratio: percent as f64 / target as f64, percent, average })
            }
        }
    }
}

fn ceiling(replicas: f64) -> i64 {
    (replicas.ceil() as i64).min(i64::from(i32::MAX))
}

/// Thousandths as a quantity.
fn milli(amount: i64) -> String {
    Quantity::parse(&format!("{amount}m")).map_or_else(|_| format!("{amount}m"), |amount| amount.to_string())
}
