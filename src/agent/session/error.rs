//! Why a session can not go on, or not yet.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::http;
use crate::link::Closed;
use crate::tls;

/// `Display` names the way out. The last of them to be seen ends an agent that has never joined.
#[derive(Debug)]
pub enum Error {
    ReadFile {
        path: PathBuf,
        source: io::Error,
    },
    WriteFile {
        path: PathBuf,
        source: io::Error,
    },
    /// A file of the agent's that holds something else.
    Damaged {
        path: PathBuf,
    },
    /// Neither a node key nor a join token.
    NoToken,
    /// No server's address.
    NoServer,
    /// The token was made by another cluster's server.
    OtherCa {
        server: String,
    },
    /// The server shows a certificate of another CA than the one that the node joined.
    ChangedCa {
        server: String,
        source: http::client::Error,
    },
    /// What `/cacerts` gave is no certificate.
    Certificate {
        server: String,
        source: tls::Error,
    },
    /// `/cacerts` gave something else.
    NoMidge {
        server: String,
        code: u16,
    },
    /// The server said no.
    Refused {
        server: String,
        code: u16,
        message: String,
    },
    Reach {
        source: http::client::Error,
    },
    Answer {
        server: String,
        source: http::body::ReadError,
    },
    Link {
        server: String,
        source: Closed,
    },
    /// The node was deleted, or another machine has its name now.
    Revoked {
        node: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadFile { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::WriteFile { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Self::Damaged { path } => write!(
                f,
                "`{}` is damaged: delete the node with kubectl, remove the file and join again with a token",
                path.display()
            ),
            Self::NoToken => f.write_str(
                "this node has not joined yet and there is no join token: set MIDGE_TOKEN to what is in the \
                 server's token file (/var/lib/midge/server/token)",
            ),
            Self::NoServer => {
                f.write_str("there is no server to join: set MIDGE_URL to https://<server>:6443")
            }
            Self::OtherCa { server } => write!(
                f,
                "the join token is not for the cluster at {server}: its CA is another one. Take the token from that \
                 server's token file, or correct the address"
            ),
            Self::ChangedCa { server, .. } => write!(
                f,
                "{server} is not the cluster that this node has joined, or a clock is wrong: its certificate is not \
                 trusted. If the server was set up anew, remove server-ca.crt and node-key from the agent's data \
                 folder and join again with its token"
            ),
            Self::Certificate { server, .. } => write!(f, "{server}/cacerts gave no CA certificate"),
            Self::NoMidge { server, code } => {
                write!(f, "{server}/cacerts answered with {code}: there is no midge server at this address")
            }
            Self::Refused { server, code, message } => {
                write!(f, "{server} refused this node ({code}): {message}")
            }
            Self::Reach { .. } => f.write_str("failed to reach the server"),
            Self::Answer { server, .. } => write!(f, "failed to read the answer of {server}"),
            Self::Link { server, .. } => write!(f, "failed to open the link to {server}"),
            Self::Revoked { node } => write!(
                f,
                "node {node} was deleted from the cluster and its key is revoked: to have it back, start the agent \
                 with a join token"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ReadFile { source, .. } | Self::WriteFile { source, .. } => Some(source),
            Self::ChangedCa { source, .. } | Self::Reach { source } => Some(source),
            Self::Certificate { source, .. } => Some(source),
            Self::Answer { source, .. } => Some(source),
            Self::Link { source, .. } => Some(source),
            _ => None,
        }
    }
}
