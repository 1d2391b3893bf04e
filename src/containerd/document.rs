//! The JSON documents of an image: index, manifest and config, of OCI and of Docker's schema 2.

use std::collections::BTreeMap;
use std::future::Future;

use ring::digest::{SHA256, SHA512, digest};
use serde::{Deserialize, Serialize};

use super::{Descriptor, Error, Image, ImageConfig, Layer, Platform, reference};

/// Largest document that is read, bytes (registries have the same limit for manifests).
pub const LIMIT: usize = 4 << 20;

/// Indexes may name indexes; deeper than this is no honest image.
pub const DEPTH: usize = 4;

pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A descriptor as the documents write it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PointerPlatform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PointerPlatform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl From<&Pointer> for Descriptor {
    fn from(from: &Pointer) -> Descriptor {
        Descriptor { media_type: from.media_type.clone(), digest: from.digest.clone(), size: from.size }
    }
}

/// An index or a manifest. Told apart by content: media types are left out by some writers.
#[derive(Clone, Debug)]
pub enum Document {
    Index(Vec<Pointer>),
    Manifest { config: Pointer, layers: Vec<Pointer> },
    Config(Config),
}

#[derive(Deserialize)]
struct Any {
    manifests: Option<Vec<Pointer>>,
    layers: Option<Vec<Pointer>>,
    config: Option<serde_json::Value>,
    rootfs: Option<RootFs>,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// What midge reads of an image's config.
#[derive(Clone, Debug)]
pub struct Config {
    pub platform: PointerPlatform,
    pub diff_ids: Vec<String>,
    pub run: ImageConfig,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Docker writes `null` for what is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
}

impl Document {
    /// Parses the document with this digest.
    pub fn parse(digest: &str, bytes: &[u8]) -> Result<Document, Error> {
        let bad = |source| Error::Document { digest: digest.into(), source };
        let malformed = |problem| Error::Malformed { digest: digest.into(), problem };
        let any: Any = serde_json::from_slice(bytes).map_err(bad)?;
        if let Some(manifests) = any.manifests {
            check_digests(manifests.iter().map(|manifest| &manifest.digest), digest)?;
            return Ok(Document::Index(manifests));
        }
        if let Some(layers) = any.layers {
            let config = any.config.ok_or(malformed("is a manifest without a config"))?;
            let config: Pointer = serde_json::from_value(config).map_err(bad)?;
            check_digests(layers.iter().chain([&config]).map(|pointer| &pointer.digest), digest)?;
            return Ok(Document::Manifest { config, layers });
        }
        let rootfs = any.rootfs.ok_or(malformed("is no index, manifest or config"))?;
        check_digests(rootfs.diff_ids.iter(), digest)?;
        let run: Option<Run> = any.config.map(serde_json::from_value).transpose().map_err(bad)?.flatten();
        let run = run.unwrap_or_default();
        Ok(Document::Config(Config {
            platform: PointerPlatform { os: any.os, architecture: any.architecture, variant: any.variant },
            diff_ids: rootfs.diff_ids,
            run: ImageConfig {
                entrypoint: run.entrypoint.unwrap_or_default(),
                cmd: run.cmd.unwrap_or_default(),
                env: run.env.unwrap_or_default(),
                working_dir: run.working_dir.unwrap_or_default(),
                user: run.user.unwrap_or_default(),
                stop_signal: run.stop_signal.unwrap_or_default(),
                volumes: run.volumes.unwrap_or_default().into_keys().collect(),
            },
        }))
    }
}

fn check_digests<'a>(digests: impl Iterator<Item = &'a String>, document: &str) -> Result<(), Error> {
    for digest in digests {
        if !reference::is_digest(digest) {
            return Err(Error::Malformed {
                digest: document.into(),
                problem: "names something that is no digest",
            });
        }
    }
    Ok(())
}

/// Where documents come from: the content store, or an archive.
pub trait Source {
    /// An error whose `is_not_found` is true if it is not there.
    fn document(&self, digest: &str) -> impl Future<Output = Result<Document, Error>> + Send;
}

/// Documents at hand.
impl Source for BTreeMap<String, Vec<u8>> {
    async fn document(&self, digest: &str) -> Result<Document, Error> {
        match self.get(digest) {
            Some(bytes) => Document::parse(digest, bytes),
            None => Err(Error::Missing { digest: digest.into() }),
        }
    }
}

/// Where [`resolve`] ended, and how it came there.
pub struct Resolved {
    pub image: Image,
    /// Digests of the indexes on the way, the outermost first.
    pub indexes: Vec<String>,
}

