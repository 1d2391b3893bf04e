//! Serves the Log stream from a container's log files (CRI format, one file an attempt).

mod files;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_lite::future;

use self::files::Files;
use super::container::files::log_path;
use super::desired::{self, Pod};
use super::record::{Attempt, Record};
use crate::api::{Status, kinds, time};
use crate::link::{LogRequest, Stream, StreamError};

/// The channel of the link's stream that log text is sent on.
const CHANNEL: u8 = 1;
/// While someone follows: how often the file is looked at.
const POLL: Duration = Duration::from_millis(150);

/// Sends what was asked for and ends the stream. An error is the stream's: the reader has gone.
pub async fn serve(pods_folder: &Path, request: &LogRequest, stream: Stream) -> Result<(), StreamError> {
    let (folder, asked) = (pods_folder.to_path_buf(), request.clone());
    let opened = smol::unblock(move || Log::open(&folder, &asked)).await;
    let status = match opened {
        Ok(log) => log.send(pods_folder, request, &stream).await?,
        Err(status) => Some(status),
    };
    stream.end(&status.map_or(Vec::new(), |status| status.to_vec())).await
}

/// The attempt whose log is asked for.
fn attempt(folder: &Path, request: &LogRequest) -> Result<u32, Status> {
    let (pod, name) = (&request.pod, &request.container);
    let gone = || Status::not_found(kinds::POD, pod);
    let text = std::fs::read(folder.join("pod.json")).map_err(|_| gone())?;
    let desired = Pod::parse(&text, 0).map_err(|_| gone())?;
    let Some(wanted) = desired.container(name) else {
        return Err(Status::bad_request(format!("container {name} is not valid for pod {pod}")));
    };
    let record = Record::load(folder).map_err(Status::internal)?;
    let terminating = record.termination.is_some();
    let container = record.containers.get(name);
    let current = container.and_then(|container| container.current.as_ref());
    // One that ended and waits to be started again is the previous one already.
    let restarts = |attempt: &&Attempt| {
        let exit = attempt.exit.as_ref();
        exit.is_some_and(|exit| !terminating && wanted.restarts(exit.code))
    };
    let previous = || current.filter(restarts).or(container?.last.as_ref());
    match if request.previous { previous() } else { current } {
        Some(attempt) => Ok(attempt.number),
        None if request.previous => Err(Status::bad_request(format!(
            "previous terminated container \"{name}\" in pod \"{pod}\" not found"
        ))),
        None => Err(Status::bad_request(format!(
            "container \"{name}\" in pod \"{pod}\" is waiting to start: ContainerCreating"
        ))),
    }
}

struct Log {
    files: Files,
    number: u32,
    /// Lines before this stamp are left out; compared as text, since all stamps have one form.
    since: String,
    format: Format,
}

/// Turns CRI lines into what the reader gets.
struct Format {
    timestamps: bool,
    /// The last line was a part: the next one goes on on the same line.
    continues: bool,
    /// `stdout` or `stderr` alone.
    only: Option<String>,
    /// Bytes that may still be sent.
    left: u64,
}

impl Log {
    fn open(pods_folder: &Path, request: &LogRequest) -> Result<Log, Status> {
        if !desired::is_uid(&request.uid) {
            return Err(Status::not_found(kinds::POD, &request.pod));
        }
        let folder = pods_folder.join(&request.uid);
        let number = attempt(&folder, request)?;
        let path = log_path(&folder, &request.container, number);
        let failed = |error: io::Error| {
            Status::internal(format!("failed to read the log `{}`: {error}", path.display()))
        };
        let files = Files::open(&path, request.tail).map_err(failed)?;
        let seconds_ago = |seconds| SystemTime::now().checked_sub(Duration::from_secs(seconds));
        let since =
            match &request.since_time {
                Some(text) => Some(time::parse(text).ok_or_else(|| {
                    Status::bad_request(format!("sinceTime `{text}` is not an RFC 3339 time"))
                })?),
                None => request.since_seconds.and_then(seconds_ago),
            };
        Ok(Log {
            files,
            number,
            since: since.map_or(String::new(), time::format_nano),
            format: Format {
                timestamps: request.timestamps,
                continues: false,
                only: request.stream.clone(),
                left: request.limit_bytes.unwrap_or(u64::MAX),
            },
        })
    }

    /// Until the end, or the end of the container if it is followed.
    async fn send(
        mut self,
        pods_folder: &Path,
        request: &LogRequest,
        stream: &Stream,
    ) -> Result<Option<Status>, StreamError> {
        let folder = pods_folder.join(&request.uid);
        let mut ended = false;
        loop {
            let text;
            (self, text) = match smol::unblock(move || self.read()).await {
                Ok(read) => read,
                Err(error) => return Ok(Some(Status::internal(format!("failed to read the log: {error}")))),
            };
            match text {
                Some(text) => {
                    if !text.is_empty() {
                        stream.write(CHANNEL, &text).await?;
                    }
                    if self.format.left == 0 {
                        return Ok(None);
                    }
                }
                None if !request.follow || ended => return Ok(None),
                None => {
                    let (folder, name, number) = (folder.clone(), request.container.clone(), self.number);
                    ended = smol::unblock(move || has_ended(&folder, &name, number)).await;
                    let closed = async {
                        stream.closed().await;
                        true
                    };
                    let pause = async {
                        smol::Timer::after(POLL).await;
                        false
                    };
                    // Both are cancel-safe: neither holds anything.
                    if future::or(closed, pause).await {
                        return Err(StreamError::Ended);
                    }
                }
            }
        }
    }

