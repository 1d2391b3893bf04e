//! How many replicas a Deployment may have and must keep.

use serde_json::Value;

use crate::api::Object;

pub struct Bounds {
    /// As asked for.
    pub replicas: i64,
    pub is_recreate: bool,
    /// So many more there may be during a rollout.
    pub surge: i64,
    /// So many of them may be missing.
    pub unavailable: i64,
}

impl Bounds {
    pub fn of(deployment: &Object) -> Self {
        let replicas = deployment.i64_at("/spec/replicas").unwrap_or(1).max(0);
        if deployment.str_at("/spec/strategy/type") == "Recreate" {
            return Self { replicas, is_recreate: true, surge: 0, unavailable: 0 };
        }
        let part = |name, up| {
            let value = deployment.at(&format!("/spec/strategy/rollingUpdate/{name}"));
            value.map_or_else(|| scaled(&"25%".into(), replicas, up), |value| scaled(value, replicas, up))
        };
        let (surge, mut unavailable) = (part("maxSurge", true), part("maxUnavailable", false));
        // Both came to nothing by rounding: a rollout must be able to go on.
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { replicas, is_recreate: false, surge, unavailable: unavailable.min(replicas) }
    }

    pub fn least(&self) -> i64 {
        self.replicas - self.unavailable
    }

    pub fn most(&self) -> i64 {
        self.replicas + self.surge
    }
}

/// A number, or so many percent of `whole`. What is neither counts as none: it was refused when it was written.
pub fn scaled(value: &Value, whole: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    let number = match percent {
        Some(percent) => percent.saturating_mul(whole).saturating_add(if up { 99 } else { 0 }) / 100,
        None => value.as_i64().unwrap_or(0),
    };
    number.clamp(0, i64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn surge_is_rounded_up_and_unavailable_down() {
        // replicas, maxSurge, maxUnavailable → surge, unavailable: upstream's ResolveFenceposts.
        for (replicas, surge, unavailable, expected) in [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (3, json!("25%"), json!("25%"), (1, 0)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (10, json!(0), json!("5%"), (0, 1)),
            (10, json!("0%"), json!("0%"), (0, 1)),
            (2, json!(0), json!(5), (0, 2)),
            (0, json!(1), json!(1), (1, 0)),
            (10, json!("150%"), json!(0), (15, 0)),
            (4, json!("99999999999999999999%"), json!(1), (0, 1)),
        ] {
            let deployment = json!({"spec": {"replicas": replicas,
                "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
            let bounds = Bounds::of(&Object::from_value(deployment.clone()).unwrap());
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{deployment}");
        }
    }
}
