//! Join tokens: the server's own (a file) and those that `midge token create` issues (the store).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::store::{self, Durability, Expect, Store};
use crate::sys::file::write_atomic;
use crate::token::{
    Credential, ID_LENGTH, JoinToken, RandomError, SECRET_LENGTH, random_hex, random_issued_part,
    same_secret, sha256,
};

/// The join tokens of one server.
pub struct Tokens {
    path: PathBuf,
    ca_hash: [u8; 32],
    store: Arc<dyn Store>,
    own: Mutex<JoinToken>,
}

/// Where issued tokens are in the store, by id.
const PREFIX: &str = "midge/join-tokens/";
/// How many issued tokens there may be.
const MAX_ISSUED: usize = 1000;
/// How long a token is kept after its last use: a node that was cut off while it joined may come again.
const LAST_USE: Duration = Duration::from_secs(3600);
/// What a description may be long, in bytes.
const MAX_DESCRIPTION: usize = 256;

/// An issued token as it is stored. The secret is random: its hash needs no salt and no slowness.
#[derive(Serialize, Deserialize)]
struct Record {
    /// SHA-256 of the secret, hex.
    secret: String,
    #[serde(default)]
    description: String,
    /// Seconds since 1970.
    expires: Option<u64>,
    uses_left: Option<u32>,
}

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
            Self::Unknown => {
                "the join token is wrong or was deleted: take the one in the server's token file, \
                              or make one with `midge token create` on the server"
            }
            Self::Expired => "the join token has expired: make one with `midge token create` on the server",
            Self::UsedUp => {
                "the join token has been used as often as it may be: make one with \
                             `midge token create` on the server"
            }
        })
    }
}

