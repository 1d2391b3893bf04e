//! Giving a folder and all in it to a group (`fsGroup`), while programs may change what is in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, chmod, chownat, fchmod, open, openat, statat};
use std::os::fd::AsRawFd;

/// Folders in folders.
const MAX_DEPTH: usize = 256;

/// The group may read and write what its owner may, and new files are the group's. With `only_if_differs` nothing is done when
/// the folder itself is the group's already (`fsGroupChangePolicy: OnRootMismatch`). No symbolic link is followed.
pub fn give(folder: &Path, group: u32, only_if_differs: bool) -> io::Result<()> {
    let root = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&root)?;
    if only_if_differs && found.st_gid == group && found.st_mode & 0o2070 == 0o2070 {
        return Ok(());
    }
    give_content(root.as_fd(), group, 0)?;
    // Last: until then it does not look done.
    chownat(&root, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    fchmod(&root, Mode::from_raw_mode(found.st_mode & 0o7777 | 0o2770))?;
    Ok(())
}

fn give_content(folder: BorrowedFd<'_>, group: u32, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("folders are nested too deep"));
    }
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match give_one(folder, name, group, depth) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            given => given?,
        }
    }
    Ok(())
}

fn give_one(folder: BorrowedFd<'_>, name: &std::ffi::CStr, group: u32, depth: usize) -> io::Result<()> {
    let group_id = Some(Gid::from_raw(group));
    let kind = FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    if kind == FileType::Symlink {
        return Ok(chownat(folder, name, None, group_id, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    // Held: what is looked at is what is changed.
    let held = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&held)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    if kind == FileType::Symlink {
        return Ok(());
    }
    let is_folder = kind == FileType::Directory;
    if is_folder {
        let inner = openat(&held, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        give_content(inner.as_fd(), group, depth + 1)?;
    }
    chownat(&held, "", None, group_id, AtFlags::EMPTY_PATH)?;
    let more = if is_folder { 0o2770 } else { 0o660 };
    // A descriptor without access rights has no fchmod of its own.
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(chmod(path, Mode::from_raw_mode(found.st_mode & 0o7777 | more))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn all_in_it_is_the_groups_and_nothing_beside_it() {
        let root = std::env::temp_dir().join(format!("midge-ownership-{}", std::process::id()));
        let folder = root.join("volume");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/file"), "x").unwrap();
        fs::write(root.join("outside"), "x").unwrap();
        symlink(root.join("outside"), folder.join("a/link")).unwrap();
        let group = |path: &str| root.join(path).symlink_metadata().unwrap().gid();
        let mode = |path: &str| root.join(path).symlink_metadata().unwrap().mode() & 0o7070;
        give(&folder, 3000, false).unwrap();
        for path in ["volume", "volume/a", "volume/a/b"] {
            assert_eq!((group(path), mode(path)), (3000, 0o2070), "{path}");
        }
        assert_eq!((group("volume/a/b/file"), mode("volume/a/b/file")), (3000, 0o060));
        assert_eq!((group("volume/a/link"), group("outside")), (3000, 0));

        fs::write(folder.join("new"), "x").unwrap();
        std::os::unix::fs::chown(folder.join("new"), None, Some(0)).unwrap();
        give(&folder, 3000, true).unwrap();
        assert_eq!(group("volume/new"), 0);
        give(&folder, 3001, true).unwrap();
        assert_eq!(group("volume/new"), 3001);
        fs::remove_dir_all(&root).unwrap();
    }
}
