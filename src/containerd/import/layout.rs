//! What an archive's documents say: OCI image layout (`index.json`) and `docker save`
//! (`manifest.json`). Archives of newer Docker are both, and then the former counts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::document::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Document, Pointer, sha256,
};
use super::super::{Descriptor, Error as ContainerdError, reference};
use super::Error;
use super::scan::Scan;

/// The images of an archive.
pub struct Layout {
    /// JSON documents by digest.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// Paths in the archive of blobs that are not at `blobs/<algorithm>/<hex>`, by digest.
    elsewhere: BTreeMap<String, String>,
    pub images: Vec<Named>,
}

pub struct Named {
    /// Normalised references, at least one.
    pub names: Vec<String>,
    pub target: Descriptor,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Pointer>,
}

/// One element of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Pointer,
    layers: Vec<Pointer>,
}

impl Layout {
    /// `path` is the archive's own: an image without a name is called after it.
    pub fn of(path: &Path, scan: &mut Scan) -> Result<Layout, Error> {
        let index: Option<Index> = parse(path, scan, "index.json")?;
        let saved: Option<Vec<Saved>> = parse(path, scan, "manifest.json")?;
        let mut layout = Layout { documents: blobs(scan), elsewhere: BTreeMap::new(), images: Vec::new() };
        match (index, saved) {
            (Some(index), saved) if !index.manifests.is_empty() => {
                for pointer in &index.manifests {
                    let mut names = annotated(path, pointer)?;
                    if names.is_empty() {
                        names = layout.tags(pointer, saved.as_deref().unwrap_or_default())?;
                    }
                    if names.is_empty() {
                        names.push(stem(path)?);
                    }
                    layout.images.push(Named { names, target: pointer.into() });
                }
            }
            (_, Some(saved)) => {
                for image in &saved {
                    let target = layout.convert(path, scan, image)?;
                    let mut names = tags(image)?;
                    if names.is_empty() {
                        names.push(stem(path)?);
                    }
                    layout.images.push(Named { names, target });
                }
            }
            _ => {}
        }
        if layout.images.is_empty() { Err(Error::NoImages { path: path.into() }) } else { Ok(layout) }
    }

    /// Where in the archive the blob with this digest is.
    pub fn path(&self, digest: &str) -> String {
        self.elsewhere
            .get(digest)
            .cloned()
            .unwrap_or_else(|| format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    /// `docker save` has no manifest: one is made up from the config and the layers.
    fn convert(&mut self, path: &Path, scan: &Scan, saved: &Saved) -> Result<Descriptor, Error> {
        let missing = |entry: &str| Error::Missing { path: path.into(), entry: entry.into() };
        let (config_path, _) = scan.file(&saved.config).ok_or_else(|| missing(&saved.config))?;
        let config = scan.documents.get(config_path).ok_or_else(|| missing(&saved.config))?.clone();
        let digest = sha256(&config);
        let Document::Config(parsed) = Document::parse(&digest, &config).map_err(Error::Containerd)? else {
            return Err(Error::Containerd(ContainerdError::Malformed {
                digest,
                problem: "should be a config",
            }));
        };
        if parsed.diff_ids.len() != saved.layers.len() {
            let problem = "has not as many diff ids as there are layers";
            return Err(Error::Containerd(ContainerdError::Malformed { digest, problem }));
        }
        let mut layers = Vec::with_capacity(saved.layers.len());
        for (layer, diff_id) in std::iter::zip(&saved.layers, parsed.diff_ids) {
            let (found, entry) = scan.file(layer).ok_or_else(|| missing(layer))?;
            let (media_type, digest) = match &entry.digest {
                Some(compressed) => (DOCKER_LAYER_GZIP, compressed.clone()),
                None => (DOCKER_LAYER, diff_id),
            };
            self.elsewhere.insert(digest.clone(), found.into());
            layers.push(pointer(media_type, digest, entry.size));
        }
        let config_pointer = pointer(DOCKER_CONFIG, digest.clone(), config.len() as u64);
        let manifest =
            Manifest { schema_version: 2, media_type: DOCKER_MANIFEST, config: config_pointer, layers };
        let manifest = serde_json::to_vec(&manifest).map_err(|source| Error::Document {
            path: path.into(),
            entry: "manifest.json".into(),
            source,
        })?;
        let target = pointer(DOCKER_MANIFEST, sha256(&manifest), manifest.len() as u64);
        self.documents.insert(digest, config);
        self.documents.insert(target.digest.clone(), manifest);
        Ok((&target).into())
    }

    /// Tags that `manifest.json` gives the image of an unnamed entry of `index.json`.
    fn tags(&self, target: &Pointer, saved: &[Saved]) -> Result<Vec<String>, Error> {
        let Some(bytes) = self.documents.get(&target.digest) else { return Ok(Vec::new()) };
        let Ok(Document::Manifest { config, .. }) = Document::parse(&target.digest, bytes) else {
            return Ok(Vec::new());
        };
        let config = self.path(&config.digest);
        saved.iter().find(|image| image.config == config).map_or(Ok(Vec::new()), tags)
    }
}

fn pointer(media_type: &str, digest: String, size: u64) -> Pointer {
    Pointer { media_type: media_type.into(), digest, size, platform: None, annotations: None }
}

/// Takes the documents under `blobs/` out of `scan`, by digest. containerd checks them when they are
/// written.
fn blobs(scan: &mut Scan) -> BTreeMap<String, Vec<u8>> {
    let names: Vec<String> =
        scan.documents.keys().filter(|name| name.starts_with("blobs/")).cloned().collect();
    let mut documents = BTreeMap::new();
    for name in names {
        let digest = name.trim_start_matches("blobs/").replacen('/', ":", 1);
        // `docker save` of newer versions has its config there too, and `convert` looks it up by path.
        if let Some(bytes) = scan.documents.get(&name) {
            documents.insert(digest, bytes.clone());
        }
    }
    documents
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, scan: &Scan, entry: &str) -> Result<Option<T>, Error> {
    let Some(bytes) = scan.documents.get(entry) else { return Ok(None) };
    serde_json::from_slice(bytes).map(Some).map_err(|source| Error::Document {
        path: path.into(),
        entry: entry.into(),
        source,
    })
}

fn normalize(name: &str) -> Result<String, Error> {
    reference::normalize(name).map_err(|source| Error::Name { name: name.into(), source })
}

fn tags(saved: &Saved) -> Result<Vec<String>, Error> {
    saved.repo_tags.iter().flatten().map(|tag| normalize(tag)).collect()
}

/// containerd writes the whole name into one annotation; the specification's own may be a name, or no
/// more than a tag.
fn annotated(path: &Path, pointer: &Pointer) -> Result<Vec<String>, Error> {
    let Some(annotations) = &pointer.annotations else { return Ok(Vec::new()) };
    let annotation = |key: &str| annotations.get(key).filter(|value| !value.is_empty());
    if let Some(name) = annotation("io.containerd.image.name") {
        return Ok(vec![normalize(name)?]);
    }
    match annotation("org.opencontainers.image.ref.name") {
        Some(name) if name.contains([':', '/', '@']) => Ok(vec![normalize(name)?]),
        Some(tag) => {
            let name = stem(path)?;
            Ok(vec![normalize(&format!("{}:{tag}", reference::repository(&name)))?])
        }
        None => Ok(Vec::new()),
    }
}

/// `/x/Web.tar.gz` → `docker.io/library/web:latest`
fn stem(path: &Path) -> Result<String, Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = [".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(&name);
    normalize(stem)
}
