//! What a container may take of the machine (`linux.resources`), and when it is killed for want of memory.

use serde_json::{Map, Value, json};

use super::{Error, Inputs, qos_class, text};
use crate::api::quantity::Quantity;
use crate::sys::cgroup::page_size;

/// The period of a processor quota, microseconds.
pub const CPU_PERIOD: i64 = 100_000;
/// The kernel's smallest quota.
const MIN_CPU_QUOTA: i64 = 1000;
const MIN_CPU_SHARES: i64 = 2;
const MAX_CPU_SHARES: i64 = 262_144;

/// An amount in `limits` or `requests`.
pub fn amount(container: &Value, table: &str, resource: &str) -> Result<Option<Quantity>, Error> {
    let tables = container.pointer("/resources").and_then(|resources| resources.get(table));
    let Some(value) = tables.and_then(|table| table.get(resource)).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let failed = |_| Error::Resource { resource: resource.to_owned(), value: value.to_string() };
    Quantity::from_json(value).map(Some).map_err(failed)
}

/// Of thousandths of a processor.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli.max(0).saturating_mul(1024) / 1000).clamp(MIN_CPU_SHARES, MAX_CPU_SHARES)
}

/// Microseconds of each [`CPU_PERIOD`]; None: no limit.
pub fn cpu_quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_CPU_QUOTA))
}

/// `linux.resources`. What the machine can't enforce is left out with a warning.
pub fn resources(inputs: &Inputs<'_>, warnings: &mut Vec<String>) -> Result<Value, Error> {
    let (container, machine) = (inputs.container, inputs.machine);
    let name = text(container, "/name").unwrap_or("");
    let mut warn = |what: &str, advice: &str| {
        warnings.push(format!("{what} limit of container {name} is not enforced: {advice}"));
    };
    let cpu_limit = amount(container, "limits", "cpu")?.map(Quantity::milli);
    let cpu_request = amount(container, "requests", "cpu")?.map(Quantity::milli).or(cpu_limit).unwrap_or(0);
    let mut cpu = json!({"shares": cpu_shares(cpu_request)});
    match cpu_limit.and_then(cpu_quota) {
        Some(quota) if machine.has_cpu_quota => {
            cpu["quota"] = quota.into();
            cpu["period"] = CPU_PERIOD.into();
        }
        Some(_) => warn("cpu", "the kernel is built without CONFIG_CFS_BANDWIDTH"),
        None => {}
    }
    // runc adds the devices that every container has.
    let mut resources = json!({"cpu": cpu, "devices": [{"allow": false, "access": "rwm"}]});
    let memory = amount(container, "limits", "memory")?.map(Quantity::value).filter(|bytes| *bytes > 0);
    match (memory, &machine.memory_advice) {
        (Some(limit), None) => resources["memory"] = json!({"limit": limit}),
        (Some(_), Some(advice)) => warn("memory", advice),
        (None, _) => {}
    }
    // Half a container's processes are of no use.
    if machine.cgroup_v2 && machine.memory_advice.is_none() {
        resources["unified"] = json!({"memory.oom.group": "1"});
    }
    let huge_pages = huge_pages(container, &machine.huge_pages)?;
    if !huge_pages.is_empty() {
        let limits = huge_pages.iter().map(|(size, limit)| json!({"pageSize": size, "limit": limit}));
        resources["hugepageLimits"] = limits.collect();
    }
    Ok(resources)
}

/// A limit for each size that the machine has; 0 for those that are not asked for.
fn huge_pages(container: &Value, sizes: &[String]) -> Result<Vec<(String, i64)>, Error> {
    let limits = container.pointer("/resources/limits").and_then(Value::as_object);
    let mut found: Vec<(String, i64)> = sizes.iter().map(|size| (size.clone(), 0)).collect();
    for name in limits.into_iter().flat_map(Map::keys) {
        let Some(size) = name.strip_prefix("hugepages-") else { continue };
        let size = Quantity::parse(size).map_or(0, |size| size.value().max(0).unsigned_abs());
        let size = page_size(size);
        let limit = amount(container, "limits", name)?.map_or(0, Quantity::value);
        if let Some((_, known)) = found.iter_mut().find(|(known, _)| *known == size) {
            *known = limit;
        }
    }
    Ok(found)
}

/// As the kubelet scores: the more of its request's share a container leaves, the later it is killed. One that
/// runs beside the others (a restartable init container) goes no earlier than they do.
pub fn oom_score(inputs: &Inputs<'_>) -> Result<i64, Error> {
    let capacity = i64::try_from(inputs.machine.memory).unwrap_or(i64::MAX).max(1);
    let share = |container: &Value| -> Result<i64, Error> {
        let limit = amount(container, "limits", "memory")?;
        let request = amount(container, "requests", "memory")?.or(limit).map_or(0, Quantity::value);
        Ok(1000 - request.max(0).saturating_mul(1000) / capacity)
    };
    let wanted = match qos_class(inputs.pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let mut score = share(inputs.container)?;
            if text(inputs.container, "/restartPolicy") == Some("Always") {
                for other in inputs.pod.array_at("/spec/containers") {
                    score = score.min(share(other)?);
                }
            }
            score.clamp(3, 999)
        }
    };
    let score = wanted.max(inputs.machine.oom_floor);
    if score != wanted {
        log::debug!("OOM score {wanted} needs CAP_SYS_RESOURCE: container {} has {score}", inputs.id);
    }
    Ok(score)
}
