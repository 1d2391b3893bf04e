//! Probes as a container declares them, and when their results count.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Verdict;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Startup => "startup",
            Kind::Liveness => "liveness",
            Kind::Readiness => "readiness",
        }
    }

    /// As events begin.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// A container's probes.
pub struct Declared {
    pub startup: Option<Probe>,
    pub liveness: Option<Probe>,
    pub readiness: Option<Probe>,
    /// What the handlers look at of the container.
    pub container: Value,
}

pub struct Probe {
    pub kind: Kind,
    /// With its one handler.
    pub action: Value,
    pub delay: Duration,
    pub timeout: Duration,
    pub period: Duration,
    pub thresholds: Thresholds,
    pub grace_seconds: Option<u64>,
}

/// How many results in a row count.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    pub success: u32,
    pub failure: u32,
}

/// The results so far.
#[derive(Debug, Default)]
pub struct Row {
    last: bool,
    length: u32,
}

impl Declared {
    pub fn of(container: &Value) -> Declared {
        let probe = |kind: Kind| {
            let probe = container.get(format!("{}Probe", kind.name())).filter(|probe| probe.is_object())?;
            Some(Probe::new(kind, probe))
        };
        let kept =
            ["ports"].into_iter().filter_map(|key| Some((key.to_owned(), container.get(key)?.clone())));
        Declared {
            startup: probe(Kind::Startup),
            liveness: probe(Kind::Liveness),
            readiness: probe(Kind::Readiness),
            container: Value::Object(kept.collect::<Map<_, _>>()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.startup.is_none() && self.liveness.is_none() && self.readiness.is_none()
    }

    /// Before any probe has said anything.
    pub fn initial(&self) -> Verdict {
        let started = self.startup.is_none();
        Verdict { started, ready: started && self.readiness.is_none(), failed: None }
    }
}

impl Probe {
    fn new(kind: Kind, probe: &Value) -> Probe {
        let number = |key: &str, default: u64| match probe.get(key).and_then(Value::as_i64) {
            // The bound of an int32: sums of times can't overflow.
            Some(number @ 1..) => number.unsigned_abs().min(i32::MAX as u64),
            _ => default,
        };
        let seconds = |key: &str, default: u64| Duration::from_secs(number(key, default));
        let count = |key: &str, default: u64| u32::try_from(number(key, default)).unwrap_or(u32::MAX);
        Probe {
            kind,
            action: probe.clone(),
            delay: seconds("initialDelaySeconds", 0),
            timeout: seconds("timeoutSeconds", 1),
            period: seconds("periodSeconds", 10),
            thresholds: Thresholds {
                success: count("successThreshold", 1),
                failure: count("failureThreshold", 3),
            },
            grace_seconds: Some(number("terminationGracePeriodSeconds", 0)).filter(|seconds| *seconds > 0),
        }
    }
}

impl Row {
    /// Takes a result. Some: there have been enough of its kind in a row for it to count.
    pub fn take(&mut self, succeeded: bool, thresholds: Thresholds) -> Option<bool> {
        self.length = if self.last == succeeded { self.length.saturating_add(1) } else { 1 };
        self.last = succeeded;
        let needed = if succeeded { thresholds.success } else { thresholds.failure };
        (self.length >= needed).then_some(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_count_when_there_are_enough_in_a_row() {
        let cases: [(u32, u32, &str, &str); 6] = [
            (1, 3, "ffffs", "..ffs"),
            (1, 3, "ffsff", "..s.."),
            (2, 1, "sfss", ".f.s"),
            (1, 1, "sf", "sf"),
            (3, 3, "ssffsss", "......s"),
            (1, 1, "", ""),
        ];
        for (success, failure, results, counted) in cases {
            let mut row = Row::default();
            let thresholds = Thresholds { success, failure };
            let found: String = results
                .chars()
                .map(|result| match row.take(result == 's', thresholds) {
                    Some(true) => 's',
                    Some(false) => 'f',
                    None => '.',
                })
                .collect();
            assert_eq!(found, counted, "{success} {failure} {results}");
        }
    }

    #[test]
    fn numbers_and_first_verdicts() {
        let declared = Declared::of(&json!({
            "name": "a", "env": [{"name": "SECRET", "value": "x"}], "ports": [{"name": "http", "containerPort": 80}],
            "livenessProbe": {"periodSeconds": 0, "timeoutSeconds": -1, "failureThreshold": 5_000_000_000_i64},
            "startupProbe": {"initialDelaySeconds": 7, "terminationGracePeriodSeconds": 4},
            "readinessProbe": null,
        }));
        let liveness = declared.liveness.as_ref().unwrap();
        assert_eq!((liveness.period.as_secs(), liveness.timeout.as_secs()), (10, 1));
        assert_eq!((liveness.thresholds.failure, liveness.grace_seconds), (i32::MAX as u32, None));
        let startup = declared.startup.as_ref().unwrap();
        assert_eq!((startup.delay.as_secs(), startup.grace_seconds), (7, Some(4)));
        assert!(declared.readiness.is_none());
        assert_eq!(declared.container, json!({"ports": [{"name": "http", "containerPort": 80}]}));

        for (container, started, ready) in [
            (json!({"startupProbe": {}}), false, false),
            (json!({"startupProbe": {}, "readinessProbe": {}}), false, false),
            (json!({"readinessProbe": {}}), true, false),
            (json!({"livenessProbe": {}}), true, true),
        ] {
            let initial = Declared::of(&container).initial();
            assert_eq!((initial.started, initial.ready), (started, ready), "{container}");
        }
        assert!(Declared::of(&json!({"name": "a"})).is_empty());
    }
}
