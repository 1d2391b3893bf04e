//! Mounts of the agent itself. Containers' mounts are the container runtime's.

use std::io;
use std::path::{Path, PathBuf};

/// Binds the file or folder `source` onto `target`, which exists.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let _ = (source, target);
    todo!()
}

/// Mounts a tmpfs with the given mode and size in bytes onto the folder `target`.
pub fn tmpfs(target: &Path, mode: u32, size: Option<u64>) -> io::Result<()> {
    let _ = (target, mode, size);
    todo!()
}

/// Unmounts whatever is mounted on `target`, all layers of it; fine if nothing is. A busy mount is
/// detached: it disappears from the tree now and ends with its last user.
pub fn unmount(target: &Path) -> io::Result<()> {
    let _ = target;
    todo!()
}

/// Mount points at or below `folder`, innermost first.
pub fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let _ = folder;
    todo!()
}
