//! Paths in a folder whose content is someone else's: no symbolic link leads out of it, whoever changes it
//! meanwhile. Each part is opened by itself and held, so that a part that was looked at is the one that is used.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, mkdirat, open as open_path, openat, readlinkat};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// The most parts of a path: each is held open.
const MAX_PARTS: usize = 256;

/// Opens `path` in the folder `root` (O_PATH: for its identity, not its content). Symbolic links are followed
/// while they stay inside. With `create`, missing folders are made with that mode.
pub fn open(root: &Path, path: &str, create: Option<u32>) -> io::Result<OwnedFd> {
    let base = open_path(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // The way to where we are, and what is left of it, last part first.
    let mut held: Vec<OwnedFd> = Vec::new();
    let mut left: Vec<OsString> = Vec::new();
    let mut links = 0;
    push(&mut left, OsStr::new(path))?;
    while let Some(part) = left.pop() {
        if part == ".." {
            held.pop().ok_or_else(leaves)?;
            continue;
        }
        let parent = held.last().unwrap_or(&base);
        let found = match (open_part(parent, &part), create) {
            (Err(Errno::NOENT), Some(mode)) => make(parent, &part, mode)?,
            (found, _) => found?,
        };
        if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&found, "", Vec::new())?;
            push(&mut left, OsStr::from_bytes(target.as_bytes()))?;
        } else {
            held.push(found);
        }
        if held.len() + left.len() > MAX_PARTS {
            return Err(Errno::NAMETOOLONG.into());
        }
    }
    Ok(held.pop().unwrap_or(base))
}

fn push(left: &mut Vec<OsString>, path: &OsStr) -> io::Result<()> {
    let bytes = path.as_bytes();
    if bytes.first() == Some(&b'/') {
        return Err(leaves());
    }
    let parts = bytes.rsplit(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    left.extend(parts.map(|part| OsStr::from_bytes(part).to_owned()));
    Ok(())
}

fn open_part(parent: &OwnedFd, part: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, part, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn make(parent: &OwnedFd, part: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let made = match mkdirat(parent, part, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => false,
        other => other.map(|()| true)?,
    };
    if made {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Whatever the umask is. The group is the parent's, where that says so.
        fchmod(openat(parent, part, flags, Mode::empty())?, Mode::from_raw_mode(mode))?;
    }
    Ok(open_part(parent, part)?)
}

fn leaves() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the path leads out of the volume")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn nothing_leads_out() {
        let folder = std::env::temp_dir().join(format!("midge-beneath-{}", std::process::id()));
        let root = folder.join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "inside").unwrap();
        fs::write(folder.join("secret"), "outside").unwrap();
        for (link, target) in [
            ("up", ".."),
            ("absolute", "/etc"),
            ("inside", "a/b"),
            ("a/back", "../a/file"),
            ("deep", "a/back"),
            ("out", "a/../../secret"),
            ("loop", "loop"),
            ("dangling", "a/new"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let found = |path: &str| -> Result<u64, io::ErrorKind> {
            let opened = open(&root, path, None).map_err(|error| error.kind())?;
            Ok(fs::File::from(opened).metadata().unwrap().ino())
        };
        let inode = |path: &str| root.join(path).metadata().unwrap().ino();
        for (path, same) in [
            ("", ""),
            ("a/./b//", "a/b"),
            ("inside", "a/b"),
            ("deep", "a/file"),
            ("a/back", "a/file"),
            ("inside/../file", "a/file"),
        ] {
            assert_eq!(found(path), Ok(inode(same)), "{path}");
        }
        for path in ["..", "up", "up/secret", "absolute", "absolute/passwd", "out", "/etc", "a/../../root"] {
            assert_eq!(found(path), Err(io::ErrorKind::PermissionDenied), "{path}");
        }
        assert_eq!(found("a/none"), Err(io::ErrorKind::NotFound));
        assert_eq!(found("a/file/x"), Err(io::ErrorKind::NotADirectory));
        assert!(found("loop").is_err());
        assert!(found(&"a/../".repeat(300)).is_err());

        open(&root, "a/x/y", Some(0o2770)).unwrap();
        assert_eq!(fs::metadata(root.join("a/x/y")).unwrap().mode() & 0o7777, 0o2770);
        open(&root, "dangling/z", Some(0o755)).unwrap();
        assert!(root.join("a/new/z").is_dir());
        assert!(open(&root, "up/made", Some(0o755)).is_err());
        assert!(!folder.join("made").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
