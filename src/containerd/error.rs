//! What can go wrong on containerd's socket.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A gRPC status code, as containerd uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// A failed operation on containerd. `call` is the gRPC method's last part, for instance
/// `Tasks/Create`.
#[derive(Debug)]
pub enum Error {
    /// Nothing listens at the socket's path: not installed, not started, or another path.
    NoSocket { socket: PathBuf },
    /// The socket is there and this user may not open it.
    Permission { socket: PathBuf },
    /// Connecting failed for another reason.
    Connect { socket: PathBuf, source: std::io::Error },
    /// The connection broke during the call; whether containerd did the work is unknown.
    Transport { call: &'static str, source: h2::Error },
    /// No answer in time.
    Deadline { call: &'static str, after: Duration },
    /// containerd answered with an error.
    Status { call: &'static str, code: Code, message: String },
    /// An answer that is not gRPC, or ends early.
    Protocol { call: &'static str, problem: &'static str },
    /// An answer that is not the expected message.
    Decode { call: &'static str, source: prost::DecodeError },
    /// An answer larger than `limit` bytes.
    TooLarge { call: &'static str, limit: usize },
    /// containerd is older than midge supports.
    TooOld { version: String, minimum: &'static str },
    /// A manifest, index or config in the content store that can't be read as one.
    Document { digest: String, source: serde_json::Error },
    /// Not the shape the image specification asks for.
    Malformed { digest: String, problem: &'static str },
    /// Another document names it, and it is not there.
    Missing { digest: String },
    /// A layer's contents are not what the image's config says.
    WrongLayer { digest: String, wanted: String, found: String },
    /// The image holds nothing for this node's platform.
    NoPlatform { image: String, wanted: String, offered: String },
}

impl Error {
    /// The status code that containerd answered with, if it did.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound) || matches!(self, Error::Missing { .. })
    }

    pub fn is_already_exists(&self) -> bool {
        self.code() == Some(Code::AlreadyExists)
    }

    /// containerd can't be reached at the moment: worth trying again later, and no verdict about the
    /// subject of the call.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Error::NoSocket { .. }
            | Error::Permission { .. }
            | Error::Connect { .. }
            | Error::Transport { .. }
            | Error::Deadline { .. } => true,
            Error::Status { code, .. } => {
                matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSocket { socket } => write!(
                f,
                "containerd does not listen on `{}`: install it (Debian: `apt install containerd`), start it \
                 (`systemctl start containerd`), or name its socket",
                socket.display()
            ),
            Error::Permission { socket } => {
                write!(f, "no permission to open containerd's socket `{}`: run as root", socket.display())
            }
            Error::Connect { socket, .. } => {
                write!(f, "failed to connect to containerd at `{}`", socket.display())
            }
            Error::Transport { call, .. } => write!(f, "connection to containerd lost during {call}"),
            Error::Deadline { call, after } => {
                write!(f, "containerd did not answer {call} within {} s", after.as_secs())
            }
            Error::Status { call, message, .. } => write!(f, "containerd refused {call}: {message}"),
            Error::Protocol { call, problem } => write!(f, "containerd's answer to {call} {problem}"),
            Error::Decode { call, .. } => write!(f, "failed to decode containerd's answer to {call}"),
            Error::TooLarge { call, limit } => {
                write!(f, "containerd's answer to {call} is larger than {limit} bytes")
            }
            Error::TooOld { version, minimum } => {
                write!(f, "containerd {version} is too old: midge needs {minimum} or later")
            }
            Error::Document { digest, .. } => write!(f, "failed to parse image document {digest}"),
            Error::Malformed { digest, problem } => write!(f, "image document {digest} {problem}"),
            Error::Missing { digest } => write!(f, "image document {digest} is missing"),
            Error::WrongLayer { digest, wanted, found } => {
                write!(f, "layer {digest} unpacks to {found} where the image's config says {wanted}")
            }
            Error::NoPlatform { image, wanted, offered } => {
                write!(f, "image `{image}` has nothing for {wanted}, it offers {offered}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connect { source, .. } => Some(source),
            Error::Transport { source, .. } => Some(source),
            Error::Decode { source, .. } => Some(source),
            Error::Document { source, .. } => Some(source),
            _ => None,
        }
    }
}
