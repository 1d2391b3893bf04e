//! The columns of HorizontalPodAutoscalers.

use serde_json::Value;

use super::{AGE, Column, NAME, NONE, count};
use crate::api::Object;

pub const HORIZONTAL_POD_AUTOSCALER: &[Column] = &[
    NAME,
    Column::text("Reference", "What it scales.", |object, _| {
        let part = |key| object.str_at(key);
        format!("{}/{}", part("/spec/scaleTargetRef/kind"), part("/spec/scaleTargetRef/name")).into()
    }),
    Column::text("Targets", "Metrics as they are, and as they shall be.", |object, _| targets(object).into()),
    Column::text("MinPods", "The fewest pods.", |object, _| match object.i64_at("/spec/minReplicas") {
        Some(least) => least.to_string().into(),
        None => "<unset>".into(),
    }),
    Column::text("MaxPods", "The most pods.", |object, _| count(object, "/spec/maxReplicas")).integer(),
    Column::text("Replicas", "Pods that there are.", |object, _| count(object, "/status/currentReplicas"))
        .integer(),
    AGE,
];

/// Metrics that are shown of many.
const SHOWN: usize = 2;

fn targets(object: &Object) -> String {
    let metrics = object.array_at("/spec/metrics");
    let current = object.array_at("/status/currentMetrics");
    let mut texts: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let count = texts.len();
    if count == 0 {
        return NONE.to_owned();
    }
    texts.truncate(SHOWN);
    let list = texts.join(", ");
    if count > SHOWN { format!("{list} + {} more...", count - SHOWN) } else { list }
}

fn target(metric: &Value, current: &Value) -> String {
    let kind = metric.get("type").and_then(Value::as_str).unwrap_or("");
    let field = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let amount = |value: &Value, part: &str, key: &str| match value.pointer(&format!("/{field}/{part}/{key}"))
    {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let pair = |key: &str, unit: &str| {
        let wanted = amount(metric, "target", key)?;
        let found = amount(current, "current", key).map(|found| format!("{found}{unit}"));
        Some(format!("{}/{wanted}{unit}", found.unwrap_or_else(|| "<unknown>".to_owned())))
    };
    let average = pair("averageValue", "");
    match kind {
        "Pods" => average.unwrap_or_default(),
        "External" | "Object" => match average {
            Some(average) => format!("{average} (avg)"),
            None => pair("value", "").unwrap_or_default(),
        },
        _ => {
            let name = metric.pointer(&format!("/{field}/name")).and_then(Value::as_str).unwrap_or("");
            let text = average.or_else(|| pair("averageUtilization", "%"));
            format!("{name}: {}", text.unwrap_or_else(|| "<unknown>/<auto>".to_owned()))
        }
    }
}
