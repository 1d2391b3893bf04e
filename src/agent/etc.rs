//! The files under a pod's `/etc` that the node writes: hosts, hostname, resolv.conf.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::outbox::Cluster;
use crate::api::Object;
use crate::sys::file;

/// Writes the files into `<folder>/etc`. They are made anew with each sandbox, so nothing is synced.
pub fn write(
    folder: &Path,
    pod: &Object,
    hostname: &str,
    ips: &[IpAddr],
    cluster: &Cluster,
    host_resolv_conf: &Path,
) -> io::Result<()> {
    let etc = folder.join("etc");
    file::create_private_folder(&etc)?;
    // Containers of any user read them, through their own mounts.
    let host = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let host_network = pod.bool_at("/spec/hostNetwork");
    let hosts =
        if host_network { host(Path::new("/etc/hosts")) } else { hosts(pod, hostname, ips, &cluster.domain) };
    let resolv_conf = resolv_conf(pod, cluster, &host(host_resolv_conf));
    let hostname = format!("{hostname}\n");
    for (name, text) in [("hosts", hosts), ("hostname", hostname), ("resolv.conf", resolv_conf)] {
        // In place: containers have the file itself bound, not its name.
        let path = etc.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// The name that a pod has for itself: `spec.hostname`, or its own name cut to what a kernel takes.
pub fn hostname(pod: &Object) -> String {
    let name = match pod.str_at("/spec/hostname") {
        "" => pod.name(),
        hostname => hostname,
    };
    name.get(..63).unwrap_or(name).trim_end_matches(['-', '.']).to_owned()
}

fn hosts(pod: &Object, hostname: &str, ips: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    );
    let subdomain = pod.str_at("/spec/subdomain");
    for ip in ips {
        // Writing to a String can't fail.
        let _ = match subdomain {
            "" => writeln!(text, "{ip}\t{hostname}"),
            _ => writeln!(text, "{ip}\t{hostname}.{subdomain}.{}.svc.{domain}\t{hostname}", pod.namespace()),
        };
    }
    for alias in pod.array_at("/spec/hostAliases") {
        let names = strings(alias.get("hostnames"));
        if let Some(ip) = alias.get("ip").and_then(Value::as_str) {
            let _ = writeln!(text, "{ip}\t{}", names.join("\t"));
        }
    }
    text
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The resolver's configuration for the pod's `dnsPolicy`. ClusterFirst on the host's network, and while
/// the cluster has no DNS, is the host's.
fn resolv_conf(pod: &Object, cluster: &Cluster, host: &str) -> String {
    let own = strings(pod.at("/spec/dnsConfig/nameservers"));
    let searches = strings(pod.at("/spec/dnsConfig/searches"));
    let policy = pod.str_at("/spec/dnsPolicy");
    let cluster_first = match policy {
        "ClusterFirstWithHostNet" => true,
        "" | "ClusterFirst" => !pod.bool_at("/spec/hostNetwork"),
        _ => false,
    };
    let mut text = String::new();
    if policy == "None" {
    } else if cluster_first && !cluster.dns.is_empty() {
        let (namespace, domain) = (pod.namespace(), &cluster.domain);
        let _ = writeln!(text, "search {namespace}.svc.{domain} svc.{domain} {domain}");
        let _ = writeln!(text, "nameserver {}\noptions ndots:5", cluster.dns);
    } else {
        text.push_str(host);
        if !host.is_empty() && !host.ends_with('\n') {
            text.push('\n');
        }
    }
    if !searches.is_empty() {
        // The last `search` line counts: resolv.conf(5).
        let before =
            text.lines().rev().find_map(|line| line.strip_prefix("search ")).unwrap_or("").to_owned();
        let all: Vec<&str> = before.split_whitespace().chain(searches).collect();
        let _ = writeln!(text, "search {}", all.join(" "));
    }
    for nameserver in own {
        let _ = writeln!(text, "nameserver {nameserver}");
    }
    for option in pod.array_at("/spec/dnsConfig/options") {
        let name = option.get("name").and_then(Value::as_str).unwrap_or("");
        let _ = match option.get("value").and_then(Value::as_str) {
            Some(value) => writeln!(text, "options {name}:{value}"),
            None => writeln!(text, "options {name}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    #[test]
    fn who_answers_names() {
        let cluster =
            Cluster { dns: "10.43.0.10".into(), domain: "cluster.local".into(), ..Cluster::default() };
        let host = "nameserver 192.0.2.53";
        let cluster_first = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n";
        for (spec, cluster, expected) in [
            (json!({}), &cluster, cluster_first),
            (json!({}), &Cluster::default(), "nameserver 192.0.2.53\n"),
            (json!({"dnsPolicy": "Default"}), &cluster, "nameserver 192.0.2.53\n"),
            (json!({"hostNetwork": true}), &cluster, "nameserver 192.0.2.53\n"),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"],
                       "options": [{"name": "ndots", "value": "2"}]}}),
                &cluster,
                "search a\nnameserver 1.1.1.1\noptions ndots:2\n",
            ),
        ] {
            assert_eq!(resolv_conf(&pod(spec), cluster, host), expected);
        }
    }

    #[test]
    fn a_pod_knows_its_name() {
        let ips = ["10.42.0.5".parse().unwrap()];
        let text = hosts(&pod(json!({"subdomain": "db"})), "web", &ips, "cluster.local");
        assert!(text.ends_with("10.42.0.5\tweb.db.shop.svc.cluster.local\tweb\n"), "{text}");
        assert_eq!(hostname(&pod(json!({"hostname": "own"}))), "own");
    }
}
