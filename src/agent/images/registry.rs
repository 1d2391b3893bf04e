//! A registry as a client sees it (OCI distribution specification, "Pull"; Docker's token authentication).

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE,
    USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::auth::{self, Challenge};
use super::credentials::Credentials;
use super::failure::Failure;
use super::place::Place;
use super::proxy;
use super::registries::Endpoint;
use crate::containerd::{document, reference};
use crate::http::body;
use crate::http::client::{Client, Target, Tls};
use crate::tls::client_config_public;
use crate::{Executor, VERSION};

/// For connecting, for an answer to a request, and between two pieces of a body.
pub const PATIENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;
/// Of an answer that is not the one wished for, bytes.
const SMALL: usize = 64 << 10;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// What is asked of a registry by tag or digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The digest that a tag stands for, if the registry says so without sending the manifest.
    Digest,
    /// A manifest or an index.
    Manifest,
    /// A config: a small blob.
    Config,
}

/// A document as it came, checked against its digest.
pub struct Fetched {
    pub media_type: String,
    /// As the registry says; for [`Question::Digest`].
    pub digest: Option<String>,
    pub bytes: Vec<u8>,
}

/// A session with one endpoint.
pub struct Registry {
    pub endpoint: Endpoint,
    executor: Executor,
    /// To try, the last first.
    credentials: Vec<Credentials>,
    authorization: Option<HeaderValue>,
    /// To one of the hosts that were asked last, by `scheme://authority`.
    connection: Option<(String, Client)>,
    tls: Option<std::sync::Arc<futures_rustls::rustls::ClientConfig>>,
}

impl Registry {
    /// `secrets` are the pod's.
    pub fn new(endpoint: Endpoint, secrets: &[Credentials], executor: &Executor) -> Registry {
        let secrets = secrets.iter().filter(|_| endpoint.takes_secrets).cloned();
        let mut credentials: Vec<Credentials> = secrets.chain(endpoint.credentials.clone()).collect();
        credentials.reverse();
        let executor = executor.clone();
        Registry { endpoint, executor, credentials, authorization: None, connection: None, tls: None }
    }

    /// `host:port`, for messages.
    pub fn name(&self) -> String {
        self.endpoint.host.clone()
    }

    pub async fn fetch(&mut self, question: Question, reference: &str) -> Result<Fetched, Failure> {
        let (method, kind, accept) = match question {
            Question::Digest => (Method::HEAD, "manifests", MANIFESTS),
            Question::Manifest => (Method::GET, "manifests", MANIFESTS),
            Question::Config => (Method::GET, "blobs", "*/*"),
        };
        let response = self.get(method, kind, reference, &[(ACCEPT, accept)]).await?;
        let media_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let digest = header(&response, "docker-content-digest").filter(|digest| reference::is_digest(digest));
        let digest = digest.map(str::to_owned);
        let bytes =
            body::read(response.into_body(), document::LIMIT, PATIENCE).await.map_err(Failure::Body)?;
        let wanted = if reference.contains(':') { Some(reference) } else { digest.as_deref() };
        let wanted = wanted.filter(|_| question != Question::Digest);
        if let Some(wanted) = wanted.filter(|wanted| document::is_other(wanted, &bytes)) {
            self.connection = None;
            let what = if kind == "blobs" { "config" } else { "manifest" };
            return Err(Failure::Digest { wanted: wanted.to_owned(), what });
        }
        Ok(Fetched { media_type, digest, bytes: bytes.to_vec() })
    }

