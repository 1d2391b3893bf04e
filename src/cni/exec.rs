//! Running one plugin (specification, section 2).

use std::path::PathBuf;

/// Where plugins are.
#[derive(Debug, Clone)]
pub struct Plugins {
    folders: Vec<PathBuf>,
}

impl Plugins {
    /// Searched in this order.
    pub fn new(folders: Vec<PathBuf>) -> Plugins {
        Plugins { folders }
    }

    /// `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`.
    pub fn default_folders() -> Vec<PathBuf> {
        todo!()
    }

    pub fn find(&self, plugin: &str) -> Option<PathBuf> {
        let _ = (&self.folders, plugin);
        todo!()
    }
}
