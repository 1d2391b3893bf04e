//! PodDisruptionBudgets.

use super::{PLAIN, Workload, int_or_percent, not_negative, selector, value};
use crate::api::{Cause, Object};

pub static POD_DISRUPTION_BUDGET: Workload = Workload {
    template: "",
    status: Some(&["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]),
    rules,
    ..PLAIN
};

fn rules(new: &Object, _: Option<&Object>, causes: &mut Vec<Cause>) {
    let bounds = ["spec.minAvailable", "spec.maxUnavailable"];
    if bounds.iter().all(|field| !value(new, field).is_null()) {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid("spec", value(new, "spec").clone(), detail));
    }
    for field in bounds {
        int_or_percent(new, field, true, causes);
    }
    selector::validate("spec.selector", value(new, "spec.selector"), causes);
    not_negative(
        new,
        &[
            "status.disruptionsAllowed",
            "status.currentHealthy",
            "status.desiredHealthy",
            "status.expectedPods",
        ],
        causes,
    );
}
