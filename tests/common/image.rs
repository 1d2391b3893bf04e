//! Images made on the spot, of busybox: no registry needed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";

/// One image.
pub struct Image {
    pub name: String,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    /// Uncompressed tars, bottom first.
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    /// busybox with links for its applets; a second layer holds `/etc/motd` with the image's name.
    pub fn busybox(name: &str, cmd: &[&str]) -> Image {
        let layers = vec![busybox_layer(), file_layer("etc/motd", name.as_bytes())];
        let cmd = cmd.iter().map(|part| part.to_string()).collect();
        let env = vec!["PATH=/bin".into(), "COLOR=green".into()];
        Image { name: name.into(), cmd, env, user: String::new(), layers }
    }

    /// The same with a file of its own and a user to run as.
    pub fn with_user(mut self, user: &str, passwd: &str, group: &str) -> Image {
        self.user = user.into();
        self.layers.push(file_layer("etc/passwd", passwd.as_bytes()));
        self.layers.push(file_layer("etc/group", group.as_bytes()));
        self
    }

    fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Cmd": self.cmd, "Env": self.env, "Entrypoint": null, "WorkingDir": "/tmp", "User": self.user},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        config.to_string().into_bytes()
    }
}

/// Writes what `docker save` writes.
pub fn docker_archive(path: &Path, images: &[Image], gzip: bool) {
    write_tar(path, gzip, |tar| {
        let mut manifest = Vec::new();
        for (number, image) in images.iter().enumerate() {
            let config = image.config();
            let name = format!("{}.json", &digest(&config)[7..]);
            append(tar, &name, &config);
            let mut layers = Vec::new();
            for (at, layer) in image.layers.iter().enumerate() {
                let path = format!("{number}-{at}/layer.tar");
                // Docker writes a layer that is there already as a link.
                if number > 0 && images[0].layers.get(at) == Some(layer) {
                    let mut header = header(0);
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, &path, format!("../0-{at}/layer.tar")).unwrap();
                } else {
                    append(tar, &path, layer);
                }
                layers.push(path);
            }
            manifest.push(json!({"Config": name, "RepoTags": [image.name], "Layers": layers}));
        }
        append(tar, "manifest.json", Value::from(manifest).to_string().as_bytes());
    });
}

/// Writes an OCI image layout with gzip layers, and with an index that offers a foreign platform too.
pub fn oci_archive(path: &Path, image: &Image, gzip: bool) {
    write_tar(path, gzip, |tar| {
        append(tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let mut blob = |media_type: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            append(tar, &format!("blobs/{}", digest.replace(':', "/")), bytes);
            json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        };
        let layers: Vec<Value> = image
            .layers
            .iter()
            .map(|layer| {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(layer).unwrap();
                blob("application/vnd.oci.image.layer.v1.tar+gzip", &encoder.finish().unwrap())
            })
            .collect();
        let config = blob("application/vnd.oci.image.config.v1+json", &image.config());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut manifest =
            blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        manifest["platform"] = json!({"os": "linux", "architecture": architecture()});
        let foreign = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(b"not here"),
            "size": 8,
            "platform": {"os": "linux", "architecture": "s390x"},
        });
        let index = json!({"schemaVersion": 2, "manifests": [foreign, manifest]});
        let mut index = blob("application/vnd.oci.image.index.v1+json", index.to_string().as_bytes());
        index["annotations"] = json!({"org.opencontainers.image.ref.name": image.name});
        append(tar, "index.json", json!({"schemaVersion": 2, "manifests": [index]}).to_string().as_bytes());
    });
}

/// `sha256:<hex>`
pub fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("sha256:{}", data_encoding::HEXLOWER.encode(digest.as_ref()))
}

fn busybox_layer() -> Vec<u8> {
    let program = std::fs::read(BUSYBOX).expect("install busybox-static");
    let applets = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "bin/busybox", &program);
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut header = header(0);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    for folder in ["proc/", "sys/", "dev/", "etc/", "tmp/"] {
        let mut header = header(0);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, folder, io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn file_layer(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, path, contents);
    tar.into_inner().unwrap()
}

fn write_tar(path: &Path, gzip: bool, fill: impl FnOnce(&mut tar::Builder<Box<dyn Write>>)) {
    let file = File::create(path).unwrap();
    let sink: Box<dyn Write> =
        if gzip { Box::new(GzEncoder::new(file, Compression::fast())) } else { Box::new(file) };
    let mut tar = tar::Builder::new(sink);
    fill(&mut tar);
    tar.into_inner().unwrap().flush().unwrap();
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) {
    tar.append_data(&mut header(bytes.len()), path, bytes).unwrap();
}

fn header(size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    header
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
