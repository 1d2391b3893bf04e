//! Floor 2: the node: link client, pod loop, status, streams, images.
//!
//! ```text
//! session  ── ToAgent ──▶ outbox ── changes ──▶ pods (the loop) ── actions ──▶ work, one task a pod
//! session ◀── ToServer ── outbox ◀── statuses, events ── pods ◀── outcomes ── work
//!    │                       ▲ Node object ── mod (every minute, when it differs)
//!    └▶ streams: logs, programs, ports, figures, one task each
//!
//! pods ── what runs ──▶ probes ── verdicts ──▶ pods ◀── evictions ── pressure, volumes' limits
//!                                       ▲ shutdown, of the machine
//! work ──▶ images (pulls go on beside it), configs and volumes, sandbox, container
//! ```
//!
//! Dropping or stopping the agent stops no container: everything is found again by [`pods`].

pub mod config;
pub mod configs;
pub mod container;
pub mod desired;
pub mod env;
mod error;
pub mod etc;
pub mod event;
pub mod evictions;
pub mod exec;
pub mod handler;
pub mod images;
pub mod logger;
pub mod logs;
mod machine;
pub mod network;
pub mod node;
pub mod outbox;
pub mod pause;
pub mod pod;
pub mod pods;
pub mod pressure;
pub mod probes;
pub mod record;
pub mod reset;
pub mod sandbox;
pub mod seccomp;
pub mod session;
mod shims;
pub mod shutdown;
pub mod spec;
pub mod standing;
pub mod stats;
pub mod status;
pub mod streams;
pub mod users;
pub mod volumes;
pub mod wake;
pub mod work;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::{future, stream};

pub use self::config::Config;
use self::configs::Configs;
use self::container::{Runtime, stdio};
pub use self::error::Error;
use self::evictions::Evictions;
use self::handler::Handlers;
use self::images::Images;
use self::network::Network;
use self::outbox::{Cluster, Outbox};
use self::pods::{Health, Parts, Pods};
use self::pressure::Pressure;
use self::probes::Probes;
use self::sandbox::Sandboxes;
use self::shutdown::Shutdown;
use self::standing::Standing;
use self::stats::Stats;
use self::streams::Streams;
use self::users::Users;
use self::volumes::Volumes;
use self::wake::Wake;
use self::work::Context;
use crate::containerd::{Client, Platform};
use crate::sys::cgroup::{self, Cgroups};
use crate::sys::{file, host, lock, netlink, notify};
use crate::{Executor, chain, token};

/// How often the node is described anew; it is told only when it differs.
const NODE_PERIOD: Duration = Duration::from_secs(60);
const MAX_PODS: u32 = 110;
/// What probes said that the pod loop has not taken yet.
const MAX_PROBE_EVENTS: usize = 64;
/// How long the pods of a node that was deleted may take to go, and how often that is looked at.
const REVOKED_LIMIT: Duration = Duration::from_secs(60);
const REVOKED_POLL: Duration = Duration::from_millis(100);
/// Waits for a containerd that is not there yet.
const CONTAINERD_RETRY: Duration = Duration::from_secs(2);

/// Runs the node until `shutdown`, which stops no container. An error is one that waiting can't heal.
pub async fn run(
    config: Config,
    executor: Executor,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let link = session(config.clone(), executor.clone());
    run_with(config, executor, link, shutdown).await
}

