//! Security contexts, and where variables come from.

use serde_json::{Map, Value};

use super::Rule::{Acts, In, Refused, Unless};
use super::{Object, Row};

#[rustfmt::skip]
pub const POD_SECURITY: &[Row] = &[
    ("seLinuxOptions",           Refused),
    ("windowsOptions",           Refused),
    ("runAsUser",                Acts),
    ("runAsGroup",               Acts),
    ("runAsNonRoot",             Acts),
    ("supplementalGroups",       Acts),
    ("supplementalGroupsPolicy", Acts),
    ("fsGroup",                  Acts),
    ("sysctls",                  In(SYSCTL)),
    ("fsGroupChangePolicy",      Acts),
    ("seccompProfile",           Acts),
    ("appArmorProfile",          Acts),
    ("seLinuxChangePolicy",      Refused),
];

#[rustfmt::skip]
pub const SECURITY_CONTEXT: &[Row] = &[
    ("capabilities",             Acts),
    ("privileged",               Acts),
    ("seLinuxOptions",           Refused),
    ("windowsOptions",           Refused),
    ("runAsUser",                Acts),
    ("runAsGroup",               Acts),
    ("runAsNonRoot",             Acts),
    ("readOnlyRootFilesystem",   Acts),
    ("allowPrivilegeEscalation", Acts),
    ("procMount",                Acts),
    ("seccompProfile",           Acts),
    ("appArmorProfile",          Acts),
];

#[rustfmt::skip]
pub const SYSCTL: &[Row] = &[
    ("name",  Unless(is_the_pods)),
    ("value", Acts),
];

#[rustfmt::skip]
pub const ENV_VAR_SOURCE: &[Row] = &[
    ("fieldRef",         Acts),
    ("resourceFieldRef", Acts),
    ("configMapKeyRef",  Acts),
    ("secretKeyRef",     Acts),
    ("fileKeyRef",       Refused),
];

/// What upstream calls safe: they hold for the pod alone, and do no harm to the node.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// A safe one, in a namespace that is the pod's own.
fn is_the_pods(name: &Value, _: &Map<String, Value>, pod: &Object) -> bool {
    let name = name.as_str().unwrap_or("").replace('/', ".");
    let host = if name.starts_with("net.") { "/spec/hostNetwork" } else { "/spec/hostIPC" };
    SAFE_SYSCTLS.contains(&name.as_str()) && !pod.bool_at(host)
}
