//! The device nodes of this machine.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub path: PathBuf,
    pub is_block: bool,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What a container has of its own in /dev.
const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", ".udev"];
/// A tree that is deeper or larger is no device tree.
const DEEPEST: usize = 8;
const MOST: usize = 4096;

/// All under /dev but those that a container has its own of. What vanishes meanwhile is left out.
pub fn all() -> Vec<Device> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), 0, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<Device>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(facts) = entry.metadata() else { continue };
        if found.len() >= MOST || (depth == 0 && OWN.iter().any(|own| entry.file_name() == *own)) {
            continue;
        }
        let kind = facts.file_type();
        if kind.is_dir() && depth < DEEPEST {
            collect(&entry.path(), depth + 1, found);
        } else if kind.is_block_device() || kind.is_char_device() {
            found.push(Device {
                path: entry.path(),
                is_block: kind.is_block_device(),
                major: rustix::fs::major(facts.rdev()),
                minor: rustix::fs::minor(facts.rdev()),
                mode: facts.mode() & 0o7777,
                uid: facts.uid(),
                gid: facts.gid(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_null() {
        let null = all().into_iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!((null.is_block, null.major, null.minor), (false, 1, 3));
    }
}
