//! Why an image could not be pulled.

use std::fmt;

use http::StatusCode;

use super::{proxy, registries};
use crate::containerd;
use crate::http::{body, client};
use crate::tls;

#[derive(Debug)]
pub enum Failure {
    Registries(registries::Error),
    Proxy(proxy::BadProxy),
    Tls(tls::Error),
    /// Not connected, or no answer.
    Http(client::Error),
    /// The connection broke while a body came.
    Body(body::ReadError),
    /// The connection broke while a layer came.
    Broken {
        registry: String,
        source: hyper::Error,
    },
    /// Nothing came for so long.
    Silent {
        registry: String,
        seconds: u64,
    },
    /// The registry's connection ended before the layer did.
    Short {
        registry: String,
    },
    /// `detail` is in its own words, or empty.
    Refused {
        registry: String,
        status: StatusCode,
        detail: String,
    },
    /// It names no token server that could be asked, or that does not give a token.
    Realm {
        registry: String,
    },
    /// From HTTPS to plain HTTP.
    Downgrade {
        registry: String,
    },
    /// It answers with another range than the one asked for.
    Range {
        registry: String,
    },
    /// What came is not what was asked for.
    Digest {
        wanted: String,
        what: &'static str,
    },
    /// The layers lie somewhere else than in the registry.
    Foreign {
        media_type: String,
    },
    /// Docker's first manifest format.
    Schema1,
    /// containerd failed or refused; or the image is none for this node.
    Containerd(containerd::Error),
    /// Each endpoint failed in its own way.
    Endpoints(Vec<(String, Failure)>),
}

impl Failure {
    /// Worth another try at once: the network's fault.
    pub fn is_passing(&self) -> bool {
        match self {
            Failure::Http(error) => {
                !matches!(error, client::Error::Untrusted { .. } | client::Error::Proxy { .. })
            }
            Failure::Body(error) => !matches!(error, body::ReadError::TooLarge { .. }),
            Failure::Broken { .. } | Failure::Silent { .. } | Failure::Short { .. } => true,
            Failure::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Failure::Digest { .. } => true,
            _ => false,
        }
    }
}

impl From<containerd::Error> for Failure {
    fn from(error: containerd::Error) -> Failure {
        Failure::Containerd(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Registries(error) => error.fmt(f),
            Failure::Proxy(error) => error.fmt(f),
            Failure::Tls(error) => error.fmt(f),
            Failure::Http(error) => error.fmt(f),
            Failure::Body(error) => error.fmt(f),
            Failure::Broken { registry, .. } => write!(f, "the connection to {registry} broke"),
            Failure::Silent { registry, seconds } => write!(f, "nothing came from {registry} for {seconds} s"),
            Failure::Short { registry } => write!(f, "{registry} sent less of a layer than there is"),
            Failure::Refused { registry, status, detail } => {
                let known = match status.as_u16() {
                    401 | 403 => "pull access denied, repository does not exist or may require authorization",
                    404 => "not found",
                    429 => "too many requests",
                    _ => "",
                };
                write!(f, "{registry} answers {}", status.as_u16())?;
                for text in [known, detail].into_iter().filter(|text| !text.is_empty()) {
                    write!(f, ": {text}")?;
                }
                Ok(())
            }
            Failure::Realm { registry } => write!(f, "{registry} names no token server that gives a token"),
            Failure::Downgrade { registry } => write!(f, "{registry} redirects from HTTPS to plain HTTP"),
            Failure::Range { registry } => write!(f, "{registry} sends another part than the one asked for"),
            Failure::Digest { wanted, what } => write!(f, "the {what} that came is not {wanted}: damaged on its way"),
            Failure::Foreign { media_type } => {
                write!(f, "the image has a foreign layer ({media_type}), which no registry holds: not supported")
            }
            Failure::Schema1 => {
                f.write_str("the manifest is of Docker's schema 1: not supported, push the image again with a newer Docker")
            }
            Failure::Containerd(error) => error.fmt(f),
            Failure::Endpoints(all) => {
                for (at, (name, failure)) in all.iter().enumerate() {
                    let separator = if at > 0 { "; " } else { "" };
                    write!(f, "{separator}{name}: {}", crate::chain(failure))?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their text is this error's own.
            Failure::Registries(error) => error.source(),
            Failure::Tls(error) => error.source(),
            Failure::Http(error) => error.source(),
            Failure::Body(error) => error.source(),
            Failure::Containerd(error) => error.source(),
            Failure::Broken { source, .. } => Some(source),
            _ => None,
        }
    }
}
