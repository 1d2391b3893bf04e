//! The server's certificate: in memory only, replaced in the running process.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::server::danger::ClientCertVerifier;
use futures_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::version::TLS13;
use futures_rustls::rustls::{ServerConfig, ServerConnection};

use super::authority::LEAF_LIFE;
use super::caller::{self, Asking, Caller};
use super::{Authority, Error, Names};

/// Addresses learnt from connections that a certificate holds; the first ones go when more come.
const MAX_LEARNT: usize = 32;

/// The certificate that a server shows, and the TLS configuration that shows it.
pub struct ServerIdentity {
    authority: Arc<Authority>,
    names: Names,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    callers: Arc<dyn ClientCertVerifier>,
}

/// What the TLS configuration asks for the certificate of the moment.
struct Current(Mutex<Shown>);

struct Shown {
    certificate: Arc<CertifiedKey>,
    learnt: Vec<IpAddr>,
    renew: SystemTime,
    issued: SystemTime,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).certificate.clone())
    }
}

impl ServerIdentity {
    /// Issues a first certificate for `names`.
    pub fn new(authority: Arc<Authority>, names: Names) -> Result<Arc<ServerIdentity>, Error> {
        let now = SystemTime::now();
        let certificate = Arc::new(authority.issue_server(&names, now)?);
        let current = Arc::new(Current(Mutex::new(Shown {
            certificate,
            learnt: Vec::new(),
            renew: now + renewal(),
            issued: now,
        })));
        let callers = caller::verifier(authority.certificate_pem())?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|source| Error::Configure { source })?
            .with_client_cert_verifier(Arc::new(Asking(callers.clone())))
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Links last for days and kubectl is a new process each time: resumption would only cost memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_fragment_size = None;
        Ok(Arc::new(Self { authority, names, current, config: Arc::new(config), callers }))
    }

    /// The configuration for the acceptor: TLS 1.3, ALPN http/1.1, the current certificate.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Who is at the other end of a connection that has shaken hands, if it showed a certificate.
    pub fn caller(&self, connection: &ServerConnection) -> Option<Caller> {
        Caller::of(connection, &self.callers)
    }

    /// To be called for each connection with the local address that it arrived at: issues a new
    /// certificate when the address is not in the current one, or when two thirds of its life are over.
    /// A failure is logged, and the current certificate stays.
    pub fn prepare(&self, local: IpAddr) {
        self.prepare_at(local, SystemTime::now());
    }

    pub(super) fn prepare_at(&self, local: IpAddr, now: SystemTime) {
        let local = local.to_canonical();
        let mut shown = self.current.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            local.is_loopback() || self.names.addresses.contains(&local) || shown.learnt.contains(&local);
        // A clock that went back by more than a certificate's life was wrong when it was issued.
        let stale = now >= shown.renew || now + LEAF_LIFE < shown.issued;
        if known && !stale {
            return;
        }
        let mut learnt = shown.learnt.clone();
        if !known {
            if learnt.len() >= MAX_LEARNT {
                learnt.remove(0);
            }
            learnt.push(local);
        }
        let mut names = self.names.clone();
        names.addresses.extend(&learnt);
        match self.authority.issue_server(&names, now) {
            Ok(certificate) => {
                log::info!(
                    "issued a new server certificate: {}",
                    if known {
                        String::from("the old one was near its end")
                    } else {
                        format!("it now names {local}")
                    }
                );
                *shown =
                    Shown { certificate: Arc::new(certificate), learnt, renew: now + renewal(), issued: now };
            }
            Err(error) => {
                log::error!("{error}");
                // Not again for every connection.
                shown.renew = now + Duration::from_secs(60);
                shown.learnt = learnt;
            }
        }
    }
}

/// Two thirds of a certificate's life.
fn renewal() -> Duration {
    LEAF_LIFE * 2 / 3
}