impl std::error::Error for Refusal {}

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
    /// The token file holds no token, or one that pins another CA.
    File {
        path: PathBuf,
        problem: String,
    },
    /// `--token` (or MIDGE_TOKEN) at the server.
    Configured {
        problem: String,
    },
    Random {
        source: RandomError,
    },
    Store {
        source: store::Error,
    },
    /// No issued token has the id.
    NotFound {
        id: String,
    },
    /// Issued tokens are bounded.
    TooMany {
        limit: usize,
    },
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
        let path = folder.join("token");
        let kept = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(Error::ReadFile { path, source }),
        };
        let own = match (configured, &kept) {
            (Some(text), _) => {
                let problem = |problem: &dyn fmt::Display| Error::Configured { problem: problem.to_string() };
                let token: JoinToken = text.parse().map_err(|error| problem(&error))?;
                if token.ca_hash.is_some_and(|hash| hash != ca_hash) {
                    return Err(problem(&"it is for another CA; leave out all up to `::`"));
                }
                if !matches!(token.credential, Credential::Server { .. }) {
                    return Err(problem(&"it has the form of an issued token, <id>.<secret>"));
                }
                token
            }
            (None, Some(text)) => {
                let damaged = |problem: &dyn fmt::Display| Error::File {
                    path: path.clone(),
                    problem: problem.to_string(),
                };
                let token: JoinToken = text.parse().map_err(|error| damaged(&error))?;
                if token.ca_hash.is_some_and(|hash| hash != ca_hash) {
                    return Err(damaged(&"its token is for another CA"));
                }
                token
            }
            (None, None) => new_own(ca_hash)?,
        };
        let own = JoinToken { ca_hash: Some(ca_hash), ..own };
        if kept.as_deref() != Some(line(&own).as_str()) {
            write(&path, &own)?;
        }
        Ok(Self { path, ca_hash, store, own: Mutex::new(own) })
    }

    /// The server's own token, whole.
    pub fn server_token(&self) -> JoinToken {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Issues a token; the answer is the only time that its secret is seen.
    pub async fn create(
        &self,
        description: &str,
        life: Option<Duration>,
        uses: Option<u32>,
    ) -> Result<JoinToken, Error> {
        let now = SystemTime::now();
        let mut kept = 0;
        for (id, record) in self.records() {
            if record.check(now) == Err(Refusal::Expired) {
                match self.delete(&id).await {
                    // Another creation was faster.
                    Err(Error::NotFound { .. }) => {}
                    deleted => deleted?,
                }
            } else {
                kept += 1;
            }
        }
        if kept >= MAX_ISSUED {
            return Err(Error::TooMany { limit: MAX_ISSUED });
        }
        let random = |length| random_issued_part(length).map_err(|source| Error::Random { source });
        let (id, secret) = (random(ID_LENGTH)?, random(SECRET_LENGTH)?);
        let record = Record {
            secret: HEXLOWER.encode(&sha256(secret.as_bytes())),
            description: description.chars().filter(|c| !c.is_control()).take(MAX_DESCRIPTION).collect(),
            expires: life.and_then(|life| now.checked_add(life)).map(seconds),
            uses_left: uses,
        };
        let stored = |source| Error::Store { source };
        self.store
            .put(&format!("{PREFIX}{id}"), record.to_vec(), Expect::Absent, Durability::Synced)
            .await
            .map_err(stored)?;
        Ok(JoinToken { ca_hash: Some(self.ca_hash), credential: Credential::Issued { id, secret } })
    }

    /// The issued tokens that still admit nodes, by id.
    pub fn list(&self) -> Vec<Issued> {
        let now = SystemTime::now();
        let valid = self.records().into_iter().filter(|(_, record)| record.check(now) == Ok(()));
        valid
            .map(|(id, record)| Issued {
                id,
                description: record.description,
                expires: record.expires.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                uses_left: record.uses_left,
            })
            .collect()
    }

    /// Deletes an issued token. Nodes that joined with it stay.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let key = format!("{PREFIX}{id}");
        match self.store.delete(&key, Expect::Any, Durability::Synced).await {
            Ok(_) => Ok(()),
            Err(store::Error::Conflict { .. }) => {
                Err(Error::NotFound { id: id.chars().take(ID_LENGTH).collect() })
            }
            Err(source) => Err(Error::Store { source }),
        }
    }

    /// Replaces the server's own token. Nodes that joined with it stay. Blocks for a write to disk.
    pub fn rotate(&self) -> Result<JoinToken, Error> {
        let token = new_own(self.ca_hash)?;
        write(&self.path, &token)?;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        Ok(token)
    }

    /// Whether `credential` admits a node now; changes nothing.
    pub fn verify(&self, credential: &Credential, now: SystemTime) -> Result<(), Refusal> {
        match (credential, &self.server_token().credential) {
            (Credential::Server { secret }, Credential::Server { secret: own }) => {
                if same_secret(secret.as_bytes(), own.as_bytes()) { Ok(()) } else { Err(Refusal::Unknown) }
            }
            (Credential::Issued { id, secret }, _) => {
                let record = self.record(id).ok_or(Refusal::Unknown)?.1;
                let hash = HEXLOWER.encode(&sha256(secret.as_bytes()));
                if !same_secret(hash.as_bytes(), record.secret.as_bytes()) {
                    return Err(Refusal::Unknown);
                }
                record.check(now)
            }
            _ => Err(Refusal::Unknown),
        }
    }

    /// [`Tokens::verify`], and takes one use off an issued token that has a number of them.
    pub(super) async fn spend(&self, credential: &Credential, now: SystemTime) -> Result<(), Refusal> {
        loop {
            self.verify(credential, now)?;
            let Credential::Issued { id, .. } = credential else { return Ok(()) };
            let (revision, mut record) = self.record(id).ok_or(Refusal::Unknown)?;
            let Some(left) = record.uses_left else { return Ok(()) };
            record.uses_left = Some(left.saturating_sub(1));
            if left <= 1 {
                let end = seconds(now + LAST_USE);
                record.expires = Some(record.expires.map_or(end, |expires| expires.min(end)));
            }
            let key = format!("{PREFIX}{id}");
            let expect = Expect::Revision(revision);
            match self.store.put(&key, record.to_vec(), expect, Durability::Synced).await {
                Ok(_) => return Ok(()),
                // Somebody else joined with it, or it was deleted: look again.
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => {
                    log::error!("failed to count a use of the join token {id}: {error}");
                    return Err(Refusal::Unknown);
                }
            }
        }
    }

    fn record(&self, id: &str) -> Option<(u64, Record)> {
        let entry = self.store.get(&format!("{PREFIX}{id}"))?;
        Some((entry.revision, serde_json::from_slice(&entry.value).ok()?))
    }

    fn records(&self) -> Vec<(String, Record)> {
        let entries = self.store.list(PREFIX, None, 0).entries.into_iter();
        entries
            .filter_map(|entry| {
                Some((entry.key.strip_prefix(PREFIX)?.to_owned(), serde_json::from_slice(&entry.value).ok()?))
            })
            .collect()
    }
}

