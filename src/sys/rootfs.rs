//! Files of an image's root file system, read as a process in it would: a symbolic link leads where it
//! leads inside, never out.

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::namespace;

/// How to mount it (mount(8)), as a snapshotter describes it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub kind: &'a str,
    pub source: &'a str,
    pub options: &'a [String],
}

/// What mount(2) takes as flags and not as data, and what is set for every mount here.
const FLAGS: [&str; 9] = ["ro", "rw", "bind", "rbind", "nodev", "nosuid", "noexec", "relatime", "noatime"];

/// Reads the regular files `paths`; None: there is none of that name. One larger than `limit` is an error.
/// `at` is a folder that nothing is seen of meanwhile, here and nowhere else: the mount is in a namespace of
/// a thread that ends with this call, so that nothing of it can stay behind. Blocks for some milliseconds.
pub fn read(source: Source<'_>, at: &Path, paths: &[&str], limit: u64) -> io::Result<Vec<Option<Vec<u8>>>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("rootfs".into()).stack_size(128 * 1024);
        let running = thread.spawn_scoped(scope, || {
            enter(source, at)?;
            paths.iter().map(|path| read_file(path, limit)).collect()
        })?;
        running.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads an image panicked")))
    })
}

/// Makes the calling thread's root the mounted file system.
fn enter(source: Source<'_>, at: &Path) -> io::Result<()> {
    // Takes CLONE_FS with it: the root and the working directory are this thread's own from here on.
    namespace::unshare(UnshareFlags::NEWNS)?;
    let (inward, all) = (MountPropagationFlags::DOWNSTREAM, MountPropagationFlags::REC);
    rustix::mount::mount_change("/", inward | all)?;
    let safe = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    if source.options.iter().any(|option| option == "bind" || option == "rbind") {
        rustix::mount::mount_bind(source.source, at)?;
        rustix::mount::mount_remount(at, safe | MountFlags::BIND, c"")?;
    } else {
        let data = source.options.iter().filter(|option| !FLAGS.contains(&option.as_str()));
        let data = CString::new(data.map(String::as_str).collect::<Vec<_>>().join(","))?;
        rustix::mount::mount(source.source, at, source.kind, safe, data.as_c_str())?;
    }
    rustix::process::chdir(at)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

fn read_file(path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // Opening a FIFO must not wait; devices can't be opened on this mount.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other(format!("`{path}` is no regular file")));
    }
    let mut bytes = Vec::new();
    File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("`{path}` is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let folder = std::env::temp_dir().join(format!("midge-rootfs-{}", std::process::id()));
        let (image, at) = (folder.join("image"), folder.join("at"));
        for path in [image.join("etc"), image.join("usr"), at.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(image.join("usr/passwd"), "inside").unwrap();
        fs::write(folder.join("outside"), "outside").unwrap();
        symlink("/usr/passwd", image.join("etc/passwd")).unwrap();
        symlink(folder.join("outside"), image.join("etc/absolute")).unwrap();
        symlink("../../../../../../../../etc/hostname", image.join("etc/relative")).unwrap();
        symlink("/proc/self/root/etc/hostname", image.join("etc/magic")).unwrap();
        fs::write(image.join("etc/large"), vec![b'x'; 101]).unwrap();
        let options = ["rbind".to_owned(), "ro".to_owned()];
        let source = Source { kind: "bind", source: image.to_str().unwrap(), options: &options };
        let of = |path: &str| read(source, &at, &[path], 100);
        assert_eq!(of("/etc/passwd").unwrap(), [Some(b"inside".to_vec())]);
        for path in ["/etc/absolute", "/etc/relative", "/etc/magic", "/etc/none"] {
            assert_eq!(of(path).unwrap(), [None], "{path}");
        }
        assert!(of("/etc/large").is_err() && of("/etc").is_err());
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
