//! What a pod asks for and may use in all, in the units that its author wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Object;
use crate::api::quantity::Quantity;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// A map of quantities; what is none is left out.
pub fn amounts(map: Option<&Value>) -> Amounts {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?))).collect()
}

pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let before = sum.get(name).copied().unwrap_or(Quantity::of(0));
        sum.insert(name.clone(), before.plus(*amount));
    }
}

fn raise(least: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if least.get(name).is_none_or(|before| before < amount) {
            least.insert(name.clone(), *amount);
        }
    }
}

/// A pod's `requests` or `limits` (upstream's `PodRequests` and `PodLimits`): its containers and sidecars together,
/// or, where that is more, an init container together with the sidecars started before it; and the overhead.
pub fn of_pod(pod: &Object, table: &str) -> Amounts {
    let of = |container: &Value| amounts(container.get("resources").and_then(|all| all.get(table)));
    let mut running = Amounts::new();
    for container in pod.array_at("/spec/containers") {
        add(&mut running, &of(container));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in pod.array_at("/spec/initContainers") {
        let mut now = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut starting, &now);
    }
    raise(&mut running, &starting);
    let mut overhead = amounts(pod.at("/spec/overhead"));
    overhead.retain(|name, _| table == "requests" || running.contains_key(name));
    add(&mut running, &overhead);
    running
}
