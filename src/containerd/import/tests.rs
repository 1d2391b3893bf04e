//! Archives without a containerd: what is found in them.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::layout::Layout;
use super::scan::scan;
use super::*;
use crate::containerd::Image;
use crate::containerd::document::sha256;

/// Writes a tar of files and symbolic links (contents that begin with `->`).
fn write(name: &str, entries: &[(String, Vec<u8>)]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("midge-layout-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = bytes.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, std::str::from_utf8(target).unwrap()).unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
    }
    tar.into_inner().unwrap();
    path
}

fn read(path: &Path) -> Result<Layout, Error> {
    let layout = scan(path).and_then(|mut scan| Layout::of(path, &mut scan));
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    layout
}

fn image(layout: &Layout, at: usize) -> Image {
    let platform = Platform { os: "linux".into(), architecture: "arm64".into(), variant: String::new() };
    let target = &layout.images[at].target;
    smol::block_on(document::resolve("x", target, &platform, &layout.documents)).unwrap().image
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    json!({"architecture": "arm64", "os": "linux", "config": null, "rootfs": {"diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/{}", sha256(bytes).replace(':', "/"))
}

/// The entries of an OCI layout with one layer, and the pointer at its manifest.
fn oci(layer: &[u8]) -> (Vec<(String, Vec<u8>)>, serde_json::Value) {
    let config = config(&[layer]);
    let pointer = |bytes: &[u8]| json!({"digest": sha256(bytes), "size": bytes.len()});
    let manifest = json!({"config": pointer(&config), "layers": [pointer(layer)]}).to_string().into_bytes();
    let to = pointer(&manifest);
    (vec![(blob(layer), layer.to_vec()), (blob(&config), config), (blob(&manifest), manifest)], to)
}

#[test]
fn reads_what_docker_saves() {
    let config = config(&[b"one", b"two"]);
    let manifest =
        json!([{"Config": "c.json", "RepoTags": ["a:1", "b"], "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let path = write(
        "saved.tar",
        &[
            ("./1/layer.tar".into(), b"->../3/layer.tar".to_vec()),
            ("2/layer.tar".into(), b"two".to_vec()),
            ("3/layer.tar".into(), b"one".to_vec()),
            ("manifest.json".into(), manifest.to_string().into_bytes()),
            ("c.json".into(), config.clone()),
        ],
    );
    let layout = read(&path).unwrap();
    assert_eq!(layout.images[0].names, ["docker.io/library/a:1", "docker.io/library/b:latest"]);
    let image = image(&layout, 0);
    assert_eq!(image.config_digest, sha256(&config));
    let paths: Vec<String> = image.layers.iter().map(|layer| layout.path(&layer.blob.digest)).collect();
    assert_eq!(paths, ["3/layer.tar", "2/layer.tar"]);
    assert_eq!(image.size, 6);
}

#[test]
fn reads_both_formats_in_one_archive() {
    let (mut entries, mut pointer) = oci(b"layer");
    let saved = json!([{"Config": entries[1].0, "RepoTags": ["a/b:1"], "Layers": [entries[0].0]}]);
    entries.push(("manifest.json".into(), saved.to_string().into_bytes()));
    let docker = read(&write("Docker.Only.tar", &entries)).unwrap();
    assert_eq!(docker.images[0].names, ["docker.io/a/b:1"]);
    assert_eq!(docker.path(&sha256(b"layer")), blob(b"layer"));

    let index = |pointer: &serde_json::Value| {
        ("index.json".to_string(), json!({"manifests": [pointer]}).to_string().into_bytes())
    };
    entries.push(index(&pointer));
    let both = read(&write("both.tar", &entries)).unwrap();
    assert_eq!(both.images[0].names, ["docker.io/a/b:1"]);
    assert_eq!(image(&both, 0).manifest_digest, pointer["digest"].as_str().unwrap());

    entries.truncate(3);
    for (annotation, value, name) in [
        ("org.opencontainers.image.ref.name", "v2", "docker.io/library/web.x:v2"),
        ("org.opencontainers.image.ref.name", "x.org/y:3", "x.org/y:3"),
        ("io.containerd.image.name", "y", "docker.io/library/y:latest"),
        ("unknown", "y", "docker.io/library/web.x:latest"),
    ] {
        pointer["annotations"] = json!({annotation: value});
        entries.truncate(3);
        entries.push(index(&pointer));
        assert_eq!(read(&write("Web.x.tar", &entries)).unwrap().images[0].names, [name]);
    }
}

#[test]
fn names_what_is_missing() {
    let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["layer.tar"]}]);
    let mut entries = vec![("manifest.json".to_string(), manifest.to_string().into_bytes())];
    let lacks = |error: Error, wanted: &str| matches!(error, Error::Missing { entry, .. } if entry == wanted);
    assert!(lacks(read(&write("lack.tar", &entries)).err().unwrap(), "c.json"));
    entries.push(("c.json".into(), config(&[b"layer"])));
    assert!(lacks(read(&write("lack.tar", &entries)).err().unwrap(), "layer.tar"));
    // A link to itself ends.
    entries.push(("layer.tar".into(), b"->layer.tar".to_vec()));
    assert!(lacks(read(&write("lack.tar", &entries)).err().unwrap(), "layer.tar"));
    entries[0].1 = b"[{]".to_vec();
    assert!(matches!(read(&write("lack.tar", &entries)), Err(Error::Document { .. })));
}
