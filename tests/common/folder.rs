//! Temporary folders.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed with its contents when it is dropped; kept if the test panics.
pub struct Folder(PathBuf);

impl Folder {
    /// The name is short: sockets go in here, and their paths hold 107 bytes.
    pub fn new(name: &str) -> Folder {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("midge-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    /// Mounts below go whether the folder stays or not: a pod that ran to the end of its test has pinned
    /// its namespaces here.
    fn drop(&mut self) {
        unmount_below(&self.0);
        if std::thread::panicking() {
            eprintln!("kept `{}`", self.0.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove `{}`: {error}", self.0.display());
        }
    }
}

pub fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // Later mounts lie on earlier ones.
    for target in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(target).starts_with(folder) {
            let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
