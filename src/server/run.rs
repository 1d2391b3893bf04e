//! A server's life: everything that can fail first, then listening, then a graceful end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smol::net::TcpListener;

use super::accounts::{self, Accounts};
use super::attempts::Attempts;
use super::authorize::{Access, roles};
use super::links::{self, Links};
use super::registry::Registry;
use super::tokens::Tokens;
use super::{
    Config, Error, State, admission, auth, autoscaler, claims, controllers, definitions, disruptions, events,
    garbage, health, kubeconfig, lifecycle, manifests, namespaces, orphans, router, scheduler, services,
    watch,
};
use crate::Executor;
use crate::http::server::{Limits, Peer, serve};
use crate::store::{Journal, Store};
use crate::sys::file;
use crate::tls::{Authority, Names, ServerIdentity};
use crate::token::JoinToken;

/// A server that answers.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where it listens; the port is the real one.
    pub address: SocketAddr,
    /// `https://…` as the kubeconfig has it.
    pub url: String,
    /// The server's own join token, for an agent in the same process.
    pub token: JoinToken,
    /// The kubeconfig, if it could be written.
    pub kubeconfig: Option<PathBuf>,
}

/// Runs a server until `shutdown` is ready, then ends gracefully within a few seconds. `ready` is
/// called once requests are answered.
///
/// # Errors
/// Whatever keeps it from starting, before anything is answered.
pub async fn run(
    config: Config,
    executor: Executor,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), Error> {
    let folder = config.folder();
    let trust = folder.join("tls");
    for path in [&folder, &trust] {
        file::create_private_folder(path)
            .map_err(|source| Error::CreateFolder { path: path.clone(), source })?;
    }
    // First the registry: its lock tells two servers on one folder apart before the port does.
    let store = open_store(folder.join("registry")).await?;
    let address = SocketAddr::new(config.bind_address, config.port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;

    let certificates = |source| Error::Certificates { source };
    let authority = Arc::new(Authority::open_or_create(&trust).map_err(certificates)?);
    let identity = ServerIdentity::new(authority.clone(), names(&config)?).map_err(certificates)?;
    let tokens = Tokens::open(&folder, authority.hash(), config.token.as_deref(), store.clone());
    let tokens = Arc::new(tokens.map_err(|source| Error::Tokens { source })?);
    let registry = Registry::open(store.clone(), config.service_cidr).await;
    let registry = registry.map_err(|source| Error::Seed { source })?;
    admission::seed(&registry).await.map_err(|source| Error::Seed { source })?;
    let registry = Arc::new(registry);
    roles::ensure(&registry).await.map_err(|source| Error::Seed { source })?;
    let accounts = Accounts::open(&trust, registry.clone(), &config.cluster_domain);
    let accounts = Arc::new(accounts.map_err(|source| Error::Accounts { source })?);
    let definitions = definitions::Loop::open(registry.clone(), executor.clone());
    let definitions = definitions.await.map_err(|source| Error::Seed { source })?;
    let secret =
        auth::open_or_create(&trust.join("admin-token")).map_err(|source| Error::Admin { source })?;
    let url = kubeconfig::server_url(&config, address.port());
    let kubeconfig =
        write_kubeconfig(&config, &kubeconfig::render(&url, authority.certificate_pem(), &secret));

    let options = links::Options {
        cluster_cidr: config.cluster_cidr,
        cluster_dns: config.cluster_dns.map(|address| address.to_string()).unwrap_or_default(),
        cluster_domain: config.cluster_domain.clone(),
    };
    let links =
        Links::new(options, registry.clone(), store, tokens.clone(), accounts.clone(), executor.clone());
    let (open, closing) = smol::channel::bounded(1);
    let (scheduling, controlling) = (health::Working::default(), health::Working::default());
    let state = Arc::new(State {
        executor: executor.clone(),
        registry: registry.clone(),
        links: links.clone(),
        tokens: tokens.clone(),
        admin: auth::Admin::new(&secret),
        access: Access::new(registry.clone()),
        accounts: accounts.clone(),
        attempts: Attempts::default(),
        certificate_pem: authority.certificate_pem().to_owned(),
        watchers: watch::Watchers::default(),
        top: Default::default(),
        requests: Default::default(),
        compressions: Default::default(),
        loops: health::Loops { scheduler: scheduling.clone(), controllers: controlling.clone() },
        closing,
    });
    drop(secret);
    let loops = [
        executor.spawn(links.clone().run()),
        scheduler::run(registry.clone(), scheduling, &executor),
        lifecycle::run(registry.clone(), config.keep_pods, &executor),
        namespaces::run(registry.clone(), &executor),
        garbage::run(registry.clone(), &executor),
        controllers::run(registry.clone(), controlling, &executor),
        manifests::run(folder.join("manifests"), registry.clone(), &executor),
        disruptions::run(registry.clone(), &executor),
        orphans::run(registry.clone(), &executor),
        autoscaler::run(state.clone(), &executor),
        roles::run(registry.clone(), &executor),
        accounts::run(accounts, authority.certificate_pem().to_owned(), &executor),
        claims::run(registry.clone(), links.clone(), &executor),
        admission::run(registry.clone(), &executor),
        services::run(registry.clone(), services::Advertised::new(&config, address.port()), &executor),
        definitions.run(),
        events::expire(registry, &executor),
    ];
    // Boxed: an idle connection then holds a pointer, not the largest handler's future.
    let handler = move |request, peer: Peer| Box::pin(router::handle(state.clone(), request, peer));
    let ending = async {
        shutdown.await;
        drop(open);
        let patience = async {
            smol::Timer::after(Duration::from_secs(2)).await;
        };
        futures_lite::future::or(links.close(), patience).await;
    };
    log::info!("listening on {address}");
    ready(Ready { address, url, token: tokens.server_token(), kubeconfig });
    serve(listener, identity, Limits::default(), executor, handler, ending).await;
    // Waited for: a task that is only dropped keeps the registry open until the executor turns to it.
    for task in loops {
        task.cancel().await;
    }
    Ok(())
}

async fn open_store(folder: PathBuf) -> Result<Arc<dyn Store>, Error> {
    let opened = smol::unblock(move || Journal::open(&folder)).await;
    Ok(Arc::new(opened.map_err(|source| Error::Store { source })?))
}

/// What the certificate is for beyond the machine's own names and addresses.
fn names(config: &Config) -> Result<Names, Error> {
    let mut names = Names::default();
    let addresses = [Some(config.bind_address), config.advertise_address];
    names.addresses.extend(addresses.into_iter().flatten().filter(|address| !address.is_unspecified()));
    for name in &config.tls_san {
        names.add(name).map_err(|source| Error::Certificates { source })?;
    }
    Ok(names)
}

/// A kubeconfig that can't be written (a read-only root) does not keep a cluster from running.
fn write_kubeconfig(config: &Config, text: &str) -> Option<PathBuf> {
    let path = config.kubeconfig.as_ref()?;
    match kubeconfig::write(path, text, config.kubeconfig_mode) {
        Ok(()) => Some(path.clone()),
        Err(error) => {
            log::warn!(
                "failed to write the kubeconfig `{}` ({error}): name another place with --write-kubeconfig",
                path.display()
            );
            None
        }
    }
}
