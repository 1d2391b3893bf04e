//! What can go wrong with certificates.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
    /// One of certificate and key is there, the other is not.
    Incomplete {
        present: PathBuf,
        missing: PathBuf,
    },
    ParseKey {
        path: PathBuf,
        source: rcgen::Error,
    },
    ParseCertificate {
        path: PathBuf,
    },
    /// The certificate was not made from the key beside it.
    Mismatch {
        certificate: PathBuf,
        key: PathBuf,
    },
    MakeKey {
        source: rcgen::Error,
    },
    SignCertificate {
        name: &'static str,
        source: rcgen::Error,
    },
    /// A name that no certificate can hold.
    Name {
        name: String,
    },
    /// A CA that a client is given is not PEM with one usable certificate.
    ParseAuthority,
    /// There is nobody to trust.
    NoAuthorities,
    /// A client's key can't be read, or is not that of its certificate.
    UnusableKey {
        path: PathBuf,
    },
    Configure {
        source: futures_rustls::rustls::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadFile { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Self::WriteFile { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Self::Incomplete { present, missing } => write!(
                f,
                "`{}` is there but `{}` is not: restore it from a backup (without it no node can trust this server), \
                 or remove both to make a new CA that every node must join anew",
                present.display(),
                missing.display()
            ),
            Self::ParseKey { path, .. } => write!(f, "`{}` holds no usable private key", path.display()),
            Self::ParseCertificate { path } => write!(f, "`{}` holds no certificate", path.display()),
            Self::Mismatch { certificate, key } => {
                write!(f, "the key in `{}` is not that of `{}`", key.display(), certificate.display())
            }
            Self::MakeKey { .. } => f.write_str("failed to make a key"),
            Self::SignCertificate { name, .. } => write!(f, "failed to make the certificate of {name}"),
            Self::Name { name } => write!(f, "`{name}` is neither a DNS name nor an IP address"),
            Self::ParseAuthority => f.write_str("the CA is not one PEM certificate"),
            Self::NoAuthorities => f.write_str(
                "this machine has no certificates of public authorities: install them (Debian, Alpine and \
                 OpenWrt: the package ca-certificates, or ca-bundle), or name the registry's CA in registries.yaml",
            ),
            Self::UnusableKey { path } => {
                write!(f, "`{}` holds no private key for the certificate beside it", path.display())
            }
            Self::Configure { .. } => f.write_str("failed to configure TLS"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ReadFile { source, .. } | Self::WriteFile { source, .. } => Some(source),
            Self::ParseKey { source, .. }
            | Self::MakeKey { source }
            | Self::SignCertificate { source, .. } => Some(source),
            Self::Configure { source } => Some(source),
            _ => None,
        }
    }
}