    /// A blob from `offset` on. With the answer comes where it really begins: a registry may not know ranges.
    pub async fn blob(&mut self, digest: &str, offset: u64) -> Result<(Response<Incoming>, u64), Failure> {
        let range = format!("bytes={offset}-");
        let headers: &[_] = if offset > 0 { &[(RANGE, range.as_str())] } else { &[] };
        let response = self.get(Method::GET, "blobs", digest, headers).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok((response, 0));
        }
        let begins = header(&response, CONTENT_RANGE.as_str()).and_then(|range| {
            range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse::<u64>().ok()
        });
        match begins.filter(|begins| *begins <= offset) {
            Some(begins) => Ok((response, begins)),
            None => Err(Failure::Range { registry: self.name() }),
        }
    }

    /// The connection is in an unknown state.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Follows redirects and challenges to a success.
    async fn get(
        &mut self,
        method: Method,
        kind: &str,
        reference: &str,
        headers: &[(http::HeaderName, &str)],
    ) -> Result<Response<Incoming>, Failure> {
        let Endpoint { tls, host, port, prefix, repository, mirror_of, .. } = &self.endpoint;
        let namespace = mirror_of.as_ref().map(|registry| format!("?ns={registry}")).unwrap_or_default();
        let own = Place {
            tls: *tls,
            host: host.clone(),
            port: *port,
            path: format!("{prefix}/{repository}/{kind}/{reference}{namespace}"),
        };
        let mut place = own.clone();
        let (mut redirects, mut is_fresh) = (0, false);
        loop {
            let mut request = Request::new(Full::default());
            *request.method_mut() = method.clone();
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_str(value) {
                    request.headers_mut().insert(name, value);
                }
            }
            // Credentials are for the registry, and not for where it sends us.
            if let Some(authorization) = self.authorization.as_ref().filter(|_| place.is_at(&own)) {
                request.headers_mut().insert(AUTHORIZATION, authorization.clone());
            }
            let response = self.send(&place, request).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status.is_redirection() && redirects < REDIRECTS {
                let Some(next) = header(&response, LOCATION.as_str()).and_then(|to| place.join(to)) else {
                    return Err(self.refusal(response, &method).await);
                };
                // What is sealed in transit stays so.
                if place.tls && !next.tls {
                    return Err(Failure::Downgrade { registry: self.name() });
                }
                self.drain(response).await;
                redirects += 1;
                place = next;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && place.is_at(&own) {
                let challenges: Vec<Challenge> = response
                    .headers()
                    .get_all(WWW_AUTHENTICATE)
                    .iter()
                    .filter_map(|value| value.to_str().ok())
                    .flat_map(auth::challenges)
                    .collect();
                // A token that has run out is replaced once by the same credentials; the last try is without any.
                if std::mem::replace(&mut is_fresh, true) && self.credentials.pop().is_none() {
                    return Err(self.refusal(response, &method).await);
                }
                self.drain(response).await;
                self.authorize(&challenges).await?;
                continue;
            }
            // Known and not let in: perhaps another Secret's user is.
            if status == StatusCode::FORBIDDEN && place.is_at(&own) && self.credentials.pop().is_some() {
                (self.authorization, is_fresh) = (None, false);
                self.drain(response).await;
                continue;
            }
            return Err(self.refusal(response, &method).await);
        }
    }

    /// Finds what a challenge asks for, with the last credentials.
    async fn authorize(&mut self, challenges: &[Challenge]) -> Result<(), Failure> {
        loop {
            match self.authorize_with(self.credentials.last().cloned(), challenges).await {
                // Perhaps another Secret's.
                Err(Failure::Refused { .. }) if self.credentials.pop().is_some() => {}
                other => return other,
            }
        }
    }

    async fn authorize_with(
        &mut self,
        credentials: Option<Credentials>,
        challenges: &[Challenge],
    ) -> Result<(), Failure> {
        if let Some(Credentials::Bearer(token)) = &credentials {
            self.authorization = auth::bearer(token);
            return Ok(());
        }
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.is("bearer")) {
            let token = self.token(challenge, credentials.as_ref()).await?;
            self.authorization = auth::bearer(&token);
            return Ok(());
        }
        match (&credentials, challenges.iter().any(|challenge| challenge.is("basic"))) {
            (Some(Credentials::Basic { username, password }), true) => {
                self.authorization = auth::basic(username, password);
                Ok(())
            }
            (_, true) => Err(Failure::Refused {
                registry: self.name(),
                status: StatusCode::UNAUTHORIZED,
                detail: "it asks for a user and a password, and none is given".into(),
            }),
            _ => Err(Failure::Refused {
                registry: self.name(),
                status: StatusCode::UNAUTHORIZED,
                detail: "it asks for neither a token nor a password".into(),
            }),
        }
    }

    /// Asks a token server (distribution's `docs/spec/auth/token.md` and `oauth.md`).
    async fn token(
        &mut self,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<String, Failure> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let bad = || Failure::Realm { registry: self.endpoint.host.clone() };
        let mut place = Place::parse(realm).ok_or_else(bad)?;
        if self.endpoint.tls && !place.tls {
            return Err(bad());
        }
        let scope = format!("repository:{}:pull", self.endpoint.repository);
        let scope = challenge.parameter("scope").unwrap_or(&scope);
        let service = challenge.parameter("service").unwrap_or_default();
        let mut form = auth::Form::default();
        form.push("service", service);
        form.push("scope", scope);
        let mut request = Request::new(Full::default());
        match credentials {
            Some(Credentials::Identity(token)) => {
                form.push("grant_type", "refresh_token");
                form.push("client_id", "midge");
                form.push("refresh_token", token);
                *request.method_mut() = Method::POST;
                *request.body_mut() = Full::new(Bytes::from(form.into_text()));
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, kind);
            }
            other => {
                let separator = if place.path.contains('?') { '&' } else { '?' };
                place.path = format!("{}{separator}{}", place.path, form.into_text());
                if let Some(Credentials::Basic { username, password }) = other {
                    if let Some(value) = auth::basic(username, password) {
                        request.headers_mut().insert(AUTHORIZATION, value);
                    }
                }
            }
        }
        let response = self.send(&place, request).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &Method::GET).await);
        }
        let bytes = body::read(response.into_body(), SMALL, PATIENCE).await.map_err(Failure::Body)?;
        auth::token(&bytes).ok_or_else(|| Failure::Realm { registry: self.endpoint.host.clone() })
    }

    /// One request and the header of its answer.
    async fn send(
        &mut self,
        place: &Place,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let path = place.path.parse().map_err(|_| Failure::Realm { registry: place.host.clone() })?;
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        // What is fetched is what its digest is of.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Ok(agent) = HeaderValue::try_from(format!("midge/{VERSION}")) {
            headers.insert(USER_AGENT, agent);
        }
        let origin = place.origin();
        if let Some((at, client)) = self.connection.as_mut().filter(|(at, _)| *at == origin) {
            debug_assert_eq!(*at, origin);
            if client.is_open() {
                // A registry closes idle connections at any moment.
                if let Ok(response) = client.send(request.clone()).await {
                    return Ok(response);
                }
            }
        }
        self.connection = None;
        let mut client = self.dial(place).await?;
        let response = client.send(request).await.map_err(Failure::Http)?;
        self.connection = Some((origin, client));
        Ok(response)
    }

    async fn dial(&mut self, place: &Place) -> Result<Client, Failure> {
        let tls = if place.tls {
            let config = match &self.tls {
                Some(config) => config.clone(),
                None => {
                    let trust = self.endpoint.trust.clone();
                    let config = smol::unblock(move || client_config_public(&trust)).await;
                    self.tls.insert(config.map_err(Failure::Tls)?).clone()
                }
            };
            Some(Tls { config, name: place.host.clone() })
        } else {
            None
        };
        let proxy = proxy::choose(place.tls, &place.host, place.port, |name| std::env::var(name).ok());
        let proxy = proxy.map_err(Failure::Proxy)?;
        let target = Target { host: place.host.clone(), port: place.port, tls, proxy };
        Client::open(&target, PATIENCE, &self.executor).await.map_err(Failure::Http)
    }

    /// Reads what is left of an answer, so that its connection can be used again.
    async fn drain(&mut self, response: Response<Incoming>) {
        if body::read(response.into_body(), SMALL, Duration::from_secs(5)).await.is_err() {
            self.connection = None;
        }
    }

    async fn refusal(&mut self, response: Response<Incoming>, method: &Method) -> Failure {
        let status = response.status();
        let text = match body::read(response.into_body(), SMALL, Duration::from_secs(5)).await {
            Ok(bytes) if method != Method::HEAD => bytes,
            Ok(_) => Bytes::new(),
            Err(_) => {
                self.connection = None;
                Bytes::new()
            }
        };
        Failure::Refused { registry: self.name(), status, detail: auth::detail(&text) }
    }
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
