//! A pod's resolv.conf(5).

use serde_json::Value;

use super::strings;
use crate::agent::outbox::Cluster;
use crate::api::Object;

/// What resolvers read of it, as the kubelet counts.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCH: usize = 2048;

pub struct Resolver {
    pub text: String,
    /// What is left out.
    pub warnings: Vec<String>,
}

#[derive(Default)]
struct Settings {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// For the pod's `dnsPolicy`, with its `dnsConfig` added. ClusterFirst on the host's network, and while the
/// cluster has no DNS, is the host's.
pub fn of(pod: &Object, cluster: &Cluster, host: &str) -> Resolver {
    let policy = pod.str_at("/spec/dnsPolicy");
    let cluster_first = match policy {
        "ClusterFirstWithHostNet" => true,
        "" | "ClusterFirst" => !pod.bool_at("/spec/hostNetwork"),
        _ => false,
    };
    let mut settings = if policy == "None" { Settings::default() } else { parse(host) };
    if cluster_first && !cluster.dns.is_empty() {
        let (namespace, domain) = (pod.namespace(), &cluster.domain);
        let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        settings.servers = vec![cluster.dns.clone()];
        settings.searches = own.into_iter().chain(settings.searches).collect();
        settings.options = vec!["ndots:5".to_owned()];
    }
    settings.servers.extend(strings(pod.at("/spec/dnsConfig/nameservers")).into_iter().map(str::to_owned));
    settings.searches.extend(strings(pod.at("/spec/dnsConfig/searches")).into_iter().map(str::to_owned));
    for option in pod.array_at("/spec/dnsConfig/options") {
        let text = |key: &str| option.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(name) = text("name") else { continue };
        settings.options.retain(|known| known.split(':').next() != Some(name));
        settings.options.push(text("value").map_or(name.to_owned(), |value| format!("{name}:{value}")));
    }
    settings.write()
}

fn parse(text: &str) -> Settings {
    let mut settings = Settings::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next();
        let rest = words.map(str::to_owned);
        match first {
            Some("nameserver") => settings.servers.extend(rest.take(1)),
            // The last line counts.
            Some("search" | "domain") => settings.searches = rest.filter(|name| name != ".").collect(),
            Some("options") => settings.options = rest.collect(),
            _ => {}
        }
    }
    settings
}

impl Settings {
    fn write(mut self) -> Resolver {
        for list in [&mut self.servers, &mut self.searches] {
            let mut seen: Vec<String> = Vec::new();
            list.retain(|one| {
                let is_new = !seen.contains(one);
                seen.extend(is_new.then(|| one.clone()));
                is_new
            });
        }
        let mut warnings = Vec::new();
        if self.servers.len() > MOST_SERVERS {
            self.servers.truncate(MOST_SERVERS);
            warnings.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                self.servers.join(" ")
            ));
        }
        let before = self.searches.len();
        self.searches.truncate(MOST_SEARCHES);
        while self.searches.join(" ").len() > LONGEST_SEARCH {
            self.searches.pop();
        }
        if self.searches.len() < before {
            warnings.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                self.searches.join(" ")
            ));
        }
        let line = |word: &str, words: &[String]| match words.is_empty() {
            true => String::new(),
            false => format!("{word} {}\n", words.join(" ")),
        };
        let servers: String = self.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        let text = line("search", &self.searches) + &servers + &line("options", &self.options);
        Resolver { text, warnings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_answers_names() {
        let cluster =
            Cluster { dns: "10.43.0.10".into(), domain: "cluster.local".into(), ..Cluster::default() };
        let host = "# by hand\ndomain old\nsearch home  lan\nnameserver 192.0.2.53\noptions edns0";
        let first = "search shop.svc.cluster.local svc.cluster.local cluster.local home lan\nnameserver 10.43.0.10\noptions ndots:5\n";
        let hosts = "search home lan\nnameserver 192.0.2.53\noptions edns0\n";
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a", "lan"],
                         "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]});
        for (spec, cluster, expected) in [
            (json!({}), &cluster, first),
            (json!({}), &Cluster::default(), hosts),
            (json!({"dnsPolicy": "Default"}), &cluster, hosts),
            (json!({"hostNetwork": true}), &cluster, hosts),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), &cluster, first),
            (
                json!({"dnsPolicy": "None", "dnsConfig": own}),
                &cluster,
                "search a lan\nnameserver 1.1.1.1\noptions ndots:2 rotate\n",
            ),
            (
                json!({"dnsConfig": own}),
                &cluster,
                "search shop.svc.cluster.local svc.cluster.local cluster.local home lan a\nnameserver 10.43.0.10\n\
                 nameserver 1.1.1.1\noptions ndots:2 rotate\n",
            ),
        ] {
            let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
            let found = of(&Object::from_value(pod).unwrap(), cluster, host);
            assert_eq!((found.text.as_str(), found.warnings.len()), (expected, 0));
        }
    }

    #[test]
    fn no_more_than_resolvers_read() {
        let servers: Vec<String> = (1..6).map(|number| format!("192.0.2.{number}")).collect();
        let searches: Vec<String> = (0..40).map(|number| format!("{}{number}", "x".repeat(60))).collect();
        let config = json!({"nameservers": servers, "searches": searches});
        let pod = json!({"metadata": {}, "spec": {"dnsPolicy": "None", "dnsConfig": config}});
        let found = of(&Object::from_value(pod).unwrap(), &Cluster::default(), "");
        assert_eq!(found.text.matches("nameserver").count(), 3);
        assert!(found.text.lines().next().unwrap().len() <= "search ".len() + LONGEST_SEARCH);
        assert!(found.warnings[0].ends_with("192.0.2.1 192.0.2.2 192.0.2.3") && found.warnings.len() == 2);
    }
}
