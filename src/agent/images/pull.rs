//! One pull: from a reference to an unpacked image with its record.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_lite::future;
use http_body_util::BodyExt;
use smol::Timer;

use super::failure::Failure;
use super::layers::Layers;
use super::progress::{Progress, Stage};
use super::registry::{Fetched, PATIENCE, Question, Registry};
use crate::containerd::document::{self, DEPTH, Document, Resolved};
use crate::containerd::{
    self, Blob, Client, Code, Descriptor, Image, Labels, Lease, PIECE, Platform, StoredImage, Writer,
    reference,
};

/// Attempts in a row that bring nothing, after which the pod's own back-off takes over.
const ATTEMPTS: u32 = 5;
/// Fetches of a layer from its beginning, since it came damaged.
const FRESH: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// What a pull leaves when it fails is gone on with for so long.
const LEASE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A lease older than this is not taken up again: it might end meanwhile.
const LEASE_FRESH: Duration = Duration::from_secs(3 * 24 * 3600);
/// Of the leases of pulls.
pub const LEASES: &str = "midge-pull-";

/// What a pull works with.
pub struct Puller<'a> {
    pub client: &'a Client,
    pub snapshotter: &'a str,
    pub platform: &'a Platform,
    pub layers: &'a Layers,
    pub progress: &'a Progress,
    /// Normalised.
    pub name: &'a str,
    /// To ask in turn.
    pub registries: Vec<Registry>,
    /// Tells this pull's lease from others'.
    pub key: &'a str,
}

