//! The API server's own Service, `kubernetes` in `default`, with its endpoint: how pods find the API, and what
//! `kubectl cluster-info` and clients in pods expect. Woken by changes to the three objects and to the machine's
//! addresses only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::future::or;

use crate::Executor;
use crate::api::kinds::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use crate::api::{Kind, Object, Reason, Status};
use crate::server::Config;
use crate::server::failures::Failures;
use crate::server::registry::{Change, Registry, WriteOptions};
use crate::sys::{host, netlink};

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
/// How long the loop waits between mends of what somebody keeps changing.
const PAUSE: Duration = Duration::from_secs(2);

/// Where others reach this server.
pub struct Advertised {
    /// As it is told, else where it listens, if that is one address.
    fixed: Option<IpAddr>,
    port: u16,
}

impl Advertised {
    pub fn new(config: &Config, port: u16) -> Self {
        let bound = Some(config.bind_address).filter(|address| !address.is_unspecified());
        Self { fixed: config.advertise_address.or(bound), port }
    }

    /// What is not told is the address of the default route. None if there is no such address but loopback.
    fn now(&self) -> Option<SocketAddr> {
        let address = self.fixed.or_else(host::default_address)?;
        (!address.is_loopback()).then_some(SocketAddr::new(address, self.port))
    }

    /// Waits until it is another than `known`.
    async fn moved(&self, news: &mut Option<netlink::Changes>, known: Option<SocketAddr>) {
        while let Some(changes) = news {
            if let Err(error) = changes.next().await {
                log::warn!("no more news of the network: {error}");
                *news = None;
            }
            // Without a network, the address from before may be right again in a moment.
            if self.now().is_some_and(|now| Some(now) != known) {
                return;
            }
        }
        smol::future::pending().await
    }
}

/// Keeps the three objects until the task is dropped.
pub fn run(registry: Arc<Registry>, advertised: Advertised, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        // Before the first look at the addresses: nothing that comes after it is missed.
        let mut news = match advertised.fixed {
            Some(_) => None,
            None => netlink::changes().map_err(|error| log::warn!("no news of the network: {error}")).ok(),
        };
        let mut address = None;
        let mut failures = Failures::default();
        loop {
            let revision = registry.store().revision();
            address = advertised.now().or(address);
            match pass(&registry, address).await {
                Ok(()) => {
                    failures.end();
                    or(changed(&registry, revision), advertised.moved(&mut news, address)).await;
                    smol::Timer::after(PAUSE).await;
                }
                Err(status) => failures.rest(&format!("look after the service {NAME}"), &status).await,
            }
        }
    })
}

async fn changed(registry: &Registry, revision: u64) {
    let watch = async |kind: &Kind| {
        if let Ok(mut watch) = registry.store().watch(&kind.key(NAMESPACE, NAME), revision) {
            drop(watch.next().await);
        }
    };
    or(watch(SERVICE), or(watch(ENDPOINTS), watch(ENDPOINT_SLICE))).await;
}

async fn pass(registry: &Registry, address: Option<SocketAddr>) -> Result<(), Status> {
    let port = address.map_or(6443, |address| address.port());
    let ours = json!({"component": "apiserver", "provider": "kubernetes"});
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": registry.admission.first_address().to_string(),
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
    });
    ensure(registry, SERVICE, &[("/metadata/labels", ours), ("/spec", spec)], &["/spec/ports"]).await?;
    let Some(address) = address else { return Ok(()) };
    let family = if matches!(address.ip(), IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
    let port = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let ip = address.ip().to_string();
    let skip = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let subsets = json!([{"addresses": [{"ip": ip}], "ports": port}]);
    ensure(registry, ENDPOINTS, &[("/metadata/labels", skip), ("/subsets", subsets)], &["/subsets"]).await?;
    let slice = [
        ("/metadata/labels", json!({"kubernetes.io/service-name": NAME})),
        ("/addressType", family.into()),
        ("/endpoints", json!([{"addresses": [ip], "conditions": {"ready": true}}])),
        ("/ports", port),
    ];
    ensure(registry, ENDPOINT_SLICE, &slice, &["/endpoints", "/ports"]).await
}

/// Makes the object, or puts the parts right that `kept` names.
async fn ensure(
    registry: &Registry,
    kind: &Kind,
    parts: &[(&str, Value)],
    kept: &[&str],
) -> Result<(), Status> {
    let options = WriteOptions::default();
    if registry.item(kind, NAMESPACE, NAME).is_err() {
        let mut object = Object::new(kind, NAMESPACE, NAME);
        parts.iter().for_each(|(pointer, value)| object.set(pointer, value.clone()));
        return match registry.create(kind, object, options).await {
            Err(status) if status.reason != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        };
    }
    let mend = |object: &mut Object| {
        let before = object.clone();
        for (pointer, value) in parts.iter().filter(|(pointer, _)| kept.contains(pointer)) {
            object.set(pointer, value.clone());
        }
        Ok(if *object == before { Change::Keep } else { Change::Write })
    };
    match registry.modify(kind, NAMESPACE, NAME, options, mend).await {
        // Deleted in between: the watch tells.
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use smol::block_on;

    use super::*;
    use crate::server::registry::testing::Cluster;

    #[test]
    fn the_api_is_a_service() {
        let cluster = Cluster::new("own-service");
        let registry = &cluster.registry;
        let address = Some("192.0.2.7:6443".parse().unwrap());
        block_on(pass(registry, address)).unwrap();
        let service = registry.get(SERVICE, NAMESPACE, NAME).unwrap();
        assert_eq!(service.str_at("/spec/clusterIP"), "10.43.0.1");
        assert_eq!(service.i64_at("/spec/ports/0/targetPort"), Some(6443));
        let slice = registry.get(ENDPOINT_SLICE, NAMESPACE, NAME).unwrap();
        assert_eq!(slice.str_at("/endpoints/0/addresses/0"), "192.0.2.7");
        let revision = registry.store().revision();
        block_on(pass(registry, address)).unwrap();
        assert_eq!(registry.store().revision(), revision, "nothing is written twice");
        block_on(pass(registry, Some("192.0.2.8:6443".parse().unwrap()))).unwrap();
        let endpoints = registry.get(ENDPOINTS, NAMESPACE, NAME).unwrap();
        assert_eq!(endpoints.str_at("/subsets/0/addresses/0/ip"), "192.0.2.8");
    }

    #[test]
    fn what_is_advertised() {
        let mut config = Config::new("/none");
        let told = |config: &Config| Advertised::new(config, 1).now().map(|address| address.ip());
        assert_eq!(told(&config), host::default_address());
        config.bind_address = "127.0.0.1".parse().unwrap();
        assert_eq!(told(&config), None);
        config.advertise_address = "192.0.2.7".parse().ok();
        assert_eq!(told(&config), config.advertise_address);
    }
}
