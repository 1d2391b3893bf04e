//! `midge registry repair`.

use super::args::{RegistryArgs, RegistryCommand};
use super::error::Error;
use super::{log, node};
use crate::store;
use std::path::PathBuf;

pub fn run(args: RegistryArgs) -> Result<(), Error> {
    log::start(false);
    let RegistryCommand::Repair(args) = args.command;
    let folder = match args.folder {
        Some(folder) => PathBuf::from(folder),
        None => node::data_dir(None)?.join("server").join("registry"),
    };
    let report = store::repair(&folder).map_err(Error::Store)?;
    super::print(&match &report.saved {
        None => format!("nothing is damaged: {} records", report.kept),
        Some(saved) => format!(
            "{} records are kept, {} were damaged (lines {:?}); the file as it was: {}",
            report.kept,
            report.dropped.len(),
            report.dropped,
            saved.display()
        ),
    });
    Ok(())
}
