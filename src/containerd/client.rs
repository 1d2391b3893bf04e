//! The handle that every other module of this room adds its calls to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use prost::Message;

use super::call::{Answers, Method, Requests, found, within};
use super::channel::Channel;
use super::types::Empty;
use super::{Error, Labels};
use crate::Executor;

/// The oldest containerd that midge is tested with.
const MINIMUM: (u32, u32) = (1, 6);
const MINIMUM_TEXT: &str = "1.6";

/// For calls that only look things up or write a record. A board on a slow card may sync for seconds.
const QUICK: Duration = Duration::from_secs(30);

/// containerd's own account of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For instance `1.6.20~ds1` or `v2.1.9`.
    pub version: String,
    pub revision: String,
}

/// A connection to one containerd, in one of its namespaces. Cloning is cheap and shares the
/// connection. Calls may run concurrently; dropping a call's future cancels it.
#[derive(Clone)]
pub struct Client {
    channel: Arc<Channel>,
    namespace: Arc<str>,
    lease: Option<Arc<str>>,
}

impl Client {
    /// [`Client::open`], and makes sure that `namespace` exists.
    pub async fn connect(socket: &Path, namespace: &str, executor: &Executor) -> Result<Client, Error> {
        let client = Client::open(socket, namespace, executor).await?;
        let namespace = wire::Namespace { name: namespace.into(), labels: Labels::new() };
        let request = wire::CreateNamespaceRequest { namespace: Some(namespace) };
        match client.unary::<_, Empty>(wire::CREATE_NAMESPACE, &request).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(client),
        }
    }

    /// Connects to containerd at `socket` and checks its version. After that a lost connection is dialled
    /// again by the next call. In a namespace that does not exist there is nothing to be found.
    pub async fn open(socket: &Path, namespace: &str, executor: &Executor) -> Result<Client, Error> {
        let client = Client {
            channel: Arc::new(Channel::new(socket.to_path_buf(), executor.clone())),
            namespace: namespace.into(),
            lease: None,
        };
        let version = client.version().await?.version;
        if is_too_old(&version) {
            return Err(Error::TooOld { version, minimum: MINIMUM_TEXT });
        }
        Ok(client)
    }

    pub async fn has_namespace(&self) -> Result<bool, Error> {
        // Asked for by its name, containerd says of any that it is there.
        let answer: wire::ListNamespacesResponse = self.unary(wire::LIST_NAMESPACES, &Empty {}).await?;
        Ok(answer.namespaces.iter().any(|namespace| *namespace.name == *self.namespace))
    }

    /// Deletes the client's namespace, which must be empty; fine if it is gone already.
    pub async fn delete_namespace(&self) -> Result<(), Error> {
        let request = wire::DeleteNamespaceRequest { name: self.namespace.to_string() };
        found(self.unary::<_, Empty>(wire::DELETE_NAMESPACE, &request).await)?;
        Ok(())
    }

    /// The socket that this is connected to.
    pub fn socket(&self) -> &Path {
        self.channel.socket()
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Does `work` to its end, whatever becomes of the caller.
    pub fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.channel.executor().spawn(work).detach();
    }

    /// The same connection, with every resource created through it held by `lease`.
    pub fn with_lease(&self, lease: &str) -> Client {
        Client { lease: Some(lease.into()), ..self.clone() }
    }

    pub(super) fn lease(&self) -> Option<&str> {
        self.lease.as_deref()
    }

    pub async fn version(&self) -> Result<Version, Error> {
        let answer: wire::VersionResponse = self.unary(wire::VERSION, &Empty {}).await?;
        Ok(Version { version: answer.version, revision: answer.revision })
    }

    /// Names of the snapshotters that work on this machine, for instance `overlayfs` and `native`.
    pub async fn snapshotters(&self) -> Result<Vec<String>, Error> {
        let request = wire::PluginsRequest { filters: vec!["type==io.containerd.snapshotter.v1".into()] };
        let answer: wire::PluginsResponse = self.unary(wire::PLUGINS, &request).await?;
        Ok(answer
            .plugins
            .into_iter()
            .filter(|plugin| plugin.failure.is_none())
            .map(|plugin| plugin.id)
            .collect())
    }

    /// The folder that a snapshotter keeps its layers in.
    pub async fn snapshotter_root(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let request =
            wire::PluginsRequest { filters: vec![format!("type==io.containerd.snapshotter.v1,id=={name}")] };
        let answer: wire::PluginsResponse = self.unary(wire::PLUGINS, &request).await?;
        Ok(answer.plugins.into_iter().find_map(|mut plugin| plugin.exports.remove("root")).map(PathBuf::from))
    }

    /// One request, one answer, in [`QUICK`].
    pub(super) async fn unary<Q: Message, A: Message + Default>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<A, Error> {
        self.unary_within(method, request, QUICK).await
    }

    pub(super) async fn unary_within<Q: Message, A: Message + Default>(
        &self,
        method: Method,
        request: &Q,
        limit: Duration,
    ) -> Result<A, Error> {
        within(method.name(), limit, self.unary_unlimited(method, request)).await
    }

    /// One request, one answer, whenever it comes.
    pub(super) async fn unary_unlimited<Q: Message, A: Message + Default>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<A, Error> {
        let call = method.name();
        let mut answers = self.server_stream(method, request).await?;
        let answer = answers.next().await?.ok_or(Error::Protocol { call, problem: "is empty" })?;
        // The status comes last: a failure may still follow.
        match answers.next::<A>().await? {
            None => Ok(answer),
            Some(_) => Err(Error::Protocol { call, problem: "has more than one message" }),
        }
    }

    /// One request, many answers.
    pub(super) async fn server_stream<Q: Message>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<Answers, Error> {
        let (mut requests, mut answers) = self.stream(method).await?;
        match requests.send(request, true).await {
            Ok(()) => Ok(answers),
            // An early refusal says more than that the request could not be sent.
            Err(error) => match answers.next::<Empty>().await {
                Err(refusal @ Error::Status { .. }) => Err(refusal),
                _ => Err(error),
            },
        }
    }

    /// Many requests, many answers.
    pub(super) async fn stream(&self, method: Method) -> Result<(Requests, Answers), Error> {
        let call = method.name();
        let (response, stream) = self.channel.open(call, || self.head(method)).await?;
        Ok((Requests::new(call, stream), Answers::new(call, response)))
    }

    fn head(&self, method: Method) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(http::uri::Authority::from_static("localhost"));
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static(method.0));
        if let Ok(uri) = http::Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        for (name, value) in
            [("containerd-namespace", Some(&self.namespace)), ("containerd-lease", self.lease.as_ref())]
        {
            // A namespace that is no header value can't be one of containerd's either: without it the call is
            // refused by name.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        request
    }
}

