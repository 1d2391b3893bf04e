//! ControllerRevisions and PodTemplates: data for controllers.

use super::{PLAIN, Workload, immutable, not_negative, pod, value};
use crate::api::Cause;

pub static CONTROLLER_REVISION: Workload = Workload {
    template: "",
    status: None,
    rules: |new, old, causes| {
        if value(new, "data").is_null() {
            causes.push(Cause::required("data", "data is mandatory"));
        }
        not_negative(new, &["revision"], causes);
        immutable(new, old, &["data"], causes);
    },
    ..PLAIN
};

pub static POD_TEMPLATE: Workload = Workload {
    template: "/template",
    status: None,
    rules: |new, old, causes| pod::template::validate(new, old, "/template", &[], causes),
    ..PLAIN
};
