//! What a folder takes of its file system, counted as `du -x` does.

use std::collections::BTreeSet;
use std::io;
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

/// Folders in each other beyond this are not looked into: each is held open.
const MAX_DEPTH: usize = 128;
/// Inodes with several names are counted once, up to so many.
const MAX_LINKED: usize = 16_384;

/// What files take, not what they say their length is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub bytes: u64,
    pub inodes: u64,
}

impl AddAssign for Used {
    fn add_assign(&mut self, other: Used) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

/// The bytes of [`measure`].
pub fn used(folder: &Path, enough: u64) -> io::Result<u64> {
    measure(folder, enough).map(|used| used.bytes)
}

/// What the folder and all in it take. No symbolic link is followed and no other file system entered, whoever
/// changes the folder meanwhile. Ends as soon as they are more than `enough` bytes.
pub fn measure(folder: &Path, enough: u64) -> io::Result<Used> {
    let open = |parent: &OwnedFd, name: &std::ffi::CStr| openat(parent, name, FLAGS, Mode::empty());
    let root = openat(CWD, folder, FLAGS, Mode::empty())?;
    let stat = fstat(&root)?;
    let (device, mut used) = (stat.st_dev, Used { bytes: blocks(&stat), inodes: 1 });
    let mut linked = BTreeSet::new();
    let mut stack = vec![(Dir::read_from(&root)?, root)];
    while let Some((entries, folder)) = stack.last_mut() {
        let Some(entry) = entries.read() else {
            stack.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if stat.st_dev != device {
            continue;
        }
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_nlink < 2 || linked.len() >= MAX_LINKED || linked.insert(stat.st_ino) {
            used += Used { bytes: blocks(&stat), inodes: 1 };
        }
        if used.bytes > enough {
            break;
        }
        if is_folder && stack.len() >= MAX_DEPTH {
            // What hides so deep is over every limit.
            used.bytes = u64::MAX;
            break;
        }
        if is_folder {
            // It may be gone, or something else, by now.
            let Some((_, folder)) = stack.last() else { break };
            if let Ok(inner) = open(folder, name) {
                stack.push((Dir::read_from(&inner)?, inner));
            }
        }
    }
    Ok(used)
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn blocks(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_file_counts_once_and_no_link_is_followed() {
        let folder = std::env::temp_dir().join(format!("midge-usage-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let empty = used(&folder, u64::MAX).unwrap();
        fs::write(folder.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(folder.join("a/b/file"), folder.join("again")).unwrap();
        std::os::unix::fs::symlink("/", folder.join("a/root")).unwrap();
        let with_file = used(&folder, u64::MAX).unwrap();
        assert!((1 << 20..(1 << 20) + 65_536).contains(&(with_file - empty)), "{empty} {with_file}");
        assert!(used(&folder, 10).unwrap() > 10);
        assert!(used(&folder.join("none"), 0).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
