//! Named pipes, without blocking.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

/// Makes one that only this user may open; one that is there is fine.
pub fn create(path: &Path) -> io::Result<()> {
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the reading end. Until somebody has opened the other one, reading says that this is the end.
pub fn reader(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nonblocking()).open(path)
}

/// Opens the writing end. None: nobody has the reading end open.
pub fn writer(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).custom_flags(nonblocking()).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn nonblocking() -> i32 {
    OFlags::NONBLOCK.bits() as i32
}
