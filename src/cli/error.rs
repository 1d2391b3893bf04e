//! What a command can fail with, and the exit code that says so.

use crate::agent;
use std::path::PathBuf;
use std::{fmt, io};

/// Exit code for a failure that may be gone at the next try.
pub const FAILED: u8 = 1;
/// Exit code for what can never succeed until somebody changes something: the command line, the
/// configuration, a token. The systemd unit does not restart on it.
pub const REFUSED: u8 = 2;

#[derive(Debug)]
pub enum Error {
    /// argh's own message.
    Usage(String),
    UnknownKey {
        file: PathBuf,
        key: String,
    },
    NotASwitch {
        flag: String,
        value: String,
    },
    SeveralValues {
        flag: String,
    },
    ReadFile {
        path: PathBuf,
        source: io::Error,
    },
    Malformed {
        path: PathBuf,
        line: usize,
        what: String,
    },
    BadValue {
        flag: &'static str,
        value: String,
        expected: &'static str,
    },
    /// A flag that the command cannot do without.
    Missing {
        flag: &'static str,
        hint: &'static str,
    },
    Token(crate::token::TokenError),
    Url(crate::http::url::UrlError),
    Kubeconfig {
        path: PathBuf,
        what: String,
    },
    Tls(crate::tls::Error),
    Client(crate::http::client::Error),
    /// The server refused, in its own words, or its answer is no answer.
    Answer {
        what: String,
    },
    Server(crate::server::Error),
    /// The handlers of SIGTERM and SIGINT could not be set.
    Signals(io::Error),
    Agent(agent::Error),
    /// The node in the server's process.
    OwnNode(agent::Error),
    Store(crate::store::Error),
    NotRoot,
    /// A midge runs on the data folder that is to be reset.
    StillRuns(crate::sys::lock::Error),
    /// None that runs could be told that its machine goes down.
    NoNode {
        data_dir: PathBuf,
    },
    /// Pods have not ended although they had to.
    PodsRun,
    /// Some of what was to be removed is left.
    NotReset {
        failed: usize,
    },
    /// The preflight found what keeps a node from running.
    CheckFailed {
        failed: usize,
    },
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            // The session gives up only where waiting can't help.
            Error::Agent(agent::Error::Session(_)) => REFUSED,
            Error::Server(_) | Error::Agent(_) | Error::OwnNode(_) | Error::Signals(_) => FAILED,
            Error::StillRuns(_) | Error::NotReset { .. } => FAILED,
            Error::NoNode { .. } | Error::PodsRun => FAILED,
            Error::Store(_) | Error::CheckFailed { .. } | Error::Client(_) | Error::Answer { .. } => FAILED,
            _ => REFUSED,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => f.write_str(text.trim_end()),
            Error::UnknownKey { file, key } => {
                write!(f, "`{key}` in `{}` is not a flag of midge; see `midge server --help`", file.display())
            }
            Error::NotASwitch { flag, value } => {
                write!(f, "`{flag}` is a switch: it takes true or false, not `{value}`")
            }
            Error::SeveralValues { flag } => write!(f, "`{flag}` takes one value, not a list"),
            Error::ReadFile { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Malformed { path, line, what } => write!(f, "{}:{line}: {what}", path.display()),
            Error::BadValue { flag, value, expected } => {
                write!(f, "--{flag}: `{value}` is not {expected}")
            }
            Error::Missing { flag, hint } => write!(f, "--{flag} is missing: {hint}"),
            Error::Token(_) => f.write_str("the join token is not usable"),
            Error::Url(_) => f.write_str("the server's address is not usable"),
            Error::Kubeconfig { path, what } => {
                write!(f, "`{}` {what}: name the kubeconfig that midge wrote by --kubeconfig", path.display())
            }
            Error::Tls(_) => f.write_str("the cluster's certificate is not usable"),
            Error::Client(_) => f.write_str("the server could not be asked"),
            Error::Answer { what } => write!(f, "the server refused: {what}"),
            Error::Server(_) => f.write_str("the server stopped"),
            Error::Signals(_) => f.write_str("failed to wait for signals"),
            Error::Agent(_) => f.write_str("the agent stopped"),
            Error::OwnNode(_) => {
                f.write_str("the node in this process stopped (--disable-agent runs the server without one)")
            }
            Error::Store(_) => f.write_str("the registry could not be repaired"),
            Error::NotRoot => f.write_str("midge runs containers, which needs root: run it as root"),
            Error::StillRuns(_) => f.write_str("stop midge first (`systemctl stop midge midge-agent`)"),
            Error::NoNode { data_dir } => {
                write!(
                    f,
                    "no node runs here that uses {}: no pods were ended (--data-dir names another folder)",
                    data_dir.display()
                )
            }
            Error::PodsRun => f.write_str("not all pods have ended"),
            Error::NotReset { failed } => {
                write!(
                    f,
                    "{failed} step(s) failed: not all of what midge made is gone; run `midge reset` again"
                )
            }
            Error::CheckFailed { failed } => {
                write!(f, "{failed} check(s) failed: this machine cannot be a node yet")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::ReadFile { source, .. } => Some(source),
            Error::Token(source) => Some(source),
            Error::Url(source) => Some(source),
            Error::Tls(source) => Some(source),
            Error::Client(source) => Some(source),
            Error::Server(source) => Some(source),
            Error::Signals(source) => Some(source),
            Error::Agent(source) | Error::OwnNode(source) => Some(source),
            Error::Store(source) => Some(source),
            Error::StillRuns(source) => Some(source),
            _ => None,
        }
    }
}
