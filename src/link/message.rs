//! What the two ends say to each other. A message is one binary WebSocket message: a type byte, a small
//! JSON header, and for some types a newline and a payload that is passed on without being parsed.
//!
//! A type that this version does not know is skipped, and so is a field: that is how one minor version
//! may add to the link. What older versions must not misread gets a new type byte.

use miniserde::{Deserialize, Serialize};

/// The link protocol's number, in [`Hello`].
pub const PROTOCOL: u32 = 1;
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "midge.v1";
/// Where the server takes links.
pub const CONNECT_PATH: &str = "/v1-midge/connect";
/// The most bytes of one message: an object of up to 3 MB with room for its header.
pub const MAX_MESSAGE: usize = 4 << 20;
/// The most bytes of a message's JSON header, payload not counted. A [`Hello`] of 1,000 pods has 80 kB.
pub const MAX_HEADER: usize = 256 << 10;

/// From an agent to its server.
#[derive(Clone, Debug, PartialEq)]
pub enum ToServer {
    /// The first message after each connect.
    Hello(Hello),
    /// The node key of [`Welcome`] is on disk: from now on it alone opens the link.
    KeySaved,
    /// The node as the agent sees it: a Node object, JSON.
    Node(Vec<u8>),
    /// A pod's status (the object below `status`), JSON.
    PodStatus(PodRef, Vec<u8>),
    /// A pod has ended and left nothing behind. Repeated until [`ToAgent::Remove`] confirms it.
    PodGone(PodRef),
    /// An Event object, JSON.
    Event(Vec<u8>),
    /// A pod of the node's needs a token of its service account. Repeated on the next link until [`ToAgent::Token`].
    TokenAsk(TokenAsk),
}

/// From a server to one of its agents.
#[derive(Clone, Debug, PartialEq)]
pub enum ToAgent {
    /// The answer to [`ToServer::Hello`].
    Welcome(Welcome),
    /// An object that the node needs, new or changed: the object as JSON, `metadata.resourceVersion` included.
    Put(Put, Vec<u8>),
    /// The node needs the object no more. For a pod: it is to be stopped without grace, if it still runs, and forgotten.
    Remove(Remove),
    /// Everything that differed from [`Hello`] has been sent.
    Synced,
    /// The answer to [`ToServer::TokenAsk`].
    Token(TokenGiven),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// [`crate::VERSION`].
    pub version: String,
    /// The kernel's boot id: a new one means that no container can still run.
    pub boot_id: String,
    /// What the agent has, whether it runs or not.
    pub pods: Vec<HelloPod>,
    /// The agent asks for the tokens that pods mount; one that says nothing of it is told of none.
    pub tokens: Option<bool>,
}

/// A token as a pod's volume describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenAsk {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// "" for the API's own.
    pub audience: String,
    /// How long it is to be good for, from now.
    pub seconds: u64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenGiven {
    pub uid: String,
    pub audience: String,
    pub seconds: u64,
    /// Never logged.
    pub token: Option<String>,
    /// Why there is none.
    pub refused: Option<String>,
}

impl std::fmt::Debug for TokenGiven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenGiven")
            .field("uid", &self.uid)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HelloPod {
    pub uid: String,
    /// The resourceVersion of the object that the agent has.
    pub revision: u64,
    /// The pod has ended, and the server has not confirmed it.
    pub gone: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodRef {
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The node's own secret, on joining and until [`ToServer::KeySaved`]. Never logged.
    pub node_key: Option<String>,
    pub node_uid: String,
    /// The range that the node's pods get their addresses from, such as `10.42.1.0/24`.
    pub pod_cidr: String,
    pub cluster_dns: String,
    pub cluster_domain: String,
    /// The server's clock: milliseconds since 1970.
    pub time: u64,
    pub server_version: String,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("node_key", &self.node_key.as_ref().map(|_| "…"))
            .field("node_uid", &self.node_uid)
            .field("pod_cidr", &self.pod_cidr)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// The kind's name, such as `Pod` or `ConfigMap`.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The object's resourceVersion.
    pub revision: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remove {
    pub kind: String,
    pub uid: String,
}

/// What the server asks of an agent on a stream of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamRequest {
    Log(LogRequest),
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
    Read(ReadRequest),
    Reclaim(ReclaimRequest),
}

/// The channels of a stream that is a terminal or a program's standard streams, numbered as in Kubernetes'
/// `v5.channel.k8s.io`. To the agent go 0, 4 and 255, from it come 1 and 2; the stream's end says how it went.
pub mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// JSON `{"Width":80,"Height":24}`.
    pub const RESIZE: u8 = 4;
    /// One byte: the channel that gets no more data. Either end may close the direction that it writes.
    pub const CLOSE: u8 = 255;
}

/// A program run in a container. The agent ends the stream empty for exit code 0, otherwise with the Status
/// that kubectl expects: reason `NonZeroExitCode`, the code as a cause of type `ExitCode`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    /// Never with a terminal, whose output is one.
    pub stderr: bool,
    pub tty: bool,
}

/// The standard streams of a container's own program, from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// One TCP connection to `localhost` in the pod's network. Bytes go both ways on channel 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortForwardRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub port: u16,
}

/// Remove a volume's folder: nobody claims it any more. Ended empty once it is gone, also if it was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReclaimRequest {
    /// The PersistentVolume.
    pub volume: String,
    /// A folder right below the node's storage folder.
    pub path: String,
}

/// A document of the node's, on channel 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// As a kubelet's path and query have it: `stats/summary?only_cpu_and_memory=true`, `metrics`.
    pub path: String,
}

/// A container's log. The agent sends plain lines (channel 1), then ends the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    /// The last so many lines only.
    pub tail: Option<u64>,
    pub since_seconds: Option<u64>,
    /// RFC 3339.
    pub since_time: Option<String>,
    pub limit_bytes: Option<u64>,
    /// `stdout` or `stderr` alone.
    pub stream: Option<String>,
}

/// Whether midge `other` may be at the other end of a link: the same major version, and a minor version at
/// most one apart, so that a fleet upgrades node by node.
pub fn works_with(other: &str) -> bool {
    compatible(crate::VERSION, other)
}

fn compatible(one: &str, other: &str) -> bool {
    let parse = |version: &str| -> Option<(u32, u32)> {
        let mut parts = version.split(['.', '-', '+']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => one.0 == other.0 && one.1.abs_diff(other.1) <= 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (one, other, works) in [
            ("0.1.0", "0.2.9", true),
            ("0.2.0", "0.1.0-rc1", true),
            ("0.1.0", "0.3.0", false),
            ("1.0.0", "0.9.0", false),
            ("0.1.0", "", false),
            ("0.1.0", "x.y", false),
            ("0.1.0", "99999999999.1", false),
        ] {
            assert_eq!(compatible(one, other), works, "{one} {other}");
        }
        assert!(works_with(crate::VERSION));
    }
}
