//! `midge reset`: a line on stdout for each thing that it removes, one on stderr for each that it could not.

use super::args::{NodeArgs, ResetArgs};
use super::error::Error;
use super::{block_on, log, node};
use crate::agent::reset::{self, Step};
use crate::sys::lock::{self, Lock};
use std::path::Path;

pub fn run(args: ResetArgs) -> Result<(), Error> {
    log::start(args.debug);
    let config = node::config(
        NodeArgs {
            data_dir: args.data_dir,
            run_dir: args.run_dir,
            container_runtime_endpoint: args.container_runtime_endpoint,
            cni_bin_dir: args.cni_bin_dir,
            // Plays no part here; the host's own need not be fit for a node.
            node_name: Some("none".to_string()),
            ..NodeArgs::default()
        },
        Vec::new(),
    )?;
    node::require_root()?;
    let _locks = [lock(&config.folder())?, lock(&config.data_dir.join("server/registry"))?];
    let (mut removed, mut failed) = (0, 0);
    let say = |step| match step {
        Step::Removed(what) => {
            removed += 1;
            super::print(&format!("removed {what}"));
        }
        Step::Failed(why) => {
            failed += 1;
            eprintln!("midge: {why}");
        }
    };
    block_on(async |executor| reset::run(&config, &executor, say).await);
    if failed > 0 {
        return Err(Error::NotReset { failed });
    }
    if removed == 0 {
        super::print("nothing to remove");
    }
    Ok(())
}

/// The lock of a midge that runs on `folder`. Where there is no folder, none does.
fn lock(folder: &Path) -> Result<Option<Lock>, Error> {
    if !folder.is_dir() {
        return Ok(None);
    }
    lock::exclusive(&folder.join("lock")).map(Some).map_err(Error::StillRuns)
}
