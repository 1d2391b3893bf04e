//! The files under a pod's `/etc` that the node writes: hosts, hostname, resolv.conf.

mod resolver;

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::outbox::Cluster;
use crate::api::Object;
use crate::sys::{file, host};

/// Writes the files into `<folder>/etc`. They are made anew with each sandbox, so nothing is synced. `hostname`
/// is what the kernel says in the pod. Returns what of the resolver's configuration is left out, for events.
pub fn write(
    folder: &Path,
    pod: &Object,
    hostname: &str,
    ips: &[IpAddr],
    cluster: &Cluster,
    host_resolv_conf: &Path,
) -> io::Result<Vec<String>> {
    let etc = folder.join("etc");
    file::create_private_folder(&etc)?;
    // Containers of any user read them, through their own mounts.
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let hosts = match pod.bool_at("/spec/hostNetwork") {
        true => host_hosts(pod, &read(Path::new("/etc/hosts"))),
        false => hosts(pod, ips, &cluster.domain),
    };
    let resolver = resolver::of(pod, cluster, &read(host_resolv_conf));
    let hostname = format!("{hostname}\n");
    for (name, text) in [("hosts", hosts), ("hostname", hostname), ("resolv.conf", resolver.text)] {
        // In place: containers have the file itself bound, not its name.
        let path = etc.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(resolver.warnings)
}

/// The name that a pod has for itself: `spec.hostname`, or its own name cut to what a DNS label takes.
pub fn hostname(pod: &Object) -> String {
    let name = match pod.str_at("/spec/hostname") {
        "" => pod.name(),
        hostname => hostname,
    };
    name.get(..63).unwrap_or(name).trim_end_matches(['-', '.']).to_owned()
}

/// What `hostname` says in the pod: the node's on its network, the whole name for `setHostnameAsFQDN`.
pub fn kernel_name(pod: &Object, domain: &str) -> String {
    if pod.bool_at("/spec/hostNetwork") {
        return host::hostname();
    }
    match subdomain(pod, domain) {
        Some(subdomain) if pod.bool_at("/spec/setHostnameAsFQDN") => format!("{}.{subdomain}", hostname(pod)),
        _ => hostname(pod),
    }
}

/// The domain that the pod is in by its `subdomain`.
fn subdomain(pod: &Object, domain: &str) -> Option<String> {
    let subdomain = pod.str_at("/spec/subdomain");
    (!subdomain.is_empty()).then(|| format!("{subdomain}.{}.svc.{domain}", pod.namespace()))
}

fn hosts(pod: &Object, ips: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let hostname = hostname(pod);
    for ip in ips {
        // Writing to a String can't fail.
        let _ = match subdomain(pod, domain) {
            None => writeln!(text, "{ip}\t{hostname}"),
            Some(subdomain) => writeln!(text, "{ip}\t{hostname}.{subdomain}\t{hostname}"),
        };
    }
    text + &aliases(pod)
}

/// The node's own file for a pod on its network.
fn host_hosts(pod: &Object, host: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{host}{}", aliases(pod))
}

fn aliases(pod: &Object) -> String {
    let aliases = pod.array_at("/spec/hostAliases");
    let mut text = String::new();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        if let Some(ip) = alias.get("ip").and_then(Value::as_str) {
            let _ = writeln!(text, "{ip}\t{}", strings(alias.get("hostnames")).join("\t"));
        }
    }
    text
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_knows_its_name() {
        let ips = ["10.42.0.5".parse().unwrap()];
        let db = pod(json!({"subdomain": "db", "setHostnameAsFQDN": true,
                            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a", "b.c"]}]}));
        let text = hosts(&db, &ips, "cluster.local");
        let end = "10.42.0.5\tweb.db.shop.svc.cluster.local\tweb\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb.c\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(kernel_name(&db, "cluster.local"), "web.db.shop.svc.cluster.local");
        assert_eq!(hostname(&pod(json!({"hostname": "own"}))), "own");
        assert_eq!(kernel_name(&pod(json!({"setHostnameAsFQDN": true})), "cluster.local"), "web");
        assert_eq!(kernel_name(&pod(json!({"hostNetwork": true})), "cluster.local"), host::hostname());
        let text = host_hosts(&db, "127.0.0.1\tlocalhost\n");
        assert!(
            text.ends_with("localhost\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb.c\n"),
            "{text}"
        );
    }
}
