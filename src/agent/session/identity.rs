//! What the agent keeps of its cluster: the CA that it trusts, and its own key.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Options};
use crate::sys::file::{create_private_folder, write_atomic};
use crate::token::sha256;

const KEY_FILE: &str = "node-key";
const CA_FILE: &str = "server-ca.crt";

/// Of one cluster. Without a key the node has not joined.
pub(super) struct Identity {
    /// PEM, as `/cacerts` gave it.
    pub(super) ca: Option<String>,
    pub(super) key: Option<String>,
}

impl Identity {
    pub(super) fn joined(&self) -> bool {
        self.key.is_some()
    }

    /// The key is revoked: the node has to join anew.
    pub(super) fn forget(&mut self) {
        self.key = None;
    }

    /// Makes both durable; the CA first, since a key without it is of no use.
    pub(super) async fn save(&mut self, folder: &Path, key: String) -> Result<(), Error> {
        let (folder, ca, text) = (folder.to_path_buf(), self.ca.clone(), format!("{key}\n"));
        smol::unblock(move || {
            let failed = |path: &Path| {
                let path = path.to_path_buf();
                move |source| Error::WriteFile { path, source }
            };
            create_private_folder(&folder).map_err(failed(&folder))?;
            for (name, text) in [(CA_FILE, ca), (KEY_FILE, Some(text))] {
                let path = folder.join(name);
                if let Some(text) = text {
                    write_atomic(&path, text.as_bytes(), 0o600).map_err(failed(&path))?;
                }
            }
            Ok(())
        })
        .await?;
        self.key = Some(key);
        Ok(())
    }
}

/// Reads what there is. A token that pins another CA than the one on disk is for another cluster: then
/// the node joins that one, and its key is of no use.
pub(super) async fn load(options: &Options) -> Result<Identity, Error> {
    if options.servers.is_empty() {
        return Err(Error::NoServer);
    }
    let folder = options.folder.clone();
    let (ca, key) =
        smol::unblock(move || Ok::<_, Error>((read(&folder.join(CA_FILE))?, read(&folder.join(KEY_FILE))?)))
            .await?;
    let key = match key {
        Some(text) => {
            let key = text.trim();
            if key.is_empty() || key.len() > 128 || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(Error::Damaged { path: options.folder.join(KEY_FILE) });
            }
            Some(key.to_owned())
        }
        None => None,
    };
    let pinned = options.token.as_ref().and_then(|token| token.ca_hash);
    let identity = match ca {
        Some(ca) if pinned.is_some_and(|hash| hash != sha256(ca.as_bytes())) => {
            log::warn!(
                "the join token is for another cluster than the one this node has joined: joining that one"
            );
            Identity { ca: None, key: None }
        }
        // Without a key nothing binds the node to the cluster: it is fetched anew.
        Some(ca) if key.is_some() => Identity { ca: Some(ca), key },
        // A key without its CA: whom to show it to is not known.
        _ => Identity { ca: None, key: None },
    };
    if identity.key.is_none() && options.token.is_none() {
        return Err(Error::NoToken);
    }
    Ok(identity)
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ReadFile { path: path.to_path_buf(), source }),
    }
}
