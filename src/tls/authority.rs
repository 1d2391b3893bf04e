//! The cluster's CA: made once, kept in two files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::sign::CertifiedKey;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use time::OffsetDateTime;

use super::{Error, SERVER_NAME};
use crate::sys::file::{create_private_folder, sync_folder, write_atomic};

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = DAY.saturating_mul(3652);
/// How long a server's certificate is valid.
pub(super) const LEAF_LIFE: Duration = DAY.saturating_mul(90);

/// The CA: P-256, valid from 1970 for boards without a clock, for ten years from its making.
pub struct Authority {
    pem: String,
    hash: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `ca.crt` and `ca.key` in `folder`, or makes them (0600, the folder 0700) if neither is there.
    pub fn open_or_create(folder: &Path) -> Result<Authority, Error> {
        let certificate = folder.join("ca.crt");
        let key = folder.join("ca.key");
        match (read(&certificate)?, read(&key)?) {
            (Some(pem), Some(key_pem)) => {
                let pair = KeyPair::from_pem(&key_pem)
                    .map_err(|source| Error::ParseKey { path: key.clone(), source })?;
                let der = CertificateDer::from_pem_slice(pem.as_bytes())
                    .map_err(|_| Error::ParseCertificate { path: certificate.clone() })?;
                // The public key stands in the certificate as it is: looking for it needs no X.509 parser.
                if !der.windows(pair.der_bytes().len()).any(|part| part == pair.der_bytes()) {
                    return Err(Error::Mismatch { certificate, key });
                }
                Ok(Self::assemble(pem, pair))
            }
            (None, None) => {
                let pair = KeyPair::generate().map_err(|source| Error::MakeKey { source })?;
                let made = ca_params()
                    .self_signed(&pair)
                    .map_err(|source| Error::SignCertificate { name: "the CA", source })?;
                let pem = made.pem();
                write_folder(folder, &pem, &pair.serialize_pem())?;
                Ok(Self::assemble(pem, pair))
            }
            (Some(_), None) => Err(Error::Incomplete { present: certificate, missing: key }),
            (None, Some(_)) => Err(Error::Incomplete { present: key, missing: certificate }),
        }
    }

    fn assemble(pem: String, pair: KeyPair) -> Self {
        Self { hash: crate::token::sha256(pem.as_bytes()), pem, issuer: Issuer::new(ca_params(), pair) }
    }

    /// The certificate as PEM text, exactly as `/cacerts` serves it and the token's hash is taken of.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of [`Authority::certificate_pem`].
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// A new key with a certificate for `names`, valid until 90 days after `now`.
    pub(super) fn issue_server(&self, names: &Names, now: SystemTime) -> Result<CertifiedKey, Error> {
        let name = "the server";
        let sign = |source| Error::SignCertificate { name, source };
        let pair = KeyPair::generate().map_err(|source| Error::MakeKey { source })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(SERVER_NAME);
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        params.not_after = OffsetDateTime::from(sane(now) + LEAF_LIFE);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for dns in FIXED_NAMES.iter().copied().chain(names.dns.iter().map(String::as_str)) {
            params.subject_alt_names.push(SanType::DnsName(dns.try_into().map_err(sign)?));
        }
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for address in loopback.iter().chain(&names.addresses) {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        let certificate = params.signed_by(&pair, &self.issuer).map_err(sign)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        CertifiedKey::from_der(vec![certificate.der().clone()], key, &default_provider())
            .map_err(|source| Error::Configure { source })
    }
}

/// The names in every server's certificate.
const FIXED_NAMES: &[&str] = &[
    SERVER_NAME,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// `now`, or the year 2026 on a board whose clock has not been set: what it issues must still be valid
/// once the time is right.
fn sane(now: SystemTime) -> SystemTime {
    now.max(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The CA's parameters. Name and key identifier must never change: the issuer of an old CA's new
/// certificates is rebuilt from them instead of being parsed.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("midge-ca");
    params.not_before = OffsetDateTime::UNIX_EPOCH;
    params.not_after = OffsetDateTime::from(sane(SystemTime::now()) + CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Both files or none, whatever happens meanwhile: they are written beside `folder`, which is then renamed.
/// In a folder that holds other files already, a power cut between the two leaves the key alone.
fn write_folder(folder: &Path, certificate: &str, key: &str) -> Result<(), Error> {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let beside = folder.with_file_name(name);
    let failed = |source| Error::WriteFile { path: folder.to_path_buf(), source };
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    create_private_folder(&beside).map_err(failed)?;
    for (name, text) in [("ca.key", key), ("ca.crt", certificate)] {
        write_atomic(&beside.join(name), text.as_bytes(), 0o600).map_err(failed)?;
    }
    if fs::rename(&beside, folder).is_err() {
        for name in ["ca.key", "ca.crt"] {
            fs::rename(beside.join(name), folder.join(name)).map_err(failed)?;
        }
        sync_folder(folder).map_err(failed)?;
        fs::remove_dir(&beside).map_err(failed)?;
    }
    folder.parent().map_or(Ok(()), sync_folder).map_err(failed)
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ReadFile { path: path.to_path_buf(), source }),
    }
}

/// What a server's certificate is for. [`super::SERVER_NAME`], localhost and the loopback addresses, the
/// `kubernetes.default` names are always in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// Adds a DNS name or an address, as in `--tls-san`.
    pub fn add(&mut self, name: &str) -> Result<(), Error> {
        let bad = || Error::Name { name: name.chars().take(100).collect() };
        if let Ok(address) = name.parse::<IpAddr>() {
            self.addresses.insert(address.to_canonical());
            return Ok(());
        }
        let lower = name.to_ascii_lowercase();
        match ServerName::try_from(lower.strip_prefix("*.").unwrap_or(&lower).to_owned()) {
            Ok(ServerName::DnsName(_)) if !FIXED_NAMES.contains(&lower.as_str()) => {
                self.dns.insert(lower);
                Ok(())
            }
            Ok(ServerName::DnsName(_)) => Ok(()),
            _ => Err(bad()),
        }
    }
}
