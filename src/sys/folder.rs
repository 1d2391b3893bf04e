//! What happens in a folder, told by inotify(7).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use smol::{Async, Timer};

/// A burst is over after this much time.
const BURST: Duration = Duration::from_millis(200);

/// A stream of "something in the folder changed".
pub struct Changes(Async<OwnedFd>);

/// Listens to files that come, go or are written, from now on.
pub fn changes(folder: &Path) -> io::Result<Changes> {
    let listener = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // Not CREATE: a file that has just been made says nothing yet.
    let what = WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&listener, folder, what)?;
    Ok(Changes(Async::new(listener)?))
}

impl Changes {
    /// Waits for a change, and for the end of the burst that it begins. An error: the folder itself has gone, or
    /// what was mounted there.
    pub async fn next(&self) -> io::Result<()> {
        const GONE: ReadFlags = ReadFlags::IGNORED
            .union(ReadFlags::UNMOUNT)
            .union(ReadFlags::DELETE_SELF)
            .union(ReadFlags::MOVE_SELF);
        self.0.readable().await?;
        Timer::after(BURST).await;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().intersects(GONE) => return Err(io::ErrorKind::NotFound.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future;

    #[test]
    fn changes_are_told_once() {
        let folder = std::env::temp_dir().join(format!("midge-folder-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let changes = changes(&folder).unwrap();
        let quiet = || async {
            Timer::after(Duration::from_millis(50)).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        smol::block_on(async {
            std::fs::write(folder.join("a"), "1").unwrap();
            changes.next().await.unwrap();
            assert!(future::or(changes.next(), quiet()).await.is_err(), "one burst, one change");
            std::fs::remove_file(folder.join("a")).unwrap();
            changes.next().await.unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            assert!(changes.next().await.is_err());
        });
        assert!(super::changes(&folder).is_err());
    }
}
