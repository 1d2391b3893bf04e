//! Who is at the other end of a connection to the server, if it showed a certificate.
//!
//! A handshake takes any certificate whose key the client has; whether it is good is asked for each request,
//! so that one that is not is answered with 401 as upstream does, and one that runs out does so on an open
//! connection, too.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, UnixTime};
use futures_rustls::rustls::client::danger::HandshakeSignatureValid;
use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::server::WebPkiClientVerifier;
use futures_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use futures_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error as RustlsError, RootCertStore, ServerConnection,
    SignatureScheme,
};

use super::Error;

/// How long a certificate counts as what it was found to be without being looked at again: a signature costs
/// milliseconds on a small board, and a stranger's is asked about as often as it likes.
const TRUSTED: Duration = Duration::from_secs(60);
/// The most certificates of a chain, and the most bytes of all of them, that are kept for a connection.
const MOST_CERTIFICATES: usize = 4;
const MOST_BYTES: usize = 16 << 10;

/// The certificate of a connection's client.
#[derive(Clone)]
pub struct Caller(Arc<Shown>);

struct Shown {
    chain: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When it was looked at last, and whether it was good.
    verified: Mutex<Option<(SystemTime, bool)>>,
}

/// What a certificate says of its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Caller {
    /// None for a client that showed nothing, or more than anybody needs to.
    pub(super) fn of(connection: &ServerConnection, verifier: &Arc<dyn ClientCertVerifier>) -> Option<Self> {
        let shown = connection.peer_certificates()?;
        let bytes: usize = shown.iter().map(|certificate| certificate.len()).sum();
        if shown.is_empty() || shown.len() > MOST_CERTIFICATES || bytes > MOST_BYTES {
            return None;
        }
        let chain = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self(Arc::new(Shown { chain, verifier: verifier.clone(), verified: Mutex::default() })))
    }

    /// The holder, if the cluster's CA made its certificate for clients and it is valid `now`.
    pub fn subject(&self, now: SystemTime) -> Option<Subject> {
        let (leaf, rest) = self.0.chain.split_first()?;
        let mut verified = self.0.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let lately =
            |(then, _): &(SystemTime, bool)| now.duration_since(*then).is_ok_and(|age| age < TRUSTED);
        let is_good = if let Some((_, is_good)) = verified.filter(lately) {
            is_good
        } else {
            let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let outcome = self.0.verifier.verify_client_cert(leaf, rest, UnixTime::since_unix_epoch(since));
            *verified = Some((now, outcome.is_ok()));
            if let Err(error) = &outcome {
                log::debug!("a client's certificate is not good: {error}");
            }
            outcome.is_ok()
        };
        drop(verified);
        if is_good { subject(leaf) } else { None }
    }

    /// The certificate's SHA-256.
    pub fn hash(&self) -> [u8; 32] {
        self.0.chain.first().map_or([0; 32], |leaf| crate::token::sha256(leaf))
    }
}

/// Asks for a certificate, and takes any: [`Caller::subject`] judges it.
pub(super) struct Asking(pub Arc<dyn ClientCertVerifier>);

/// Judges clients' certificates: the CA's, for clients.
pub(super) fn verifier(ca_pem: &str) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| Error::ParseAuthority)?;
    roots.add(certificate).map_err(|_| Error::ParseAuthority)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .allow_unauthenticated()
        .build()
        .map_err(|_| Error::ParseAuthority)
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// 2.5.4.3 and 2.5.4.10, as they are written.
const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
const ORGANIZATION: &[u8] = &[6, 3, 0x55, 4, 10];

/// The subject of a certificate that a verifier has taken (RFC 5280 section 4.1). None without a common name,
/// and for text that is no UTF-8.
fn subject(certificate: &[u8]) -> Option<Subject> {
    let (mut whole, _) = expect(certificate, SEQUENCE)?;
    let mut fields = take(&mut whole, SEQUENCE)?;
    // The version is optional, and alone in having this tag.
    if fields.first() == Some(&0xA0) {
        take(&mut fields, 0xA0)?;
    }
    // Serial number, algorithm, issuer, validity.
    for tag in [2, SEQUENCE, SEQUENCE, SEQUENCE] {
        take(&mut fields, tag)?;
    }
    let mut name = take(&mut fields, SEQUENCE)?;
    let mut subject = Subject::default();
    while !name.is_empty() {
        let mut set = take(&mut name, SET)?;
        while !set.is_empty() {
            let pair = take(&mut set, SEQUENCE)?;
            if let Some(value) = pair.strip_prefix(COMMON_NAME) {
                subject.common_name = text(value)?;
            } else if let Some(value) = pair.strip_prefix(ORGANIZATION) {
                subject.organizations.push(text(value)?);
            }
        }
    }
    (!subject.common_name.is_empty()).then_some(subject)
}

/// A string of one of the types that are UTF-8 or a part of it.
fn text(value: &[u8]) -> Option<String> {
    // UTF8String, PrintableString, IA5String.
    let tag = *value.first().filter(|tag| matches!(tag, 0x0C | 0x13 | 0x16))?;
    let (text, rest) = expect(value, tag)?;
    String::from_utf8(text.to_vec()).ok().filter(|_| rest.is_empty())
}

/// Takes the element off the front.
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (content, rest) = expect(input, tag)?;
    *input = rest;
    Some(content)
}

/// The content of the element at the front (DER, X.690 section 10.1), and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = input.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let mut size = usize::from(length);
    if size >= 0x80 {
        let count = size - 0x80;
        let bytes = rest.get(..count).filter(|_| matches!(count, 1..=3))?;
        size = bytes.iter().fold(0, |size, &byte| size << 8 | usize::from(byte));
        rest = rest.get(count..)?;
    }
    let content = rest.get(..size).filter(|_| first == tag)?;
    Some((content, rest.get(size..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName as Name, DnType, DnValue, KeyPair};

    fn certificate(name: Name) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn subjects() {
        let mut name = Name::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "team:a");
        name.push(DnType::CommonName, "jäne");
        let der = certificate(name);
        let organizations = vec!["team:a".to_owned()];
        assert_eq!(subject(&der), Some(Subject { common_name: "jäne".to_owned(), organizations }));
        for end in 0..der.len() {
            // Cut off anywhere: nobody, and no panic.
            assert_eq!(subject(&der[..end]), None, "{end}");
        }
        assert_eq!(subject(&certificate(Name::new())), None);
        let mut name = Name::new();
        name.push(DnType::CommonName, DnValue::BmpString("jane".try_into().unwrap()));
        assert_eq!(subject(&certificate(name)), None);
    }
}
