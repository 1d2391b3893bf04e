//! `clusterIP`, `clusterIPs`, `ipFamilies`, `ipFamilyPolicy`: four fields for one address, since a midge
//! cluster has IPv4 only.

use serde_json::{Value, json};

use super::{is_headless, service_type};
use crate::api::strategy::{restore, shape};
use crate::api::{Cause, Object};

const IP: &str = "/spec/clusterIP";
const IPS: &str = "/spec/clusterIPs";
const FAMILIES: &str = "/spec/ipFamilies";
const POLICY: &str = "/spec/ipFamilyPolicy";

/// Whether services of its type have an address.
pub fn needs_one(service: &Object) -> bool {
    matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Clients set `clusterIP` or `clusterIPs`: the other follows. On an update what was given out is kept.
/// Then the families, which follow from the address.
pub fn synchronize(new: &mut Object, old: Option<&Object>) {
    match old {
        None => {}
        Some(old) => {
            let (ip_changed, ips_changed) =
                (new.str_at(IP) != old.str_at(IP), new.array_at(IPS) != old.array_at(IPS));
            if ip_changed && !ips_changed {
                new.remove(IPS);
            }
            let kept = needs_one(old) && needs_one(new);
            if kept && new.str_at(IP).is_empty() && new.array_at(IPS).is_empty() {
                restore(new, old, IP);
                restore(new, old, IPS);
            }
            for field in [FAMILIES, POLICY] {
                if kept && new.at(field).is_none_or(|value| value == &json!([])) {
                    restore(new, old, field);
                }
            }
        }
    }
    if !new.str_at(IP).is_empty() && new.array_at(IPS).is_empty() {
        let ip = new.str_at(IP).to_owned();
        new.set(IPS, json!([ip]));
    }
    if needs_one(new) {
        let free = is_headless(new) && new.map_at("/spec/selector").is_none_or(serde_json::Map::is_empty);
        if new.at(POLICY).is_none() {
            // Upstream's rule: a headless service whose endpoints its owner makes may have both families.
            new.set(POLICY, if free { "RequireDualStack" } else { "SingleStack" });
        }
        if new.array_at(FAMILIES).is_empty() {
            let both = free && new.str_at(POLICY) != "SingleStack";
            new.set(FAMILIES, if both { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) });
        }
    }
}

pub fn validate(service: &Object, causes: &mut Vec<Cause>) {
    if !needs_one(service) {
        return;
    }
    let (ip, ips) = (service.str_at(IP), service.array_at(IPS));
    let field = "spec.clusterIPs";
    let whole = || Value::from(ips);
    match ips.first().and_then(Value::as_str) {
        Some(_) if ip.is_empty() => {
            causes.push(Cause::invalid(field, whole(), "must be empty when `clusterIP` is not specified"));
        }
        Some(first) if first != ip => {
            causes.push(Cause::invalid(field, whole(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    for (index, address) in ips.iter().enumerate() {
        let (field, address) = (format!("{field}[{index}]"), address.as_str().unwrap_or(""));
        if address == "None" {
            if ips.len() > 1 {
                causes.push(Cause::invalid(field, whole(), "'None' must be the first and only value"));
            }
        } else if let Err(message) = shape::is_ip(address) {
            causes.push(Cause::invalid(field, address, &message));
        } else if address.contains(':') {
            causes.push(Cause::invalid(field, whole(), "IPv6 is not configured on this cluster"));
        }
    }
    families(service, causes);
    if ips.len() > 1 {
        let detail = "may only hold up to 1 value: this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid(field, whole(), detail));
    }
}

fn families(service: &Object, causes: &mut Vec<Cause>) {
    const FIELD: &str = "spec.ipFamilyPolicy";
    let policy = service.str_at(POLICY);
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !policies.contains(&policy) {
        causes.push(Cause::not_supported(FIELD, policy, &policies));
    }
    // Nothing is given out to such a service, whatever it says.
    let free = is_headless(service) && service.map_at("/spec/selector").is_none_or(serde_json::Map::is_empty);
    if policy == "RequireDualStack" && !free {
        let detail = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid(FIELD, policy, detail));
    }
    let families = service.array_at(FAMILIES);
    if policy == "SingleStack" && families.len() > 1 {
        let detail =
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        causes.push(Cause::invalid(FIELD, policy, detail));
    }
    for (index, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        match family.as_str().unwrap_or("") {
            _ if families.iter().take(index).any(|other| other == family) => {
                causes.push(Cause::duplicate(field, family.clone()));
            }
            "IPv4" => {}
            "IPv6" if free => {}
            "IPv6" => causes.push(Cause::invalid(field, "IPv6", "not configured on this cluster")),
            other => causes.push(Cause::not_supported(field, other, &["IPv4", "IPv6"])),
        }
    }
}

/// A service keeps its address for as long as it has one.
pub fn validate_update(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    if !needs_one(new) || !needs_one(old) {
        return;
    }
    let first = |service: &Object, field: &str| {
        service.array_at(field).first().and_then(Value::as_str).unwrap_or("").to_owned()
    };
    for field in [IPS, FAMILIES] {
        let (now, was) = (first(new, field), first(old, field));
        let detail = match (now.as_str(), was.as_str()) {
            (_, "") => continue,
            (now, was) if now == was => continue,
            ("", _) if field == IPS => "primary clusterIP can not be unset",
            ("", _) => "primary ipFamily can not be unset",
            _ => "may not change once set",
        };
        let path = format!("spec.{}[0]", field.trim_start_matches("/spec/"));
        causes.push(Cause::invalid(path, Value::from(new.array_at(field)), detail));
    }
}
