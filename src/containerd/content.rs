//! The content store: blobs by digest.

use std::time::Duration;

use bytes::Bytes;

use super::call::{Answers, LIST_LIMIT, Method, Requests, found, within};
use super::types::{Empty, FieldMask};
use super::{Client, Error, Labels};

/// One piece of a blob, of which a few copies are in memory on its way. Ones above 64 KiB, containerd's
/// window, would not be faster.
pub const PIECE: usize = 32 * 1024;
/// For reading a document, for taking one piece, for a commit, which syncs the file.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// A pointer to a blob, as in the OCI image specification's `descriptor.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    pub digest: String,
    pub size: u64,
    pub labels: Labels,
}

impl Client {
    /// `None` when the store does not have it.
    pub async fn content_info(&self, digest: &str) -> Result<Option<ContentInfo>, Error> {
        let answer: Option<wire::InfoResponse> =
            found(self.unary(wire::INFO, &wire::DigestRequest { digest: digest.into() }).await)?;
        Ok(answer.and_then(|answer| answer.info).map(|info| ContentInfo {
            digest: info.digest,
            size: u64::try_from(info.size).unwrap_or(0),
            labels: info.labels,
        }))
    }

    /// Digests of this namespace's blobs.
    pub async fn contents(&self) -> Result<Vec<String>, Error> {
        within(wire::LIST.name(), LIST_LIMIT, async {
            let mut answers = self.server_stream(wire::LIST, &Empty {}).await?;
            let mut digests = Vec::new();
            while let Some(message) = answers.next::<wire::ListContentResponse>().await? {
                digests.extend(message.info.into_iter().map(|info| info.digest));
            }
            Ok(digests)
        })
        .await
    }

    /// Takes a blob out of this namespace; one that is gone already is fine.
    pub async fn remove_content(&self, digest: &str) -> Result<(), Error> {
        let request = wire::DigestRequest { digest: digest.into() };
        found(self.unary::<_, Empty>(wire::DELETE, &request).await)?;
        Ok(())
    }

    /// The whole blob, which must not be larger than `limit` bytes.
    pub async fn read_content(&self, digest: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let call = wire::READ.name();
        within(call, STEP_LIMIT, async {
            let mut answers =
                self.server_stream(wire::READ, &wire::DigestRequest { digest: digest.into() }).await?;
            let mut content = Vec::new();
            while let Some(answer) = answers.next::<wire::ReadContentResponse>().await? {
                if content.len() + answer.data.len() > limit {
                    return Err(Error::TooLarge { call, limit });
                }
                content.extend_from_slice(&answer.data);
            }
            Ok(content)
        })
        .await
    }

    /// Stores a small blob; one that exists already is fine, and gets the labels all the same.
    pub async fn write_content(&self, digest: &str, bytes: &[u8], labels: &Labels) -> Result<(), Error> {
        let blob = Blob { digest, size: bytes.len() as u64 };
        if let Some(mut writer) = self.begin_content(digest, Some(blob), labels).await? {
            for piece in bytes.chunks(PIECE) {
                writer.write(Bytes::copy_from_slice(piece)).await?;
            }
            writer.commit(blob, labels).await?;
        }
        Ok(())
    }

    /// Sets these labels on a blob and leaves its other ones.
    pub async fn label_content(&self, digest: &str, labels: &Labels) -> Result<(), Error> {
        if labels.is_empty() {
            return Ok(());
        }
        let info = wire::Info { digest: digest.into(), size: 0, labels: labels.clone() };
        let request = wire::UpdateRequest { info: Some(info), update_mask: FieldMask::labels(labels) };
        self.unary::<_, Empty>(wire::UPDATE, &request).await?;
        Ok(())
    }

    /// Goes on with the blob, held by this client's lease, where an earlier writer was cut off, and be it of
    /// another process: see [`Writer::offset`]. `None` when the store has the blob: it is held.
    pub async fn resume_content(&self, blob: Blob<'_>) -> Result<Option<Writer<'_>>, Error> {
        let reference = format!("{PARTS}{}", blob.digest);
        self.open_content(reference, Some(blob), &Labels::new()).await
    }

    /// Drops what [`Client::resume_content`] would go on with.
    pub async fn abort_content(&self, digest: &str) -> Result<(), Error> {
        let request = wire::AbortRequest { reference: format!("{PARTS}{digest}") };
        found(self.unary::<_, Empty>(wire::ABORT, &request).await)?;
        Ok(())
    }

    /// Begins to write a blob under `name`, which no other writer may use at the same time; `expected` if
    /// its digest is known before. `None` when the store has the blob: it is labelled, and held by this
    /// client's lease.
    pub(super) async fn begin_content(
        &self,
        name: &str,
        expected: Option<Blob<'_>>,
        labels: &Labels,
    ) -> Result<Option<Writer<'_>>, Error> {
        // Unique with the lease: a writer that was cut off leaves its part behind, locked for a while.
        let reference = format!("midge-{}-{name}", self.lease().unwrap_or_default());
        self.open_content(reference, expected, labels).await
    }

