//! Why a server does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{auth, tokens};
use crate::api::Status;
use crate::{store, tls};

#[derive(Debug)]
pub enum Error {
    CreateFolder {
        path: PathBuf,
        source: io::Error,
    },
    /// The address can't be listened on.
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    Certificates {
        source: tls::Error,
    },
    /// The registry's files.
    Store {
        source: store::Error,
    },
    /// What every cluster has could not be made.
    Seed {
        source: Status,
    },
    Tokens {
        source: tokens::Error,
    },
    Admin {
        source: auth::Error,
    },
    Accounts {
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateFolder { path, .. } => write!(f, "failed to create `{}`", path.display()),
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "port {} is taken by another program on {}: stop that one, or choose another with --https-listen-port",
                address.port(),
                address.ip()
            ),
            Self::Listen { address, .. } => write!(f, "failed to listen on {address}"),
            Self::Certificates { .. } => f.write_str("failed to set up the server's certificates"),
            Self::Store { .. } => f.write_str("failed to open the registry"),
            Self::Seed { .. } => f.write_str("failed to make the cluster's first objects"),
            Self::Tokens { .. } => f.write_str("failed to set up the join token"),
            Self::Admin { .. } => f.write_str("failed to set up the admin's credential"),
            Self::Accounts { .. } => f.write_str("failed to set up the key of service account tokens"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is all there is to say.
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => None,
            Self::CreateFolder { source, .. } | Self::Listen { source, .. } => Some(source),
            Self::Certificates { source } => Some(source),
            Self::Store { source } => Some(source),
            Self::Seed { source } => Some(source),
            Self::Tokens { source } => Some(source),
            Self::Admin { source } => Some(source),
            Self::Accounts { source } => Some(source),
        }
    }
}
