//! `midge status`: what those that run here say of themselves, one line each. It asks no containerd and
//! needs no kubeconfig.

use super::args::StatusArgs;
use super::error::{Error, FAILED};
use super::server::own_url;
use super::{block_on, node};
use crate::agent::standing::{self, State};
use crate::chain;
use crate::http::Url;
use crate::http::client::Client;
use crate::sys::host;
use crate::sys::run_file::{self, Found};
use crate::tls::client_config_pinned;
use hyper::Request;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it looks while it waits. A look is two small files and, where a server runs, one request.
const LOOK: Duration = Duration::from_millis(250);
/// What a server on this machine has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a server says of itself.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    pub listening: SocketAddr,
    pub advertised: Option<IpAddr>,
}

impl Server {
    /// As others reach it; where it listens on all addresses that changes with the machine's.
    fn url(&self) -> String {
        let named = Some(self.listening.ip()).filter(|ip| !ip.is_unspecified());
        let host = self.advertised.or(named).or_else(host::default_address);
        host.map_or(own_url(self.listening), |ip| Url { host: ip.to_string(), port: self.listening.port() })
            .to_string()
    }
}

/// Where a server with this run folder says it.
pub fn server_path(run_dir: &Path) -> PathBuf {
    run_dir.join("server.json")
}

/// One line: is it well, and in words.
#[derive(Clone, PartialEq)]
struct Said(bool, String);

pub fn run(args: StatusArgs) -> Result<ExitCode, Error> {
    let data_dir = node::data_dir(args.data_dir.as_deref())?;
    let run_dir = node::run_dir(args.run_dir.as_deref(), &data_dir);
    let until = Instant::now() + Duration::from_secs(args.wait.into());
    let mut told = Vec::new();
    loop {
        let said = look(&run_dir, &data_dir)?;
        let well = said.iter().all(|Said(well, _)| *well);
        let left = until.saturating_duration_since(Instant::now());
        if well || left.is_zero() {
            said.iter().for_each(|Said(_, text)| {
                super::print(text);
            });
            return Ok(if well { ExitCode::SUCCESS } else { FAILED.into() });
        }
        if said != told {
            said.iter().filter(|Said(well, _)| !well).for_each(|Said(_, text)| eprintln!("waiting: {text}"));
            told = said;
        }
        std::thread::sleep(LOOK.min(left));
    }
}

/// At least one line.
fn look(run_dir: &Path, data_dir: &Path) -> Result<Vec<Said>, Error> {
    let server = read::<Server>(&server_path(run_dir))?;
    let node = read::<State>(&standing::path(run_dir))?;
    if let (Found::Nothing, Found::Nothing) = (&server, &node) {
        let text = format!(
            "midge does not run here: neither a server nor an agent uses {} (--data-dir names another folder)",
            data_dir.display()
        );
        return Ok(vec![Said(false, text)]);
    }
    let server = match server {
        Found::Nothing => None,
        Found::Ended(_) => Some(Said(false, "the server does not run: it was killed".to_string())),
        Found::Running(server) => Some(match ask(&server, data_dir) {
            Ok(()) => Said(true, format!("server answers at {}", server.url())),
            Err(error) => {
                Said(false, format!("server does not answer at {}: {}", server.url(), chain(&error)))
            }
        }),
    };
    let node = match node {
        Found::Nothing => None,
        Found::Running(state) => Some(state),
        Found::Ended(mut state) => {
            state.ended.get_or_insert("its agent was killed".to_string());
            Some(state)
        }
    };
    let node = node.map(|state| Said(state.is_ready(), state.to_string()));
    Ok(server.into_iter().chain(node).collect())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Found<T>, Error> {
    run_file::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => Error::NotRoot,
        _ => Error::ReadFile { path: path.into(), source },
    })
}

/// Whether the server answers a request that needs no credentials.
fn ask(server: &Server, data_dir: &Path) -> Result<(), Error> {
    let url = own_url(server.listening);
    let path = data_dir.join("server/tls/ca.crt");
    let ca = std::fs::read_to_string(&path).map_err(|source| Error::ReadFile { path, source })?;
    let tls = client_config_pinned(&ca).map_err(Error::Tls)?;
    block_on(async |executor| {
        let mut client = Client::connect(&url, tls, PATIENCE, &executor).await.map_err(Error::Client)?;
        let mut request = Request::new(Default::default());
        *request.uri_mut() = http::Uri::from_static("/readyz");
        let answer = client.send(request).await.map_err(Error::Client)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Error::Answer { what: status.to_string() }),
        }
    })
}