/// [`run`] with another link than the session: a test's own server. `link` gets the outbox once the
/// node's pods are read from its disk.
pub async fn run_with<L>(
    config: Config,
    executor: Executor,
    link: impl FnOnce(Outbox) -> L,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    L: Future<Output = Result<Infallible, session::Error>>,
{
    let running = async {
        match start(config, executor, link).await {
            Ok(never) => match never {},
            Err(error) => Err(error),
        }
    };
    let stopped = async {
        shutdown.await;
        Ok(())
    };
    future::or(stopped, running).await
}

async fn start<L>(
    config: Config,
    executor: Executor,
    link: impl FnOnce(Outbox) -> L,
) -> Result<Infallible, Error>
where
    L: Future<Output = Result<Infallible, session::Error>>,
{
    let folder = config.folder();
    for path in [&folder, &config.pods_folder(), &config.images_folder(), &config.run_dir] {
        file::create_private_folder(path).map_err(|source| Error::Folder { path: path.clone(), source })?;
    }
    let _lock = lock::exclusive(&folder.join("lock")).map_err(Error::Lock)?;
    let standing = Standing::new(&config.run_dir, &config.node_name);
    let ended = work(config, executor, link, &standing).await;
    if let Err(error) = &ended {
        standing.ended(&chain(error));
    }
    ended
}

/// [`start`], with the folders there and locked.
async fn work<L>(
    config: Config,
    executor: Executor,
    link: impl FnOnce(Outbox) -> L,
    standing: &Standing,
) -> Result<Infallible, Error>
where
    L: Future<Output = Result<Infallible, session::Error>>,
{
    let folder = config.folder();
    let cgroups = cgroup::detect().map_err(Error::Cgroups)?;
    if let Some(advice) = cgroups.memory_advice() {
        log::warn!("{advice}");
    }
    let client = connect(&config, &executor, standing).await?;
    let containerd_version = client.version().await.map(|version| version.version).unwrap_or_default();

    let cluster = pods::load_cluster(&folder);
    let network = Arc::new(Network::choose(&config).map_err(Error::Network)?);
    let wake = Wake::default();
    let pressure = Pressure::default();
    let stats = Arc::new(Stats::new(
        stats::Options {
            client: client.clone(),
            snapshotter: config.snapshotter.clone(),
            cgroups: cgroups.clone(),
            cgroup_parent: config.cgroup_parent.clone(),
            pods_folder: config.pods_folder(),
            node_name: config.node_name.clone(),
        },
        pressure.clone(),
    ));
    let arrivals = Wake::default();
    let evictions = Evictions::new(wake.clone());
    let handlers = Handlers { client: client.clone(), run_dir: config.run_dir.clone() };
    let (events, probe_events) = smol::channel::bounded(MAX_PROBE_EVENTS);
    let probes = Probes::new(executor.clone(), handlers.clone(), wake.clone(), events);
    let streams = Streams {
        client: client.clone(),
        stats: Arc::clone(&stats),
        pods_folder: config.pods_folder(),
        run_dir: config.run_dir.clone(),
        storage: config.storage_folder(),
    };
    let outbox = Outbox::new(executor.clone(), streams.into_serve(), wake.clone(), standing.clone());
    let health = Health::default();
    let shutdown = Shutdown::new(config.shutdown, [wake.clone(), health.1.clone()]);
    let sandboxes = Sandboxes::new(sandbox::Options {
        run_dir: config.run_dir.clone(),
        cache_dir: network.cache_dir.clone(),
        network: None, // the loop's start sets it
        plugins: network.plugins.clone(),
        cgroup_parent: config.cgroup_parent.clone(),
        pod_max_pids: config.pod_max_pids,
        cgroups: cgroups.clone(),
        executable: config.executable.clone(),
    });
    let images = Images::new(images::Parts {
        client: client.clone(),
        folder: &config.images_folder(),
        pods_folder: config.pods_folder(),
        snapshotter: &config.snapshotter,
        platform: Platform::host(),
        settings: config.images.clone(),
        executor: executor.clone(),
        wake: arrivals.clone(),
    });
    let images = Arc::new(images);
    let watch = pressure::Watch {
        pressure: pressure.clone(),
        stats,
        images: Arc::clone(&images),
        evictions: evictions.clone(),
        outbox: outbox.clone(),
        node_name: config.node_name.clone(),
        data_dir: config.data_dir.clone(),
        cgroups: cgroups.clone(),
        options: config.eviction.clone(),
        changed: health.1.clone(),
    };
    let configs = Configs::new(folder.join("configs"));
    let machine = machine::machine(&cgroups, &config);
    let volumes = Volumes::new(
        configs,
        config.pods_folder(),
        config.storage_folder(),
        evictions.clone(),
        outbox.tokens(),
        machine.allocatable,
    );
    let limits = Arc::clone(&volumes.limits);
    let runtime = Runtime {
        client: client.clone(),
        images: Arc::clone(&images),
        snapshotter: config.snapshotter.clone(),
        machine,
        users: Users::new(client.clone(), config.snapshotter.clone(), config.run_dir.clone()),
        volumes,
        pods_folder: config.pods_folder(),
        stdio: stdio::Options {
            run_dir: config.run_dir.clone(),
            executable: config.executable.clone(),
            limits: config.log_limits,
        },
    };
    let on_network = {
        let network = Arc::clone(&network);
        move |cluster: &Cluster, context: &Context| {
            let Some(config) = network.of(cluster) else { return };
            context.sandboxes.set_network(config);
            let (network, range) = (Arc::clone(&network), cluster.pod_cidr.clone());
            smol::unblock(move || network.open(&range)).detach();
        }
    };
    let (resolv_conf, loop_wake) = (config.resolv_conf.clone(), wake.clone());
    let context =
        move |outcomes| Context { runtime, sandboxes, handlers, resolv_conf, outcomes, wake: loop_wake };
    let mut pods = Pods::load(
        Parts {
            outbox: outbox.clone(),
            executor: executor.clone(),
            health: health.clone(),
            node_name: config.node_name.clone(),
            node_ip: config.node_ip,
            folder: folder.clone(),
            cluster,
            on_network: Box::new(on_network),
            context: Box::new(context),
            wake: wake.clone(),
            arrivals,
            probes,
            probe_events,
            evictions,
            shutdown: shutdown.clone(),
        },
        SystemTime::now(),
    )
    .map_err(Error::Desired)?;

    let node = describe(
        &config,
        cgroups,
        containerd_version,
        (&health, &network, &pressure, &shutdown, &images),
        &outbox,
        standing,
    );
    let link = link(outbox.clone());
    let link = async {
        let ended = link.await;
        if let Err(session::Error::Revoked { .. }) = ended {
            // They may run elsewhere by now.
            log::warn!("the node was deleted: its pods end");
            outbox.withdraw();
            all_gone(&config.pods_folder()).await;
        }
        ended
    };
    let pod_loop = async {
        pods.run(&wake).await;
        future::pending().await
    };
    let node = async {
        node.await;
        future::pending().await
    };
    // So that the first pod finds its image; held, since dropping the task ends it.
    let (tended, described) = (Arc::clone(&images), health.1.clone());
    let _images = executor.spawn(async move {
        let watch = future::or(tended.watch_folder(), tended.tend());
        future::or(watch, tended.list(&described)).await;
    });
    let _shutdown = executor.spawn(shutdown.clone().serve(shutdown::path(&config.run_dir), executor.clone()));
    let _limits = executor.spawn(async move { limits.run().await });
    if config.node_key_path().exists() {
        // A node that has joined runs its pods whether a server is in reach or not.
        notify::ready();
    }
    // No task of its own: it has the outbox, and what the outbox says of the node is to end with this.
    let pressure = async {
        Box::pin(watch.run()).await;
        future::pending().await
    };
    // None of the four ends but the link, with an error.
    let others = future::or(future::or(pod_loop, node), pressure);
    future::or(others, link).await.map_err(Error::Session)
}

/// Waits for the loop to have removed all pods, [`REVOKED_LIMIT`] at most.
async fn all_gone(pods_folder: &Path) {
    let left = || {
        let names = std::fs::read_dir(pods_folder).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| desired::is_uid(name)).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while !left().is_empty() {
        if begun.elapsed() > REVOKED_LIMIT {
            return log::warn!("pods are left: {}", left().join(", "));
        }
        smol::Timer::after(REVOKED_POLL).await;
    }
}

/// A machine that just started may start containerd after midge: one that has joined waits for it.
async fn connect(config: &Config, executor: &Executor, standing: &Standing) -> Result<Client, Error> {
    let mut told = false;
    loop {
        let error =
            match Client::connect(&config.containerd_socket, &config.containerd_namespace, executor).await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
        if !config.node_key_path().exists() || !error.is_unavailable() {
            return Err(Error::Containerd(error));
        }
        if !std::mem::replace(&mut told, true) {
            log::error!("{}; waiting for it", chain(&error));
            standing.link(Err(&format!("it waits for containerd: {}", chain(&error))));
        }
        smol::Timer::after(CONTAINERD_RETRY).await;
    }
}

/// Tells the outbox of the node, for ever. What only says the time is no difference.
async fn describe(
    config: &Config,
    cgroups: Cgroups,
    containerd_version: String,
    (health, network, pressure, shutdown, images): (&Health, &Network, &Pressure, &Shutdown, &Images),
    outbox: &Outbox,
    standing: &Standing,
) -> Infallible {
    let mut options = node::NodeOptions {
        name: config.node_name.clone(),
        node_ip: config.node_ip,
        labels: config.labels.clone(),
        taints: config.taints.clone(),
        containerd_version,
        data_dir: config.data_dir.clone(),
        max_pods: MAX_PODS,
        cgroups,
        lack: pressure.lack(),
        not_ready: None,
        images: None,
        now: SystemTime::UNIX_EPOCH,
    };
    let mut told = None;
    loop {
        options.lack = pressure.lack();
        options.not_ready = shutdown.trouble().or_else(|| health.trouble()).or_else(|| network.trouble());
        options.now = SystemTime::UNIX_EPOCH;
        options.images = images.listed();
        let timeless = token::sha256(&node::describe(&options).to_vec());
        if told != Some(timeless) {
            options.now = SystemTime::now();
            outbox.set_node(node::describe(&options).to_vec());
            standing.ready(options.not_ready.as_deref());
            told = Some(timeless);
        }
        let timer = async {
            smol::Timer::after(NODE_PERIOD).await;
        };
        // Cancel-safe: a wake that is not taken is kept.
        future::or(health.1.wait(), timer).await;
    }
}

/// The link; without servers there is none, and the node runs what is on its disk.
fn session(
    config: Config,
    executor: Executor,
) -> impl FnOnce(Outbox) -> future::Boxed<Result<Infallible, session::Error>> {
    move |outbox| {
        if config.servers.is_empty() {
            return Box::pin(future::pending());
        }
        let options = session::Options {
            folder: config.folder(),
            node_name: config.node_name,
            servers: config.servers,
            token: config.token,
            boot_id: host::boot_id(),
            set_clock: config.set_clock,
        };
        let changes = netlink::changes().map_err(|error| log::warn!("no news of the network: {error}")).ok();
        let changes = Box::pin(stream::unfold(changes, |changes| async {
            let Some(mut changes) = changes else { return future::pending().await };
            match changes.next().await {
                Ok(()) => Some(((), Some(changes))),
                Err(error) => {
                    log::warn!("no more news of the network: {error}");
                    Some(((), None))
                }
            }
        }));
        Box::pin(session::run(options, outbox, changes, executor))
    }
}