    /// The next lines, formatted; None at the end.
    fn read(mut self) -> io::Result<(Log, Option<Vec<u8>>)> {
        let Some(lines) = self.files.read()? else { return Ok((self, None)) };
        let mut text = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.format.line(line.strip_suffix(b"\n").unwrap_or(line), &self.since, &mut text);
        }
        Ok((self, Some(text)))
    }
}

impl Format {
    fn line(&mut self, line: &[u8], since: &str, out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(stamp), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return;
        };
        let text = parts.next().unwrap_or(b"");
        let other = self.only.as_ref().is_some_and(|only| only.as_bytes() != stream);
        if other || stamp < since.as_bytes() {
            return;
        }
        let start = out.len();
        if self.timestamps && !self.continues {
            out.extend_from_slice(stamp);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        self.continues = tag == b"P";
        if !self.continues {
            out.push(b'\n');
        }
        let added = u64::try_from(out.len() - start).unwrap_or(u64::MAX);
        if added > self.left {
            out.truncate(start + usize::try_from(self.left).unwrap_or(0));
        }
        self.left = self.left.saturating_sub(added);
    }
}

/// Whether nothing more will be written by this attempt.
fn has_ended(folder: &Path, name: &str, number: u32) -> bool {
    let Ok(record) = Record::load(folder) else { return false };
    let current = record.containers.get(name).and_then(|container| container.current.as_ref());
    current.is_none_or(|current| current.number != number || current.exit.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn stamp(second: u32) -> String {
        format!("2026-01-02T03:04:{second:02}.000000000Z")
    }

    /// The text that a request gets from this log.
    fn read(name: &str, log: &str, request: &LogRequest) -> Result<String, Status> {
        let root = std::env::temp_dir().join(format!("midge-logs-{name}-{}", std::process::id()));
        let folder = root.join("u-1");
        let path = log_path(&folder, "web", 1);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, log).unwrap();
        let pod = r#"{"metadata":{"uid":"u-1","name":"web"},"spec":{"containers":[{"name":"web"}]}}"#;
        fs::write(folder.join("pod.json"), pod).unwrap();
        let mut record = Record::default();
        let attempt = Attempt {
            number: 1,
            id: "c1".into(),
            image: "i".into(),
            image_id: "i".into(),
            stop_signal: 15,
            started: None,
            exit: None,
        };
        record.containers.entry("web".into()).or_default().current = Some(attempt);
        record.save(&folder).unwrap();
        let request =
            LogRequest { uid: "u-1".into(), pod: "web".into(), container: "web".into(), ..request.clone() };
        let text = Log::open(&root, &request).map(|mut log| {
            let mut all = Vec::new();
            loop {
                let text;
                (log, text) = log.read().unwrap();
                match text {
                    Some(text) => all.extend(text),
                    None => break String::from_utf8(all).unwrap(),
                }
            }
        });
        fs::remove_dir_all(&root).unwrap();
        text
    }

    fn request() -> LogRequest {
        LogRequest { follow: false, ..Default::default() }
    }

    #[test]
    fn parts_are_joined_and_options_are_kept() {
        let log = format!(
            "{} stdout F one\n{} stderr P two \n{} stderr F parts\n{} stdout F \n{} stdout F not whole",
            stamp(1),
            stamp(2),
            stamp(3),
            stamp(4),
            stamp(5),
        );
        let all = "one\ntwo parts\n\n";
        assert_eq!(read("all", &log, &request()).unwrap(), all);
        let since = LogRequest { since_time: Some(stamp(4)), ..request() };
        assert_eq!(read("since", &log, &since).unwrap(), "\n");
        let stamps = LogRequest { timestamps: true, limit_bytes: Some(40), ..request() };
        assert_eq!(read("stamps", &log, &stamps).unwrap(), format!("{} one\n{}", stamp(1), &stamp(2)[..5]));
        let log = log.replace("stdout F one", "stderr F one");
        let stderr = LogRequest { stream: Some("stderr".into()), ..request() };
        assert_eq!(read("stream", &log, &stderr).unwrap(), "one\ntwo parts\n");
        let previous = LogRequest { previous: true, ..request() };
        let error = read("previous", &log, &previous).unwrap_err();
        assert_eq!(error.message, "previous terminated container \"web\" in pod \"web\" not found");
    }

    #[test]
    fn tail_reads_from_the_end_over_blocks() {
        let log: String = (0..4000).map(|number| format!("{} stdout F line {number}\n", stamp(1))).collect();
        for lines in [0, 1, 2, 3000, 4000, 9000] {
            let text = read("tail", &log, &LogRequest { tail: Some(lines), ..request() }).unwrap();
            let expected: String =
                (4000 - lines.min(4000)..4000).map(|number| format!("line {number}\n")).collect();
            assert_eq!(text, expected, "{lines}");
        }
    }
}