    async fn open_content(
        &self,
        reference: String,
        expected: Option<Blob<'_>>,
        labels: &Labels,
    ) -> Result<Option<Writer<'_>>, Error> {
        let (requests, answers) = within(wire::WRITE.name(), STEP_LIMIT, self.stream(wire::WRITE)).await?;
        let mut writer = Writer { client: self, requests, answers, reference, offset: 0 };
        let opened = writer.step(wire::Action::Stat, Bytes::new(), expected, &Labels::new(), false).await;
        match (opened, expected) {
            (Ok(at), Some(blob)) if at == blob.size && at > 0 => {
                // Another namespace has it: containerd shares it after a commit.
                writer.offset = at;
                writer.commit(blob, labels).await?;
                Ok(None)
            }
            (Ok(at), _) => {
                writer.offset = at;
                Ok(Some(writer))
            }
            (Err(error), Some(blob)) if error.is_already_exists() => {
                self.label_content(blob.digest, labels).await?;
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Of references to parts of blobs that are to be gone on with.
const PARTS: &str = "midge-part-";

/// What a written blob must turn out to be.
#[derive(Clone, Copy)]
pub struct Blob<'a> {
    pub digest: &'a str,
    pub size: u64,
}

/// A blob on its way into the store. Dropping it leaves a part that garbage collection takes.
pub struct Writer<'a> {
    client: &'a Client,
    requests: Requests,
    answers: Answers,
    reference: String,
    offset: u64,
}

impl Writer<'_> {
    /// Bytes that are there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends at most [`PIECE`] bytes.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.offset = self.step(wire::Action::Write, piece, None, &Labels::new(), false).await?;
        Ok(())
    }

    /// Ends the blob, which containerd refuses if it is not what was expected. One that exists already is
    /// fine and gets the labels all the same.
    pub async fn commit(mut self, blob: Blob<'_>, labels: &Labels) -> Result<(), Error> {
        match self.step(wire::Action::Commit, Bytes::new(), Some(blob), labels, true).await {
            Err(error) if error.is_already_exists() => self.client.label_content(blob.digest, labels).await,
            other => other.map(drop),
        }
    }

    /// One request and its answer: the offset that containerd has reached.
    async fn step(
        &mut self,
        action: wire::Action,
        data: Bytes,
        expected: Option<Blob<'_>>,
        labels: &Labels,
        last: bool,
    ) -> Result<u64, Error> {
        let call = wire::WRITE.name();
        let request = wire::WriteContentRequest {
            action: action as i32,
            reference: self.reference.clone(),
            total: expected.map_or(0, |blob| i64::try_from(blob.size).unwrap_or(i64::MAX)),
            expected: expected.map(|blob| blob.digest.to_string()).unwrap_or_default(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data,
            labels: labels.clone(),
        };
        within(call, STEP_LIMIT, async {
            let sent = self.requests.send(&request, last).await;
            // Whatever stopped the request, the answer's status tells why.
            let answer = match (self.answers.next::<wire::WriteContentResponse>().await, sent) {
                (Err(refusal @ Error::Status { .. }), _) => return Err(refusal),
                (_, Err(error)) => return Err(error),
                (answer, Ok(())) => answer?,
            };
            let answer = answer.ok_or(Error::Protocol { call, problem: "ended early" })?;
            u64::try_from(answer.offset)
                .map_err(|_| Error::Protocol { call, problem: "has a negative offset" })
        })
        .await
    }
}

mod wire {
    use super::{Bytes, FieldMask, Labels, Method};

    pub const INFO: Method = Method("/containerd.services.content.v1.Content/Info");
    pub const READ: Method = Method("/containerd.services.content.v1.Content/Read");
    pub const LIST: Method = Method("/containerd.services.content.v1.Content/List");
    pub const DELETE: Method = Method("/containerd.services.content.v1.Content/Delete");
    pub const UPDATE: Method = Method("/containerd.services.content.v1.Content/Update");
    pub const WRITE: Method = Method("/containerd.services.content.v1.Content/Write");
    pub const ABORT: Method = Method("/containerd.services.content.v1.Content/Abort");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AbortRequest {
        #[prost(string, tag = "1")]
        pub reference: String,
    }

    /// Info, Delete and Read take it; Read could take an offset and a size too.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DigestRequest {
        #[prost(string, tag = "1")]
        pub digest: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Info {
        #[prost(string, tag = "1")]
        pub digest: String,
        #[prost(int64, tag = "2")]
        pub size: i64,
        #[prost(btree_map = "string, string", tag = "5")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct InfoResponse {
        #[prost(message, optional, tag = "1")]
        pub info: Option<Info>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ListContentResponse {
        #[prost(message, repeated, tag = "1")]
        pub info: Vec<Info>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct UpdateRequest {
        #[prost(message, optional, tag = "1")]
        pub info: Option<Info>,
        #[prost(message, optional, tag = "2")]
        pub update_mask: Option<FieldMask>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ReadContentResponse {
        #[prost(bytes = "bytes", tag = "2")]
        pub data: Bytes,
    }

    #[derive(Clone, Copy)]
    pub enum Action {
        Stat = 0,
        Write = 1,
        Commit = 2,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteContentRequest {
        #[prost(int32, tag = "1")]
        pub action: i32,
        #[prost(string, tag = "2")]
        pub reference: String,
        #[prost(int64, tag = "3")]
        pub total: i64,
        #[prost(string, tag = "4")]
        pub expected: String,
        /// Where `data` begins. 0 takes back what was written before.
        #[prost(int64, tag = "5")]
        pub offset: i64,
        #[prost(bytes = "bytes", tag = "6")]
        pub data: Bytes,
        #[prost(btree_map = "string, string", tag = "7")]
        pub labels: Labels,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteContentResponse {
        #[prost(int64, tag = "4")]
        pub offset: i64,
    }
}
