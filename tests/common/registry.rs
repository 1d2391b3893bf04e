//! Debian's docker-registry on loopback, and a relay in front of it that behaves as bad networks do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::command::eventually;
use super::folder::Folder;
use super::image::{Image, architecture, digest};
use super::process::Process;

pub const USER: &str = "pi";
pub const PASSWORD: &str = "s3cret";
const HTPASSWD: &str = "pi:$2b$04$INbMQYtiEUMitozOdVgN7eAMCxYdArT52Kz1LFtDaUeIoYzhofDeK\n";

pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A running docker-registry; dropping it stops it.
pub struct Registry {
    _process: Process,
    pub port: u16,
    folder: Folder,
}

impl Registry {
    /// Plain HTTP, open to all.
    pub fn start() -> Registry {
        Registry::start_with(None)
    }

    /// HTTPS with a certificate of [`Registry::ca`], for [`USER`] with [`PASSWORD`].
    pub fn start_secured() -> Registry {
        Registry::start_with(Some(certificates))
    }

    /// The same with [`Registry::certificate`], which nobody else has signed.
    pub fn start_self_signed() -> Registry {
        Registry::start_with(Some(own_certificate))
    }

    fn start_with(certificates: Option<fn(&Folder)>) -> Registry {
        let folder = Folder::new("reg");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": format!("127.0.0.1:{port}")},
        });
        if let Some(make) = certificates {
            make(&folder);
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            config["http"]["tls"] =
                json!({"certificate": folder.join("cert.pem"), "key": folder.join("key.pem")});
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": folder.join("htpasswd")}});
        }
        // JSON is YAML.
        fs::write(folder.join("config.yml"), config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("config.yml"));
        let process = Process::start(command, &folder.join("log"));
        let up = || TcpStream::connect(("127.0.0.1", port)).ok();
        eventually("docker-registry listens", Duration::from_secs(20), up);
        Registry { _process: process, port, folder }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Puts `image` into the registry's storage as `name`, with layers of `media_type`, behind an index that offers
    /// a foreign platform too. Returns the index's digest.
    pub fn push(&self, name: &str, tag: &str, image: &Image, media_type: &str) -> String {
        let layers: Vec<Value> = image
            .layers
            .iter()
            .map(|layer| self.blob(name, media_type, &compress(layer, media_type)))
            .collect();
        let config = self.blob(name, "application/vnd.oci.image.config.v1+json", &image.config());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut ours = self.manifest(name, MANIFEST, &manifest);
        ours["platform"] = json!({"os": "linux", "architecture": architecture()});
        let mut foreign = ours.clone();
        foreign["platform"]["architecture"] = "s390x".into();
        foreign["digest"] = digest(b"not here").into();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, ours]});
        let index = self.manifest(name, INDEX, &index);
        let index = index["digest"].as_str().unwrap().to_owned();
        self.tag(name, tag, &index);
        index
    }

    /// Puts a manifest alone.
    pub fn manifest(&self, name: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let pointer = self.blob(name, media_type, &bytes);
        let digest = pointer["digest"].as_str().unwrap();
        self.link(&format!("repositories/{name}/_manifests/revisions/{}", digest.replace(':', "/")), digest);
        pointer
    }

    pub fn tag(&self, name: &str, tag: &str, digest: &str) {
        self.link(&format!("repositories/{name}/_manifests/tags/{tag}/current"), digest);
    }

    pub fn blob(&self, name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let hex = &digest[7..];
        let folder = self.storage().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("data"), bytes).unwrap();
        self.link(&format!("repositories/{name}/_layers/sha256/{hex}"), &digest);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn link(&self, path: &str, digest: &str) {
        let folder = self.storage().join(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("link"), digest).unwrap();
    }

    fn storage(&self) -> PathBuf {
        self.folder.join("data/docker/registry/v2")
    }
}

fn compress(layer: &[u8], media_type: &str) -> Vec<u8> {
    if media_type != ZSTD {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(layer).unwrap();
        return encoder.finish().unwrap();
    }
    let folder = Folder::new("zst");
    fs::write(folder.join("layer"), layer).unwrap();
    zstd(&folder.join("layer"));
    fs::read(folder.join("layer.zst")).unwrap()
}

