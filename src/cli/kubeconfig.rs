//! The admin's kubeconfig, as far as the command line needs it: one cluster, one user with a token, as
//! midge writes it.

use super::error::Error;
use crate::api::Status;
use crate::http::Url;
use crate::http::client::Client;
use crate::{Executor, chain, tls};
use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use saphyr_parser::{Event, Parser};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer of the token API is far smaller.
const MAX_ANSWER: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(15);

/// What a kubeconfig says about its one cluster. No `Debug`: it holds a secret.
pub struct Admin {
    url: Url,
    certificate_pem: String,
    token: String,
}

/// Reads `given`, `$KUBECONFIG` or the default file, in this order.
pub fn read(given: Option<String>) -> Result<Admin, Error> {
    let named = given.or_else(|| std::env::var("KUBECONFIG").ok()).filter(|path| !path.is_empty());
    let path = PathBuf::from(named.unwrap_or_else(|| super::DEFAULT_KUBECONFIG.to_string()));
    let text =
        std::fs::read_to_string(&path).map_err(|source| Error::ReadFile { path: path.clone(), source })?;
    parse(&path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Admin, Error> {
    let unusable = |what: &str| Error::Kubeconfig { path: path.to_path_buf(), what: what.to_string() };
    let scalars = scalars(path, text)?;
    let one = |suffix: &str| {
        let mut found =
            scalars.iter().filter(|(key, _)| key.ends_with(suffix)).map(|(_, value)| value.as_str());
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(unusable(&format!("has no `{suffix}`"))),
            (Some(_), Some(_)) => Err(unusable("has several clusters or users")),
        }
    };
    let certificate = BASE64
        .decode(one("cluster.certificate-authority-data")?.as_bytes())
        .ok()
        .and_then(|pem| String::from_utf8(pem).ok())
        .ok_or_else(|| unusable("has a `certificate-authority-data` that is not a PEM text in base64"))?;
    Ok(Admin {
        url: one("cluster.server")?.parse().map_err(Error::Url)?,
        certificate_pem: certificate,
        token: one("user.token")?.to_string(),
    })
}

/// Every scalar of a YAML document with the keys above it, joined by dots; lists add nothing to it.
fn scalars(path: &Path, text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    // A mapping's entry is the key that its next value belongs to; a list's is None.
    let mut above: Vec<Option<Option<String>>> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| Error::Malformed {
            path: path.to_path_buf(),
            line: error.marker().line(),
            what: error.info().to_string(),
        })?;
        match event {
            Event::MappingStart(..) => above.push(Some(None)),
            Event::SequenceStart(..) => above.push(None),
            Event::Scalar(key, ..) if matches!(above.last(), Some(Some(None))) => {
                above.pop();
                above.push(Some(Some(key.into_owned())));
            }
            Event::Scalar(value, ..) => {
                let keys: Vec<&str> = above.iter().flatten().flatten().map(String::as_str).collect();
                found.push((keys.join("."), value.into_owned()));
                next_key(&mut above);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                above.pop();
                next_key(&mut above);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A value has ended: the mapping that it is in, if any, goes on with a key.
fn next_key(above: &mut [Option<Option<String>>]) {
    if let Some(Some(key)) = above.last_mut() {
        *key = None;
    }
}

impl Admin {
    /// Sends one request and returns the answer's JSON.
    ///
    /// # Errors
    /// The connection's, or what the server refuses, in its own words.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        executor: &Executor,
    ) -> Result<Value, Error> {
        let tls = tls::client_config_pinned(&self.certificate_pem).map_err(Error::Tls)?;
        let mut client = Client::connect(&self.url, tls, PATIENCE, executor).await.map_err(Error::Client)?;
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::Answer { what: chain(&error) })?;
        let answer = client.send(request).await.map_err(Error::Client)?;
        let refused = !answer.status().is_success();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Error::Answer { what: error.to_string() })?.to_bytes();
        if refused {
            let what =
                Status::from_slice(&body).map_or("without a reason".to_string(), |status| status.message);
            return Err(Error::Answer { what });
        }
        serde_json::from_slice(&body).map_err(|error| Error::Answer { what: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_the_server_writes() {
        let text = crate::server::kubeconfig::render("https://127.0.0.1:6443", "-----BEGIN", "secret");
        let admin = parse(Path::new("k"), &text).unwrap();
        assert_eq!((admin.url.host.as_str(), admin.url.port), ("127.0.0.1", 6443));
        assert_eq!((admin.certificate_pem.as_str(), admin.token.as_str()), ("-----BEGIN", "secret"));
    }

    #[test]
    fn several_clusters_are_not_guessed_between() {
        let text = "clusters:\n- cluster: {server: 'https://a'}\n- cluster: {server: 'https://b'}\n";
        assert!(parse(Path::new("k"), text).is_err());
        assert!(parse(Path::new("k"), "a: [").is_err());
    }
}
