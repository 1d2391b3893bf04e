//! What a log program is told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Limits;

/// Its one argument: size, files, socket and log, a line each. The log is last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub limits: Limits,
    /// Where it listens for those who attach.
    pub socket: PathBuf,
    pub log: PathBuf,
}

impl Options {
    pub fn to_argument(&self) -> OsString {
        let Limits { size, files } = self.limits;
        let mut text = format!("{size}\n{files}\n").into_bytes();
        text.extend_from_slice(self.socket.as_os_str().as_bytes());
        text.push(b'\n');
        text.extend_from_slice(self.log.as_os_str().as_bytes());
        OsString::from_vec(text)
    }

    /// Numbers that are none are the defaults: a log with other limits is better than none.
    pub fn parse(argument: &OsStr) -> Options {
        let mut lines = argument.as_bytes().splitn(4, |byte| *byte == b'\n');
        let number = |line: Option<&[u8]>| std::str::from_utf8(line?).ok()?.parse::<u64>().ok();
        let path = |line: Option<&[u8]>| Path::new(OsStr::from_bytes(line.unwrap_or_default())).to_owned();
        let usual = Limits::default();
        let size = number(lines.next()).unwrap_or(usual.size);
        let files = number(lines.next()).and_then(|files| files.try_into().ok()).unwrap_or(usual.files);
        Options { limits: Limits { size, files }, socket: path(lines.next()), log: path(lines.next()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn come_back() {
        let limits = Limits { size: 1 << 40, files: 2 };
        let options = Options { limits, socket: "/run/a b/out".into(), log: "/data/x\ny,=&.log".into() };
        assert_eq!(Options::parse(&options.to_argument()), options);
        assert_eq!(Options::parse(OsStr::new("nonsense")).limits, Limits::default());
    }
}
