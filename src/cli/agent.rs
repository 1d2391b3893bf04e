//! `midge agent`.

use super::args::AgentArgs;
use super::error::Error;
use super::{log, node, serve};
use crate::{agent, sys};

// Of its own frame, so that an agent's stack does not hold a server's.
#[inline(never)]
pub fn run(mut args: AgentArgs) -> Result<(), Error> {
    log::start(args.debug);
    let servers =
        args.server.iter().map(|url| url.parse().map_err(Error::Url)).collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(Error::Missing {
            flag: "server",
            hint: "set MIDGE_URL or --server to the server's address, https://HOST:6443",
        });
    }
    let config = node::config(args.node(), servers)?;
    if config.token.is_none() && !config.node_key_path().exists() {
        return Err(Error::Missing {
            flag: "token",
            hint: "set MIDGE_TOKEN to the contents of the server's /var/lib/midge/server/token",
        });
    }
    node::require_root()?;
    let shutdown = sys::signal::shutdown().map_err(Error::Signals)?;
    let shutdown = async {
        ::log::info!("{}: stopping, pods go on", shutdown.await);
        sys::notify::stopping();
    };
    serve(async |executor| agent::run(config, executor, shutdown).await).map_err(Error::Agent)
}