/// Follows `target` to the manifest for `platform` and its config. `name` is for messages.
pub async fn resolve(
    name: &str,
    target: &Descriptor,
    platform: &Platform,
    source: &(impl Source + Sync),
) -> Result<Resolved, Error> {
    let malformed = |digest: &str, problem| Error::Malformed { digest: digest.into(), problem };
    let mut digest = target.digest.clone();
    let mut indexes = Vec::new();
    while indexes.len() < DEPTH {
        let (config, layers) = match source.document(&digest).await? {
            Document::Index(manifests) => {
                let chosen = choose(name, &manifests, platform)?.digest.clone();
                indexes.push(std::mem::replace(&mut digest, chosen));
                continue;
            }
            Document::Manifest { config, layers } => (config, layers),
            Document::Config(_) => return Err(malformed(&digest, "is a config and should be a manifest")),
        };
        let Document::Config(parsed) = source.document(&config.digest).await? else {
            return Err(malformed(&config.digest, "should be a config"));
        };
        let PointerPlatform { os, architecture, variant } = &parsed.platform;
        // Hand-made images may leave it out.
        if !architecture.is_empty() && platform.rank(os, architecture, variant).is_none() {
            return Err(no_platform(name, platform, [&parsed.platform].into_iter()));
        }
        if layers.len() != parsed.diff_ids.len() {
            return Err(malformed(&config.digest, "has not as many diff ids as there are layers"));
        }
        let image = Image {
            name: name.into(),
            digest: target.digest.clone(),
            manifest_digest: digest,
            config_digest: config.digest,
            size: layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size)),
            chain_id: chain_ids(&parsed.diff_ids).pop().unwrap_or_default(),
            layers: std::iter::zip(&layers, parsed.diff_ids)
                .map(|(layer, diff_id)| Layer { blob: layer.into(), diff_id })
                .collect(),
            config: parsed.run,
        };
        return Ok(Resolved { image, indexes });
    }
    Err(malformed(&target.digest, "nests indexes too deeply"))
}

/// The manifest of an index that suits `platform` best; of equal ones the first.
pub fn choose<'a>(name: &str, manifests: &'a [Pointer], platform: &Platform) -> Result<&'a Pointer, Error> {
    let rank = |pointer: &Pointer| match &pointer.platform {
        Some(PointerPlatform { os, architecture, variant }) => platform.rank(os, architecture, variant),
        // Known from the config only: better than none at all.
        None => Some(u8::MAX),
    };
    let ranked = manifests.iter().filter_map(|pointer| Some((rank(pointer)?, pointer)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, pointer)| pointer).ok_or_else(|| {
        no_platform(name, platform, manifests.iter().filter_map(|pointer| pointer.platform.as_ref()))
    })
}

fn no_platform<'a>(
    name: &str,
    platform: &Platform,
    offered: impl Iterator<Item = &'a PointerPlatform>,
) -> Error {
    let offered: Vec<String> = offered
        .filter(|offer| offer.os != "unknown")
        .take(20)
        .map(|offer| {
            let PointerPlatform { os, architecture, variant } = offer.clone();
            Platform { os, architecture, variant }.to_string()
        })
        .collect();
    let offered = if offered.is_empty() { "nothing".into() } else { offered.join(", ") };
    Error::NoPlatform { image: name.into(), wanted: platform.to_string(), offered }
}

/// `sha256:<hex>` of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(digest(&SHA256, bytes).as_ref()))
}

/// `bytes` are not those with this digest, which is of a valid form.
pub fn is_other(wanted: &str, bytes: &[u8]) -> bool {
    let algorithm = if wanted.starts_with("sha512:") { &SHA512 } else { &SHA256 };
    let hex = data_encoding::HEXLOWER.encode(digest(algorithm, bytes).as_ref());
    wanted.split_once(':').is_none_or(|(_, found)| found != hex)
}

/// The name of each layer's snapshot: a digest over it and all layers below (OCI image specification,
/// `config.md`, "Layer ChainID").
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(parent) => sha256(format!("{parent} {diff_id}").as_bytes()),
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_nulls_and_refuses_other_shapes() {
        let config = format!(
            r#"{{"architecture":"arm","os":"linux","variant":"v7","rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},
            "config":{{"Entrypoint":null,"Cmd":["sh","-c"],"Volumes":{{"/data":{{}}}},"StopSignal":"SIGINT"}}}}"#
        );
        let Document::Config(config) = Document::parse("x", config.as_bytes()).unwrap() else { panic!() };
        assert_eq!(config.platform.variant, "v7");
        assert_eq!(config.run.cmd, ["sh", "-c"]);
        assert_eq!(
            (config.run.volumes, config.run.stop_signal),
            (vec!["/data".to_string()], "SIGINT".to_string())
        );
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"layers":[]}"#,
            r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
            r#"{"rootfs":{"diff_ids":["x"]}}"#,
        ] {
            assert!(Document::parse("x", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ends_at_nested_indexes() {
        struct Loop;
        impl Source for Loop {
            async fn document(&self, digest: &str) -> Result<Document, Error> {
                Document::parse(
                    digest,
                    format!(r#"{{"manifests":[{{"digest":"{DIGEST}","size":1}}]}}"#).as_bytes(),
                )
            }
        }
        let target = Descriptor { media_type: String::new(), digest: DIGEST.into(), size: 1 };
        let resolved = smol::block_on(resolve("x", &target, &Platform::host(), &Loop));
        assert!(matches!(resolved, Err(Error::Malformed { .. })));
    }

    #[test]
    fn chains_layers() {
        let ids = [sha256(b"a"), sha256(b"b"), sha256(b"c")];
        let second = sha256(format!("{} {}", ids[0], ids[1]).as_bytes());
        let third = sha256(format!("{second} {}", ids[2]).as_bytes());
        assert_eq!(chain_ids(&ids), [ids[0].clone(), second, third]);
        assert!(chain_ids(&[]).is_empty());
    }
}
