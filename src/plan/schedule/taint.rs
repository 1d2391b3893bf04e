//! Taints and tolerations (core/v1 `Taint`, `Toleration.ToleratesTaint`).

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

impl Taint {
    pub fn of(taint: &Value) -> Option<Self> {
        let text = |key: &str| taint[key].as_str().unwrap_or_default().to_owned();
        Some(Self { key: text("key"), value: text("value"), effect: Effect::parse(&text("effect"))? })
    }

    fn named(key: &str) -> Self {
        Self { key: format!("node.kubernetes.io/{key}"), value: String::new(), effect: Effect::NoSchedule }
    }

    pub(super) fn not_ready() -> Self {
        Self::named("not-ready")
    }

    pub(super) fn unreachable() -> Self {
        Self::named("unreachable")
    }

    pub(super) fn unschedulable() -> Self {
        Self::named("unschedulable")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Toleration {
    /// Empty, with `exists`: every key.
    key: String,
    exists: bool,
    value: String,
    /// None: every effect. `Some(None)`: one that is not known, which covers nothing.
    effect: Option<Option<Effect>>,
}

impl Toleration {
    pub fn of(toleration: &Value) -> Self {
        let text = |key: &str| toleration[key].as_str().unwrap_or_default();
        let effect = text("effect");
        Self {
            key: text("key").to_owned(),
            exists: text("operator") == "Exists",
            value: text("value").to_owned(),
            effect: (!effect.is_empty()).then(|| Effect::parse(effect)),
        }
    }

    pub fn covers(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_none_or(|effect| effect == Some(taint.effect));
        let key = if self.key.is_empty() { self.exists } else { self.key == taint.key };
        effect && key && (self.exists || self.value == taint.value)
    }
}
