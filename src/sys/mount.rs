//! Mounts of the agent itself. Containers' mounts are the container runtime's.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::{CString, OsString};
use std::io::{self, BufRead};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Binds the file or folder `source` onto `target`, which exists.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(source, target)?)
}

/// Mounts a tmpfs with the given mode and size in bytes onto the folder `target`.
pub fn tmpfs(target: &Path, mode: u32, size: Option<u64>) -> io::Result<()> {
    mount_tmpfs(target, &tmpfs_options(mode, size, None))
}

/// [`tmpfs`] that belongs to `group` and, since Linux 6.4, is never written to swap.
pub fn tmpfs_of(target: &Path, mode: u32, size: Option<u64>, group: Option<u32>) -> io::Result<()> {
    let options = tmpfs_options(mode, size, group);
    mount_tmpfs(target, &format!("{options},noswap")).or_else(|_| mount_tmpfs(target, &options))
}

/// Mounts huge pages of a size in bytes onto the folder `target`.
pub fn hugetlbfs(target: &Path, page_size: u64, mode: u32, group: Option<u32>) -> io::Result<()> {
    let options = format!("{},pagesize={page_size}", tmpfs_options(mode, None, group));
    let data = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("hugetlbfs", target, "hugetlbfs", flags, data.as_c_str())?)
}

fn tmpfs_options(mode: u32, size: Option<u64>, group: Option<u32>) -> String {
    let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let group = group.map(|group| format!(",gid={group}")).unwrap_or_default();
    format!("mode={mode:o}{size}{group}")
}

fn mount_tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let data = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", target, "tmpfs", flags, data.as_c_str())?)
}

/// Whether mounts on one side of a mount appear on the other (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Shared,
    Slave,
    Private,
}

/// The mount that `path`, which has no symbolic links, is on, and how that propagates.
pub fn propagation(path: &Path) -> io::Result<(PathBuf, Propagation)> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    let mut found = (PathBuf::from("/"), Propagation::Private);
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let Some(point) = fields.next().map(unescape) else { continue };
        // Of several on one point the last is the one that is seen.
        if !path.starts_with(&point) || point.as_os_str().len() < found.0.as_os_str().len() {
            continue;
        }
        let mut optional = fields.skip(1).take_while(|field| *field != b"-");
        let kind = optional.find_map(|field| match field {
            field if field.starts_with(b"shared:") => Some(Propagation::Shared),
            field if field.starts_with(b"master:") => Some(Propagation::Slave),
            _ => None,
        });
        found = (point, kind.unwrap_or(Propagation::Private));
    }
    Ok(found)
}

/// Unmounts whatever is mounted on `target`, all layers of it; fine if nothing is. A busy mount is
/// detached: it disappears from the tree now and ends with its last user.
pub fn unmount(target: &Path) -> io::Result<()> {
    // A path can be mounted on any number of times; the bound only guards against a fault of ours.
    for _ in 0..64 {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::BUSY) => {
                rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            }
            // EINVAL: not a mount point. ENOENT: not there at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BUSY.into())
}

/// Mount points at or below `folder`, innermost and latest first.
pub fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let file = std::fs::File::open("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for line in io::BufReader::new(file).split(b'\n') {
        let line = line?;
        // proc_pid_mountinfo(5): the fifth field is the mount point.
        if let Some(point) = line.split(|b| *b == b' ').nth(4).map(unescape) {
            if point.starts_with(folder) {
                found.push(point);
            }
        }
    }
    found.reverse();
    found.sort_by_key(|point| std::cmp::Reverse(point.as_os_str().as_bytes().len()));
    Ok(found)
}

/// Removes a folder with all that is in it, unless something is mounted there: what that holds is not
/// the folder's. Fine if it is gone.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    // The kernel names mounts by paths without symbolic links.
    let parent = folder.parent().map_or(Ok(PathBuf::new()), Path::canonicalize);
    let real = match parent {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.join(folder.file_name().unwrap_or_default()),
    };
    if let Some(point) = below(&real)?.first() {
        let text = format!("something is mounted on `{}`: unmount it first", point.display());
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    match std::fs::remove_dir_all(real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The kernel writes blank, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, c| value.wrapping_mul(8).wrapping_add(c - b'0')));
                rest = &tail[3..];
            }
            None => bytes.push(first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes_what_the_kernel_escapes() {
        assert_eq!(unescape(br"/mnt/a\040b\134c"), Path::new(r"/mnt/a b\c"));
        assert_eq!(unescape(br"/mnt/a\04"), Path::new(r"/mnt/a\04"));
    }

    #[test]
    fn nothing_mounted_is_fine() {
        unmount(Path::new("/nowhere/at/all")).unwrap();
        assert_eq!(below(Path::new("/nowhere/at/all")).unwrap(), Vec::<PathBuf>::new());
        assert!(below(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
