//! How much room a folder takes on its file system.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What files take, not what they say their length is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub bytes: u64,
    pub inodes: u64,
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Used) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

/// Files with several names that are told apart; more than that are counted once a name.
const MOST_LINKED: usize = 1 << 16;

/// Everything in `path`, itself included, on the one file system; symbolic links are not followed. What can't be
/// read, or goes meanwhile, is left out.
pub fn used(path: &Path) -> Used {
    let mut used = Used::default();
    let Ok(top) = fs::symlink_metadata(path) else { return used };
    let mut linked = HashSet::new();
    let mut folders = Vec::new();
    let mut count = |facts: &fs::Metadata| {
        // A file with several names takes its room once.
        let twice =
            facts.nlink() > 1 && !facts.is_dir() && linked.len() < MOST_LINKED && !linked.insert(facts.ino());
        if !twice {
            used += Used { bytes: facts.blocks().saturating_mul(512), inodes: 1 };
        }
    };
    count(&top);
    if top.is_dir() {
        folders.push(path.to_path_buf());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            if facts.dev() != top.dev() {
                continue;
            }
            count(&facts);
            if facts.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once_and_are_not_followed() {
        let folder = std::env::temp_dir().join(format!("midge-tree-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(folder.join("a/b/file"), folder.join("again")).unwrap();
        std::os::unix::fs::symlink("/proc", folder.join("away")).unwrap();
        let used = used(&folder);
        // Three folders, a file, a symbolic link.
        assert_eq!(used.inodes, 5);
        assert!((100_000..200_000).contains(&used.bytes), "{used:?}");
        assert_eq!(super::used(&folder.join("none")), Used::default());
        fs::remove_dir_all(&folder).unwrap();
    }
}
