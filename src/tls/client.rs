//! What an agent and the command line trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use futures_rustls::rustls::server::ParsedCertificate;
use futures_rustls::rustls::version::{TLS12, TLS13};
use futures_rustls::rustls::{
    ALL_VERSIONS, CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, OtherError,
    RootCertStore, SignatureScheme,
};

use super::Error;

/// Trusts certificates that the CA in `ca_pem` issued, and nothing else.
pub fn client_config_pinned(ca_pem: &str) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(|_| Error::ParseAuthority)?).map_err(|_| Error::ParseAuthority)?;
    }
    if roots.len() != 1 {
        return Err(Error::ParseAuthority);
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| Error::ParseAuthority)?;
    config(provider, verifier)
}

/// Trusts anything: only for fetching `/cacerts`, whose hash is then compared. Never send a secret over it.
pub fn client_config_unverified() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(default_provider());
    config(provider.clone(), Arc::new(Unverified { provider, with_key: true }))
}

/// Trusts anything, and does not even check that the peer has the key of its certificate: for probes, which ask only
/// whether somebody answers. Old certificates and, where they are built in, old versions of TLS will do.
pub fn client_config_anyone() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(ALL_VERSIONS)
        .map_err(|source| Error::Configure { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified { provider, with_key: false }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// How an image registry is trusted, and how it knows us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM; beside the system's own.
    pub ca_file: Option<PathBuf>,
    /// Certificate (chain) and key of ours, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// No verification at all.
    pub insecure: bool,
}

/// Where systems keep the certificates of public authorities: Debian, Alpine, OpenWrt and Arch; Fedora; SUSE; others.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// For image registries: the system's authorities (or those of the file that `SSL_CERT_FILE` names), TLS 1.2
/// as well. Reads files.
pub fn client_config_public(trust: &Trust) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if trust.insecure {
        Arc::new(Unverified { provider: provider.clone(), with_key: true })
    } else {
        let mut roots = RootCertStore::empty();
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from)).find(|path| path.exists());
        if let Some(bundle) = bundle {
            add(&mut roots, &bundle)?;
        }
        let mut named = Vec::new();
        if let Some(path) = &trust.ca_file {
            if add(&mut roots, path)? == 0 {
                return Err(Error::ParseCertificate { path: path.clone() });
            }
            named = CertificateDer::pem_slice_iter(&read(path)?).flatten().collect();
        }
        if roots.is_empty() {
            return Err(Error::NoAuthorities);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|_| Error::NoAuthorities)?;
        Arc::new(Named { verifier, named })
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|source| Error::Configure { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &trust.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
            let chain = chain.map_err(|_| Error::ParseCertificate { path: certificate.clone() })?;
            let unusable = || Error::UnusableKey { path: key.clone() };
            let parsed = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| unusable())?;
            builder.with_client_auth_cert(chain, parsed).map_err(|_| unusable())?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::ReadFile { path: path.into(), source })
}

/// Adds the certificates of a PEM file. One that can't be used does not spoil the others.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<usize, Error> {
    let pem = read(path)?;
    Ok(roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten()).0)
}

fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| Error::Configure { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Trusts authorities, and servers that show one of `named` itself: certificates of one's own are often made as
/// authorities (`openssl req -x509`), and webpki takes none of these for a server's.
#[derive(Debug)]
struct Named {
    verifier: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verified =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // Found after its dates have been checked.
            Err(RustlsError::InvalidCertificate(CertificateError::Other(OtherError(inner))))
                if inner.to_string() == "CaUsedAsEndEntity" && self.named.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
    /// Whether the peer must have the key of the certificate that it shows.
    with_key: bool,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.with_key {
            true => verify_tls12_signature(message, certificate, signature, algorithms),
            false => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.with_key {
            true => verify_tls13_signature(message, certificate, signature, algorithms),
            false => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