/// Versions look like `1.6.20~ds1` or `v2.1.9`. One's own build says `0.0.0+unknown` or a commit, and passes.
fn is_too_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(0), Some(0)) => false,
        (Some(major), Some(minor)) => (major, minor) < MINIMUM,
        _ => false,
    }
}

mod wire {
    use super::{Labels, Method};

    pub const VERSION: Method = Method("/containerd.services.version.v1.Version/Version");
    pub const CREATE_NAMESPACE: Method = Method("/containerd.services.namespaces.v1.Namespaces/Create");
    pub const LIST_NAMESPACES: Method = Method("/containerd.services.namespaces.v1.Namespaces/List");
    pub const DELETE_NAMESPACE: Method = Method("/containerd.services.namespaces.v1.Namespaces/Delete");
    pub const PLUGINS: Method = Method("/containerd.services.introspection.v1.Introspection/Plugins");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct VersionResponse {
        #[prost(string, tag = "1")]
        pub version: String,
        #[prost(string, tag = "2")]
        pub revision: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Namespace {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(btree_map = "string, string", tag = "2")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateNamespaceRequest {
        #[prost(message, optional, tag = "1")]
        pub namespace: Option<Namespace>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListNamespacesResponse {
        #[prost(message, repeated, tag = "1")]
        pub namespaces: Vec<Namespace>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DeleteNamespaceRequest {
        #[prost(string, tag = "1")]
        pub name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PluginsRequest {
        #[prost(string, repeated, tag = "1")]
        pub filters: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Plugin {
        #[prost(string, tag = "2")]
        pub id: String,
        #[prost(btree_map = "string, string", tag = "5")]
        pub exports: Labels,
        /// Why it did not start.
        #[prost(message, optional, tag = "7")]
        pub failure: Option<super::Empty>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PluginsResponse {
        #[prost(message, repeated, tag = "1")]
        pub plugins: Vec<Plugin>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_old_versions() {
        for version in ["1.4.13~ds1", "v1.5.18", "0.2.3"] {
            assert!(is_too_old(version), "{version}");
        }
        for version in ["1.6.20~ds1", "v1.7.24", "2.1.9-1", "v10.0", "0.0.0+unknown", "b66a1e2.m", ""] {
            assert!(!is_too_old(version), "{version}");
        }
    }
}