/// Makes `<path>.zst`.
pub fn zstd(path: &Path) {
    assert!(Command::new("zstd").arg("-q").arg(path).status().expect("install zstd").success());
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

fn certificates(folder: &Folder) {
    fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(folder, &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"));
    openssl(folder, &format!("req {KEY} -keyout key.pem -out csr.pem -subj /CN=registry"));
    openssl(
        folder,
        "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext",
    );
}

/// As Docker's instructions make it: an authority that is its own server.
fn own_certificate(folder: &Folder) {
    let name = "-subj /CN=registry -addext subjectAltName=IP:127.0.0.1";
    openssl(folder, &format!("req -x509 {KEY} -keyout key.pem -out cert.pem -days 2 {name}"));
}

fn openssl(folder: &Folder, arguments: &str) {
    let mut command = Command::new("openssl");
    let output =
        command.args(arguments.split(' ')).current_dir(folder.path()).output().expect("install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How a [`Relay`] treats what passes; blobs above 64 kB only.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The connection breaks after so many bytes of a blob.
    pub cut: Option<usize>,
    /// So many blobs have a wrong byte.
    pub corrupt: usize,
    /// After each 64 KiB of a blob.
    pub pause: Duration,
    /// A part of a blob is answered with all of it.
    pub no_ranges: bool,
    /// Only with a token, which [`USER`] gets for [`PASSWORD`].
    pub token: bool,
}

/// An HTTP relay on loopback, for one request a connection; also a proxy. Its thread ends with the test's process.
pub struct Relay {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    upstream: u16,
    faults: Faults,
    /// `GET /v2/… bytes=5-`, in order.
    requests: Vec<String>,
}

impl Relay {
    pub fn start(registry: &Registry, faults: Faults) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { upstream: registry.port, faults, requests: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, port, &shared));
            }
        });
        Relay { port, state }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Takes the requests that came whose line has `text`.
    pub fn take(&self, text: &str) -> Vec<String> {
        let all = std::mem::take(&mut self.state().requests);
        all.into_iter().filter(|request| request.contains(text)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Ends without a word when either side is gone.
fn serve(mut client: TcpStream, port: u16, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (line, headers) = head(&mut reader)?;
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (upstream, faults) = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{line} {}", header("range")));
        (state.upstream, state.faults.clone())
    };
    if line.starts_with("CONNECT ") {
        return tunnel(client, &line, reader);
    }
    if faults.token {
        let authorization = header("authorization");
        if line.contains(" /token?") {
            let known = format!("Basic {}", BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes()));
            let is_known = authorization == known && line.contains("scope=repository");
            let body = if is_known { r#"{"token":"t0ken"}"# } else { "{}" };
            let status = if is_known { "200 OK" } else { "401 Unauthorized" };
            return write!(
                client,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .ok();
        }
        if authorization != "Bearer t0ken" {
            let challenge = format!(
                "Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"test\",scope=\"repository:a:pull\""
            );
            return write!(
                client,
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .ok();
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    // A proxy's request has the whole address.
    let line = line.replacen(&format!("http://{}", header("host")), "", 1);
    write!(server, "{line}\r\n").ok()?;
    for (name, value) in &headers {
        let is_ours =
            ["connection", "authorization", "proxy-authorization"].contains(&name.to_lowercase().as_str());
        if !(is_ours || faults.no_ranges && name.eq_ignore_ascii_case("range")) {
            write!(server, "{name}: {value}\r\n").ok()?;
        }
    }
    write!(server, "Connection: close\r\n\r\n").ok()?;
    let mut reader = BufReader::new(server);
    let (status, headers) = head(&mut reader)?;
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    write!(client, "{status}\r\n").ok()?;
    for (name, value) in &headers {
        write!(client, "{name}: {value}\r\n").ok()?;
    }
    write!(client, "\r\n").ok()?;
    let is_blob = line.contains("/blobs/") && length > 64 << 10;
    let mut is_corrupt = false;
    if is_blob && faults.corrupt > 0 {
        state.lock().unwrap().faults.corrupt -= 1;
        is_corrupt = true;
    }
    let mut sent = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = reader.read(&mut piece).ok().filter(|count| *count > 0)?;
        let left = faults.cut.filter(|_| is_blob).map_or(count, |cut| (cut - sent.min(cut)).min(count));
        if is_corrupt && sent == 0 {
            piece[left / 2] ^= 1;
        }
        client.write_all(&piece[..left]).ok()?;
        sent += left;
        if left < count {
            return None;
        }
        if is_blob {
            std::thread::sleep(faults.pause);
        }
    }
}

fn tunnel(mut client: TcpStream, line: &str, mut from_client: BufReader<TcpStream>) -> Option<()> {
    let mut server = TcpStream::connect(line.split(' ').nth(1)?).ok()?;
    write!(client, "HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let mut from_server = server.try_clone().ok()?;
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut client));
    std::io::copy(&mut from_client, &mut server).ok()?;
    None
}

/// The first line and the headers.
fn head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let first = lines.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    let first = if first.starts_with("HTTP/") { first } else { format!("{first} HTTP/1.1") };
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    Some((first, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}
