//! What a container writes on the node's disk: its logs and its termination message.

use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use crate::sys::file;

/// The most of a termination message that becomes status, as in Kubernetes.
const MAX_MESSAGE: u64 = 4096;
/// The most of a log that does.
const MAX_LOG: usize = 2048;
const MAX_LOG_LINES: usize = 80;
/// What is read for that: the longest line of a log, and some more.
const LOG_TAIL: u64 = 32 * 1024;

/// `<pod's folder>/logs/<container>/<attempt>.log`.
pub fn log_path(pod_folder: &Path, name: &str, attempt: u32) -> PathBuf {
    pod_folder.join("logs").join(name).join(format!("{attempt}.log"))
}

pub fn termination_log(pod_folder: &Path, name: &str) -> PathBuf {
    pod_folder.join("termination").join(name)
}

/// What the container left as its termination message: the last 4,096 bytes of it.
pub fn termination_message(pod_folder: &Path, name: &str) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(termination_log(pod_folder, name)).and_then(|mut file| {
        let begin = file.metadata()?.len().saturating_sub(MAX_MESSAGE);
        file.seek(io::SeekFrom::Start(begin))?;
        file.take(MAX_MESSAGE).read_to_end(&mut bytes)
    });
    read.map_or(String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log, as much of them as becomes a termination message.
pub fn last_lines(log: &Path) -> String {
    let bytes = fs::File::open(log).and_then(tail).unwrap_or_default();
    let texts = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        // A line of the file has its time, stream and tag before its text.
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (tag, text) = (parts.nth(2)?, parts.next()?);
        // The newline after a part of a line is the file's, not the container's.
        Some(if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text })
    });
    let texts: Vec<&[u8]> = texts.collect();
    let last = texts.len().saturating_sub(MAX_LOG_LINES);
    let text = texts.get(last..).unwrap_or_default().concat();
    let from = text.len().saturating_sub(MAX_LOG);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

/// The whole lines at the end of a file that fit into [`LOG_TAIL`].
fn tail(mut file: fs::File) -> io::Result<Vec<u8>> {
    let begin = file.metadata()?.len().saturating_sub(LOG_TAIL);
    file.seek(io::SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    if begin > 0 {
        let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..whole);
    }
    Ok(bytes)
}

/// The log's folder and an empty termination message. Logs older than the previous attempt's go, and what a start of
/// this one that came to nothing has left.
pub fn prepare(log: &Path, termination_log: &Path, attempt: u32) -> io::Result<()> {
    for path in [log, termination_log] {
        if let Some(folder) = path.parent() {
            file::create_private_folder(folder)?;
        }
    }
    fs::write(termination_log, b"")?;
    // The container's user, whoever that is, writes it, through its own mount alone.
    let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(termination_log, anyone)?;
    let Some(folder) = log.parent() else { return Ok(()) };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // `1.log`, and `1.log.1` that came before it.
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.split('.').next()?.parse::<u32>().ok());
        if number.is_some_and(|number| number.saturating_add(1) < attempt || number == attempt) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_two_attempts_are_kept() {
        let folder = std::env::temp_dir().join(format!("midge-container-{}", std::process::id()));
        for attempt in 0..4 {
            let log = log_path(&folder, "web", attempt);
            fs::create_dir_all(log.parent().unwrap()).unwrap();
            fs::write(&log, "of a start that came to nothing").unwrap();
            prepare(&log, &termination_log(&folder, "web"), attempt).unwrap();
            assert!(!log.exists());
            fs::write(log, "x").unwrap();
        }
        assert!(!log_path(&folder, "web", 1).exists());
        assert!(log_path(&folder, "web", 2).exists());
        let log = log_path(&folder, "web", 3);
        fs::write(&log, "t stdout F one\nt stderr P two \nt stderr F parts\n").unwrap();
        assert_eq!(last_lines(&log), "one\ntwo parts\n");
        fs::write(&log, "t stdout F line\n".repeat(1000)).unwrap();
        assert_eq!(last_lines(&log), "line\n".repeat(80));
        fs::write(&log, format!("t stdout F {}\n", "y".repeat(16_000)).repeat(3)).unwrap();
        assert_eq!(last_lines(&log).len(), 2048);
        fs::write(termination_log(&folder, "web"), "x".repeat(5000)).unwrap();
        assert_eq!(termination_message(&folder, "web").len(), 4096);
        fs::remove_dir_all(&folder).unwrap();
    }
}
