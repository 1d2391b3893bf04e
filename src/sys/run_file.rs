//! What a running process says of itself, in a file of its run folder that others read. The process is
//! found again by its id and the time it started: a file that a killed process left is seen to be stale.

use super::file;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The file of this process (0600). Dropping it removes the file.
pub struct RunFile<T: Serialize> {
    path: PathBuf,
    state: Mutex<T>,
    keep: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Contents<T> {
    process: u32,
    /// In ticks since the machine started.
    started: u64,
    state: T,
}

/// What [`read`] found.
#[derive(Debug, PartialEq)]
pub enum Found<T> {
    Nothing,
    Running(T),
    /// The process has ended; this was its last word.
    Ended(T),
}

impl<T: Serialize + Clone + PartialEq> RunFile<T> {
    /// Two processes must not have the same path: make it under the lock of what the process works on.
    pub fn create(path: PathBuf, state: T) -> RunFile<T> {
        let file = RunFile { path, state: Mutex::new(state), keep: AtomicBool::new(false) };
        file.write(&file.state.lock().unwrap_or_else(PoisonError::into_inner));
        file
    }

    /// Changes what is said; true if that differs from before. Only then the file is written.
    pub fn update(&self, change: impl FnOnce(&mut T)) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.clone();
        change(&mut state);
        let differs = *state != before;
        if differs {
            self.write(&state);
        }
        differs
    }

    pub fn state(&self) -> T {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the file where it is when the process ends: it says why.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Nothing but those who ask depends on it, so a process that can't write it goes on.
    fn write(&self, state: &T) {
        let process = std::process::id();
        let written =
            serde_json::to_vec(&Contents { process, started: started(process).unwrap_or(0), state })
                .map_err(io::Error::from)
                .and_then(|text| {
                    self.path.parent().map_or(Ok(()), file::create_private_folder)?;
                    file::write_atomic(&self.path, &text, 0o600)
                });
        if let Err(error) = written {
            log::warn!("`midge status` is not told: failed to write `{}`: {error}", self.path.display());
        }
    }
}

impl<T: Serialize> Drop for RunFile<T> {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            // It may have been removed, or never written.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads what another process wrote.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Found<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        text => text?,
    };
    let contents: Contents<T> = serde_json::from_slice(&text)?;
    let runs = started(contents.process) == Some(contents.started);
    Ok(if runs { Found::Running(contents.state) } else { Found::Ended(contents.state) })
}

/// When a process started (proc_pid_stat(5)); None when there is none, or only its exit code is left.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in brackets, may hold anything. After it: state (3), …, starttime (22).
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_running_process_from_one_that_ended() {
        let folder = std::env::temp_dir().join(format!("midge-run-file-{}", std::process::id()));
        let path = folder.join("a.json");
        assert_eq!(read::<u32>(&path).unwrap(), Found::Nothing);
        let file = RunFile::create(path.clone(), 1);
        assert!(!file.update(|state| *state = 1));
        assert!(file.update(|state| *state = 2));
        assert_eq!(read(&path).unwrap(), Found::Running(2));
        // Another process got the id.
        let text = fs::read_to_string(&path).unwrap().replace("\"started\":", "\"started\":1");
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap(), Found::Ended(2));
        drop(file);
        assert!(!path.exists());
        RunFile::create(path.clone(), 3).keep();
        assert_eq!(read(&path).unwrap(), Found::Running(3));
        fs::write(&path, "{").unwrap();
        assert!(read::<u32>(&path).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_process_that_is_not_yet_reaped_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while started(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