impl Puller<'_> {
    /// Pulls, unless what is there is what the registry has.
    pub async fn run(mut self) -> Result<Image, Failure> {
        self.progress.set(Stage::Resolving);
        if let Some(image) = self.current().await? {
            return Ok(image);
        }
        let (target, documents) = self.documents().await?;
        let resolved = document::resolve(self.name, &target, self.platform, &documents).await?;
        if let Some(layer) = resolved.image.layers.iter().find(|layer| is_foreign(&layer.blob.media_type)) {
            return Err(Failure::Foreign { media_type: layer.blob.media_type.clone() });
        }
        let lease = self.lease().await?;
        // What was fetched is held for the next attempt if this one fails.
        self.store(&self.client.with_lease(&lease.id), target, &documents, &resolved).await?;
        // The layers' blobs are garbage now, and room on a card is dear.
        self.client.delete_lease(&lease, true).await?;
        Ok(resolved.image)
    }

    /// The image if it is here and the registry's tag still stands for it.
    async fn current(&mut self) -> Result<Option<Image>, Failure> {
        let Some(stored) = self.client.stored_image(self.name).await? else { return Ok(None) };
        if reference::digest(self.name).is_none() {
            let tag = reference_of(self.name).to_owned();
            // A registry that answers no HEAD may answer a GET.
            let told = self.ask(Question::Digest, &tag).await.ok().and_then(|told| told.digest);
            if told.as_ref() != Some(&stored.target.digest) {
                return Ok(None);
            }
        }
        let Some(image) = self.client.resolve_image(&stored, self.platform).await? else { return Ok(None) };
        let unpacked = self.client.unpacked(&image, self.snapshotter).await?;
        Ok((unpacked == image.layers.len()).then_some(image))
    }

    /// Fetches the documents from the reference to the config for this platform.
    async fn documents(&mut self) -> Result<(Descriptor, BTreeMap<String, Vec<u8>>), Failure> {
        let mut documents = BTreeMap::new();
        let mut reference = reference_of(self.name).to_owned();
        let mut target = None;
        for _ in 0..=DEPTH {
            let Fetched { media_type, bytes, .. } = self.ask(Question::Manifest, &reference).await?;
            let digest = if reference.contains(':') { reference.clone() } else { document::sha256(&bytes) };
            if media_type.contains("distribution.manifest.v1+") {
                return Err(Failure::Schema1);
            }
            let parsed = Document::parse(&digest, &bytes)?;
            let size = bytes.len() as u64;
            target.get_or_insert_with(|| Descriptor { media_type, digest: digest.clone(), size });
            documents.insert(digest, bytes);
            match parsed {
                Document::Index(manifests) => {
                    reference = document::choose(self.name, &manifests, self.platform)?.digest.clone();
                }
                Document::Manifest { config, .. } => {
                    let fetched = self.ask(Question::Config, &config.digest).await?;
                    documents.insert(config.digest, fetched.bytes);
                    break;
                }
                // `resolve` says what is wrong.
                Document::Config(_) => break,
            }
        }
        let target = target.ok_or(containerd::Error::Missing { digest: reference })?;
        Ok((target, documents))
    }

    async fn store(
        &mut self,
        client: &Client,
        target: Descriptor,
        documents: &BTreeMap<String, Vec<u8>>,
        resolved: &Resolved,
    ) -> Result<(), Failure> {
        let image = &resolved.image;
        let unpacked = client.unpacked(image, self.snapshotter).await?;
        let missing = image.layers.get(unpacked..).unwrap_or_default();
        let total = missing.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.blob.size));
        let mut done = 0;
        self.progress.set(Stage::Fetching { done, total });
        for (at, layer) in missing.iter().enumerate() {
            // Another pull may be fetching it: then it is here when that is done, or even unpacked.
            let only = self.layers.lock(&layer.blob.digest).await;
            if client.unpacked(image, self.snapshotter).await? <= unpacked + at {
                self.layer(client, &layer.blob, done, total).await?;
            }
            drop(only);
            done += layer.blob.size;
        }
        self.progress.set(Stage::Unpacking { layers: missing.len() });
        client.write_documents(documents, resolved, false).await?;
        client.ensure_unpacked(image, self.snapshotter).await?;
        client.hold_snapshot(image, self.snapshotter).await?;
        let name = self.name.to_owned();
        client.replace_image(&StoredImage { name, target, labels: Labels::new(), updated_at: None }).await?;
        Ok(())
    }

    /// Fetches a layer into the content store; `before` of `total` bytes are there.
    async fn layer(
        &mut self,
        client: &Client,
        layer: &Descriptor,
        before: u64,
        total: u64,
    ) -> Result<(), Failure> {
        let blob = Blob { digest: &layer.digest, size: layer.size };
        let (mut idle, mut refused, mut damaged) = (0, 0, 0);
        loop {
            let stored = match open(client, blob).await {
                Ok(None) => return Ok(()),
                Ok(Some(mut writer)) => {
                    while writer.offset() < layer.size {
                        let begun = writer.offset();
                        let Err(failure) = self.copy(&mut writer, layer, before, total).await else { break };
                        idle = if writer.offset() > begun { 0 } else { idle + 1 };
                        refused += usize::from(!failure.is_passing());
                        let is_over = idle >= ATTEMPTS || refused >= self.registries.len();
                        if is_over || matches!(failure, Failure::Containerd(_)) {
                            return Err(failure);
                        }
                        log::info!(
                            "image `{}`: {}; going on at byte {}",
                            self.name,
                            crate::chain(&failure),
                            writer.offset()
                        );
                        // The next endpoint may do better.
                        self.registries.rotate_left(1);
                        Timer::after(FIRST_PAUSE * (1 << idle.min(6))).await;
                    }
                    writer.commit(blob, &Labels::new()).await
                }
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => return Ok(()),
                // Not what its digest says: containerd has checked it. From the beginning, then.
                Err(error) if error.code() == Some(Code::FailedPrecondition) => {
                    damaged += 1;
                    client.abort_content(&layer.digest).await?;
                    let failure = Failure::Digest { wanted: layer.digest.clone(), what: "layer" };
                    if damaged >= FRESH {
                        return Err(failure);
                    }
                    log::warn!("image `{}`: {failure}; fetching it again", self.name);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends what the first registry sends until the layer is whole.
    async fn copy(
        &mut self,
        writer: &mut Writer<'_>,
        layer: &Descriptor,
        before: u64,
        total: u64,
    ) -> Result<(), Failure> {
        let Some(registry) = self.registries.first_mut() else {
            return Err(Failure::Endpoints(Vec::new()));
        };
        let name = registry.name();
        let (response, begins) = registry.blob(&layer.digest, writer.offset()).await?;
        let mut body = response.into_body();
        // It may begin before what is wanted.
        let mut skip = writer.offset().saturating_sub(begins);
        while writer.offset() < layer.size {
            let silent = async {
                Timer::after(PATIENCE).await;
                Err(Failure::Silent { registry: name.clone(), seconds: PATIENCE.as_secs() })
            };
            let frame = match future::or(async { Ok(body.frame().await) }, silent).await? {
                None => return Err(Failure::Short { registry: name }),
                Some(Err(source)) => {
                    registry.hang_up();
                    return Err(Failure::Broken { registry: name, source });
                }
                Some(Ok(frame)) => frame,
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let skipped = skip.min(data.len() as u64);
            skip -= skipped;
            let left = layer.size - writer.offset();
            data = data.slice(usize::try_from(skipped).unwrap_or(data.len())..);
            // More than there should be is not taken; what follows is not read.
            data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(PIECE));
                writer.write(piece).await?;
            }
            self.progress.set(Stage::Fetching { done: before + writer.offset(), total });
        }
        // Whether there is more: the connection can be used again only if there is none.
        if !matches!(future::poll_once(body.frame()).await, Some(None)) {
            registry.hang_up();
        }
        Ok(())
    }

    /// Asks each registry in turn until one has it; the next question begins there.
    async fn ask(&mut self, question: Question, reference: &str) -> Result<Fetched, Failure> {
        let mut failures = Vec::new();
        for _ in 0..self.registries.len() {
            let Some(registry) = self.registries.first_mut() else { break };
            let mut pause = FIRST_PAUSE;
            for attempt in 1.. {
                match registry.fetch(question, reference).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) if failure.is_passing() && attempt < 3 => {
                        registry.hang_up();
                        Timer::after(pause).await;
                        pause *= 2;
                    }
                    Err(failure) => {
                        failures.push((registry.name(), failure));
                        break;
                    }
                }
            }
            self.registries.rotate_left(1);
        }
        Err(match failures.pop() {
            Some((_, failure)) if failures.is_empty() => failure,
            last => Failure::Endpoints(failures.into_iter().chain(last).collect()),
        })
    }

    /// The lease of an earlier attempt at this pull, if that was not long ago, or a new one.
    async fn lease(&self) -> Result<Lease, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("{LEASES}{}-", self.key);
        for lease in self.client.leases().await? {
            let made = lease.id.strip_prefix(&prefix).and_then(|made| made.parse().ok());
            let age = made.and_then(|made| now.checked_sub(Duration::from_secs(made)));
            if age.is_some_and(|age| age < LEASE_FRESH) {
                return Ok(lease);
            }
        }
        Ok(self.client.create_lease_called(format!("{prefix}{}", now.as_secs()), LEASE).await?)
    }
}

/// [`Client::resume_content`]; a writer that was just cut off holds the blob for a moment.
async fn open<'a>(client: &'a Client, blob: Blob<'_>) -> Result<Option<Writer<'a>>, containerd::Error> {
    for _ in 0..20 {
        match client.resume_content(blob).await {
            Err(containerd::Error::Status { code: Code::Unavailable, message, .. })
                if message.contains("locked") =>
            {
                Timer::after(FIRST_PAUSE).await;
            }
            other => return other,
        }
    }
    client.resume_content(blob).await
}

/// The tag or the digest.
fn reference_of(name: &str) -> &str {
    match reference::digest(name) {
        Some(digest) => digest,
        None => name.strip_prefix(reference::repository(name)).unwrap_or_default().trim_start_matches(':'),
    }
}

fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}
