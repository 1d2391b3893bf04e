//! What can go wrong with the network of a pod.

use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub enum Error {
    ReadFolder {
        path: PathBuf,
        source: io::Error,
    },
    ReadConfig {
        path: PathBuf,
        source: io::Error,
    },
    ParseConfig {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// What is wrong with it, in words.
    InvalidConfig {
        path: PathBuf,
        reason: &'static str,
    },
    UnsupportedVersion {
        path: PathBuf,
        version: String,
    },
    PluginMissing {
        plugin: String,
        folders: Vec<PathBuf>,
    },
    InvalidAttachment {
        what: &'static str,
        value: String,
    },
    Start {
        plugin: String,
        source: io::Error,
    },
    Talk {
        plugin: String,
        source: io::Error,
    },
    /// Nothing else of it is known: no error object on its output.
    Failed {
        plugin: String,
        command: &'static str,
        code: Option<i32>,
        stderr: String,
    },
    /// The plugin's own error object (specification, section 5).
    Refused {
        plugin: String,
        command: &'static str,
        code: u64,
        message: String,
        details: String,
    },
    Killed {
        plugin: String,
        command: &'static str,
        signal: i32,
    },
    TimedOut {
        plugin: String,
        command: &'static str,
        seconds: u64,
    },
    TooMuchOutput {
        plugin: String,
        limit: usize,
    },
    ParseResult {
        plugin: String,
        source: serde_json::Error,
    },
    InvalidResult {
        plugin: String,
        reason: &'static str,
    },
    ReadCache {
        path: PathBuf,
        source: io::Error,
    },
    WriteCache {
        path: PathBuf,
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ReadFolder { path, .. } => write!(f, "failed to read the folder `{}`", path.display()),
            Error::ReadConfig { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::ParseConfig { path, .. } => write!(f, "`{}` is not JSON", path.display()),
            Error::InvalidConfig { path, reason } => {
                write!(f, "`{}` is no network configuration: {reason}", path.display())
            }
            Error::UnsupportedVersion { path, version } => write!(
                f,
                "`{}` has cniVersion `{version}`: midge speaks {}",
                path.display(),
                super::config::VERSIONS.join(", ")
            ),
            Error::PluginMissing { plugin, folders } => {
                let folders: Vec<_> = folders.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "CNI plugin `{plugin}` not found in {}: install Debian's package containernetworking-plugins, or \
                     unpack a release of github.com/containernetworking/plugins into one of these folders",
                    folders.join(", ")
                )
            }
            Error::InvalidAttachment { what, value } => write!(f, "`{value}` can't be a {what} for CNI"),
            Error::Start { plugin, .. } => write!(f, "failed to start CNI plugin `{plugin}`"),
            Error::Talk { plugin, .. } => write!(f, "failed to talk to CNI plugin `{plugin}`"),
            Error::Failed { plugin, command, code, stderr } => {
                write!(f, "CNI plugin `{plugin}` failed to {command}")?;
                if let Some(code) = code {
                    write!(f, " with code {code}")?;
                }
                if stderr.is_empty() { Ok(()) } else { write!(f, ": {stderr}") }
            }
            Error::Refused { plugin, command, code, message, details } => {
                write!(f, "CNI plugin `{plugin}` failed to {command}: {message} (code {code})")?;
                if details.is_empty() { Ok(()) } else { write!(f, ": {details}") }
            }
            Error::Killed { plugin, command, signal } => {
                write!(f, "CNI plugin `{plugin}` was killed by signal {signal} during {command}")
            }
            Error::TimedOut { plugin, command, seconds } => {
                write!(f, "CNI plugin `{plugin}` was not done with {command} after {seconds} s")
            }
            Error::TooMuchOutput { plugin, limit } => {
                write!(f, "CNI plugin `{plugin}` answered with more than {limit} bytes")
            }
            Error::ParseResult { plugin, .. } => {
                write!(f, "CNI plugin `{plugin}` answered with no JSON result")
            }
            Error::InvalidResult { plugin, reason } => {
                write!(f, "CNI plugin `{plugin}` answered with an invalid result: {reason}")
            }
            Error::ReadCache { path, .. } => {
                write!(f, "failed to read the network result `{}`", path.display())
            }
            Error::WriteCache { path, .. } => {
                write!(f, "failed to keep the network result `{}`", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::ReadFolder { source, .. }
            | Error::ReadConfig { source, .. }
            | Error::Start { source, .. }
            | Error::Talk { source, .. }
            | Error::ReadCache { source, .. }
            | Error::WriteCache { source, .. } => Some(source),
            Error::ParseConfig { source, .. } | Error::ParseResult { source, .. } => Some(source),
            _ => None,
        }
    }
}
