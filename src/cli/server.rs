//! `midge server`, with a node in the same process unless `--disable-agent`.

use super::args::ServerArgs;
use super::error::Error;
use super::{closed, log, node, serve, shared, status};
use crate::http::Url;
use crate::server::{self, Config, config::Cidr};
use crate::sys::run_file::RunFile;
use crate::{agent, sys};
use smol::future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

// Of its own frame: see `agent::run`.
#[inline(never)]
pub fn run(mut args: ServerArgs) -> Result<(), Error> {
    log::start(args.debug);
    let run_dir = node::run_dir(args.run_dir.as_deref(), &node::data_dir(args.data_dir.as_deref())?);
    let mut node_args = args.node();
    let token = node::join_token_text(&node_args)?;
    // The embedded node joins with the server's own token file, not with what it is to contain.
    (node_args.token, node_args.token_file) = (None, None);
    let config = server_config(&args, token)?;
    let advertised = config.advertise_address;
    let node = match args.disable_agent {
        true => None,
        false => {
            node::require_root()?;
            Some(node::config(node_args, Vec::new())?)
        }
    };
    let shutdown = sys::signal::shutdown().map_err(Error::Signals)?;
    serve(async |executor| {
        let shutdown = shared(&executor, async {
            ::log::info!("{}: stopping, pods go on", shutdown.await);
            sys::notify::stopping();
        });
        let (ready_sender, ready) = smol::channel::bounded(1);
        let serve = server::run(config, executor.clone(), closed(shutdown.clone()), move |ready| {
            // The channel holds one and is filled once.
            let _ = ready_sender.try_send(ready);
        });
        let serve = async { serve.await.map_err(Error::Server) };
        let beside = async {
            let Ok(ready) = ready.recv().await else { return future::pending().await };
            // By now the registry is locked: no other server writes here.
            let said = status::Server { listening: ready.address, advertised };
            let _said = RunFile::create(status::server_path(&run_dir), said);
            match node {
                None => {
                    sys::notify::ready();
                    future::pending().await
                }
                Some(mut node) => {
                    node.servers = vec![own_url(ready.address)];
                    node.token = Some(ready.token);
                    agent::run(node, executor.clone(), closed(shutdown.clone()))
                        .await
                        .map_err(Error::OwnNode)?;
                    // The agent ended because of the shutdown: the server drains.
                    future::pending().await
                }
            }
        };
        future::or(serve, beside).await
    })
}

/// Where the node in this process dials: the address that is listened on, loopback if that is any.
pub fn own_url(listening: SocketAddr) -> Url {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        ip => ip.to_string(),
    };
    Url { host: ip, port: listening.port() }
}

fn server_config(args: &ServerArgs, token: Option<String>) -> Result<Config, Error> {
    let mut config = Config::new(node::data_dir(args.data_dir.as_deref())?);
    config.token = token;
    if let Some(ip) = &args.bind_address {
        config.bind_address = address("bind-address", ip)?;
    }
    if let Some(port) = &args.https_listen_port {
        config.port = port.parse().ok().filter(|port| *port != 0).ok_or(Error::BadValue {
            flag: "https-listen-port",
            value: port.clone(),
            expected: "a port from 1 to 65535",
        })?;
    }
    if let Some(ip) = &args.advertise_address {
        config.advertise_address = Some(address("advertise-address", ip)?);
    }
    config.tls_san = args.tls_san.clone();
    if let Some(range) = &args.cluster_cidr {
        config.cluster_cidr = cidr("cluster-cidr", range)?;
    }
    if let Some(range) = &args.service_cidr {
        config.service_cidr = cidr("service-cidr", range)?;
    }
    if let Some(ip) = &args.cluster_dns {
        let malformed =
            |_| Error::BadValue { flag: "cluster-dns", value: ip.clone(), expected: "an IPv4 address" };
        config.cluster_dns = Some(ip.parse().map_err(malformed)?);
    }
    if let Some(domain) = &args.cluster_domain {
        config.cluster_domain = domain.clone();
    }
    config.keep_pods = args.keep_pods;
    if let Some(path) = &args.write_kubeconfig {
        config.kubeconfig = Some(path.into());
    }
    if let Some(mode) = &args.write_kubeconfig_mode {
        config.kubeconfig_mode =
            u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o777).ok_or(Error::BadValue {
                flag: "write-kubeconfig-mode",
                value: mode.clone(),
                expected: "a mode such as 0600",
            })?;
    }
    Ok(config)
}

fn address(flag: &'static str, text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::BadValue { flag, value: text.to_string(), expected: "an IP address" })
}

fn cidr(flag: &'static str, text: &str) -> Result<Cidr, Error> {
    text.parse().map_err(|_| Error::BadValue {
        flag,
        value: text.to_string(),
        expected: "an IPv4 range such as 10.42.0.0/16",
    })
}