impl Record {
    fn check(&self, now: SystemTime) -> Result<(), Refusal> {
        if self.expires.is_some_and(|expires| seconds(now) >= expires) {
            return Err(Refusal::Expired);
        }
        if self.uses_left == Some(0) { Err(Refusal::UsedUp) } else { Ok(()) }
    }

    fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn new_own(ca_hash: [u8; 32]) -> Result<JoinToken, Error> {
    let secret = random_hex::<16>().map_err(|source| Error::Random { source })?;
    Ok(JoinToken { ca_hash: Some(ca_hash), credential: Credential::Server { secret } })
}

fn line(token: &JoinToken) -> String {
    format!("{}\n", token.reveal())
}

fn write(path: &Path, token: &JoinToken) -> Result<(), Error> {
    write_atomic(path, line(token).as_bytes(), 0o600)
        .map_err(|source| Error::WriteFile { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::registry::testing::Cluster;
    use super::*;

    const CA: [u8; 32] = [7; 32];

    #[test]
    fn the_servers_own_token() {
        let cluster = Cluster::new("tokens-own");
        let store = cluster.registry.store().clone();
        let folder = std::env::temp_dir().join(format!("midge-tokens-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let open = |configured| Tokens::open(&folder, CA, configured, store.clone());
        let now = SystemTime::now();
        let tokens = open(None).unwrap();
        let first = tokens.server_token();
        let path = folder.join("token");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", first.reveal()));
        assert!(first.reveal().starts_with(&format!("K10{}::server:", "07".repeat(32))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(None).unwrap().server_token(), first);
        assert_eq!(tokens.verify(&first.credential, now), Ok(()));

        let second = tokens.rotate().unwrap();
        assert_eq!(tokens.verify(&first.credential, now), Err(Refusal::Unknown));
        assert_eq!(open(None).unwrap().verify(&second.credential, now), Ok(()));

        let tokens = open(Some("hunter2")).unwrap();
        assert_eq!(tokens.verify(&"hunter2".parse().unwrap(), now), Ok(()));
        assert!(fs::read_to_string(&path).unwrap().ends_with("::server:hunter2\n"));
        assert!(matches!(open(Some("a b")), Err(Error::Configured { .. })));
        fs::write(&path, "K10cut").unwrap();
        assert!(matches!(open(None), Err(Error::File { .. })));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn issued_tokens_expire_and_are_used_up() {
        let cluster = Cluster::new("tokens-issued");
        let folder = std::env::temp_dir().join(format!("midge-tokens-issued-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let tokens = Tokens::open(&folder, CA, None, cluster.registry.store().clone()).unwrap();
        smol::block_on(async {
            let now = SystemTime::now();
            let long = Some(Duration::from_secs(9000));
            let token = tokens.create("two\nnodes", long, Some(2)).await.unwrap();
            let Credential::Issued { id, .. } = token.credential.clone() else { panic!() };
            assert_eq!(tokens.list()[0].description, "twonodes");
            let wrong = Credential::Issued { id: id.clone(), secret: "0".repeat(16) };
            assert_eq!(tokens.verify(&wrong, now), Err(Refusal::Unknown));
            let later = now + Duration::from_secs(9001);
            assert_eq!(tokens.verify(&token.credential, later), Err(Refusal::Expired));
            for outcome in [Ok(()), Ok(()), Err(Refusal::UsedUp)] {
                assert_eq!(tokens.spend(&token.credential, now).await, outcome);
            }
            assert_eq!(tokens.list(), []);
            let used_up = tokens.record(&id).unwrap().1;
            assert_eq!(used_up.expires, Some(seconds(now + LAST_USE)), "for a node that comes again");
            let short = tokens.create("", Some(Duration::ZERO), None).await.unwrap();
            let other = tokens.create("", None, None).await.unwrap();
            let Credential::Issued { id, .. } = &short.credential else { panic!() };
            assert!(tokens.record(id).is_none(), "an expired token is swept");
            let Credential::Issued { id, .. } = &other.credential else { panic!() };
            tokens.delete(id).await.unwrap();
            assert_eq!(tokens.verify(&other.credential, now), Err(Refusal::Unknown));
            assert!(matches!(tokens.delete(id).await, Err(Error::NotFound { .. })));
        });
        fs::remove_dir_all(&folder).unwrap();
    }
}
