//! Join tokens: the server's own (a file) and those that `midge token create` issues (the store).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{self, Store};
use crate::token::{Credential, JoinToken, RandomError};

/// The join tokens of one server.
pub struct Tokens {}

/// An issued token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub id: String,
    pub description: String,
    pub expires: Option<SystemTime>,
    /// How many nodes may still join with it; `None` is any number.
    pub uses_left: Option<u32>,
}

/// Why a credential admits nobody. `Display` is what the agent's user reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unknown,
    Expired,
    UsedUp,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the join token is wrong or was deleted: take the one in the server's token file, \
                              or make one with `midge token create` on the server",
            Self::Expired => "the join token has expired: make one with `midge token create` on the server",
            Self::UsedUp => "the join token has been used as often as it may be: make one with \
                             `midge token create` on the server",
        })
    }
}

impl std::error::Error for Refusal {}

#[derive(Debug)]
pub enum Error {
    ReadFile { path: PathBuf, source: io::Error },
    WriteFile { path: PathBuf, source: io::Error },
    /// The token file holds no token, or one that pins another CA.
    File { path: PathBuf, problem: String },
    /// `--token` (or MIDGE_TOKEN) at the server.
    Configured { problem: String },
    Random { source: RandomError },
    Store { source: store::Error },
    /// No issued token has the id.
    NotFound { id: String },
    /// Issued tokens are bounded.
    TooMany { limit: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadFile { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::WriteFile { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Self::File { path, problem } => write!(
                f,
                "`{}` is damaged: {problem}; remove it to have a new token made at the next start",
                path.display()
            ),
            Self::Configured { problem } => write!(f, "the server's token is not usable: {problem}"),
            Self::Random { .. } => f.write_str("failed to make a token"),
            Self::Store { .. } => f.write_str("failed to store a token"),
            Self::NotFound { id } => write!(f, "there is no join token with the id `{id}`"),
            Self::TooMany { limit } => write!(f, "there are {limit} join tokens already: delete some"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ReadFile { source, .. } | Self::WriteFile { source, .. } => Some(source),
            Self::Random { source } => Some(source),
            Self::Store { source } => Some(source),
            _ => None,
        }
    }
}

impl Tokens {
    /// Reads `<folder>/token`, or makes it (0600, one line, the whole K10 form). `configured` is the
    /// secret or token of the server's configuration and replaces what the file says.
    pub fn open(
        folder: &Path,
        ca_hash: [u8; 32],
        configured: Option<&str>,
        store: Arc<dyn Store>,
    ) -> Result<Tokens, Error> {
        let _ = (folder, ca_hash, configured, store);
        todo!()
    }

    /// The server's own token, whole.
    pub fn server_token(&self) -> JoinToken {
        todo!()
    }

    /// Issues a token; the answer is the only time that its secret is seen.
    pub async fn create(
        &self,
        description: &str,
        life: Option<Duration>,
        uses: Option<u32>,
    ) -> Result<JoinToken, Error> {
        let _ = (description, life, uses);
        todo!()
    }

    /// The issued tokens, expired ones left out, by id.
    pub fn list(&self) -> Vec<Issued> {
        todo!()
    }

    /// Deletes an issued token. Nodes that joined with it stay.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let _ = id;
        todo!()
    }

    /// Replaces the server's own token. Nodes that joined with it stay.
    pub fn rotate(&self) -> Result<JoinToken, Error> {
        todo!()
    }

    /// Whether `credential` admits a node now; changes nothing.
    pub fn verify(&self, credential: &Credential, now: SystemTime) -> Result<(), Refusal> {
        let _ = (credential, now);
        todo!()
    }
}
