//! Reading an archive, on a thread of its own: once for its documents, once for its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use ring::digest::{Context, SHA256};
use smol::channel::Sender;
use tar::{Archive, Entries, EntryType};

use super::super::content::PIECE;
use super::Error;
use super::zstd::Zstd;

/// Largest JSON document that is kept, bytes, and all together.
const DOCUMENT_LIMIT: u64 = 1 << 20;
const DOCUMENTS_LIMIT: usize = 8 << 20;
const ENTRIES_LIMIT: usize = 20_000;

/// What an archive holds, by path.
#[derive(Default)]
pub struct Scan {
    pub documents: BTreeMap<String, Vec<u8>>,
    pub files: BTreeMap<String, Entry>,
    /// Older docker saves a layer once, and links to it.
    links: BTreeMap<String, String>,
}

pub struct Entry {
    pub size: u64,
    /// `sha256:<hex>` of a gzip file outside of `blobs/`, whose name does not tell it.
    pub digest: Option<String>,
}

impl Scan {
    /// The file at `path`, through links.
    pub fn file<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a Entry)> {
        let mut path = path;
        for _ in 0..4 {
            if let Some(entry) = self.files.get(path) {
                return Some((path, entry));
            }
            path = self.links.get(path)?;
        }
        None
    }
}

/// One step of [`stream`].
pub enum Piece {
    /// The file at this path follows.
    Begin(String),
    Data(Bytes),
    End,
}

/// Reads headers and documents.
pub fn scan(path: &Path) -> Result<Scan, Error> {
    let mut scan = Scan::default();
    let mut kept = 0;
    walk(path, &mut |name, kind, link, size, content| {
        if scan.files.len() + scan.links.len() >= ENTRIES_LIMIT {
            return Err(Error::TooManyEntries { path: path.into(), limit: ENTRIES_LIMIT });
        }
        let read = |source| Error::Read { path: path.into(), source };
        match kind {
            EntryType::Link | EntryType::Symlink => {
                // A hard link's target counts from the top.
                let folder = match name.rsplit_once('/') {
                    Some((folder, _)) if kind == EntryType::Symlink => folder,
                    _ => "",
                };
                let target = join(folder, link);
                scan.links.insert(name, target);
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {}
            _ => return Ok(()),
        }
        let mut head = [0; 2];
        let length = read_up_to(content, &mut head).map_err(read)?;
        let head = &head[..length];
        let mut digest = None;
        if head.starts_with(b"{") || head.starts_with(b"[") {
            if size <= DOCUMENT_LIMIT {
                let mut document = head.to_vec();
                content.read_to_end(&mut document).map_err(read)?;
                kept += document.len();
                if kept > DOCUMENTS_LIMIT {
                    return Err(Error::TooManyDocuments { path: path.into(), limit: DOCUMENTS_LIMIT });
                }
                scan.documents.insert(name.clone(), document);
            }
        } else if head == GZIP && !name.starts_with("blobs/") {
            digest = Some(hash(head, content).map_err(read)?);
        }
        scan.files.insert(name, Entry { size, digest });
        Ok(())
    })?;
    Ok(scan)
}

/// Sends the files at `wanted`, in the archive's order. Ends early when the receiver is gone.
pub fn stream(path: &Path, wanted: &BTreeSet<String>, pieces: &Sender<Piece>) -> Result<(), Error> {
    let mut left = wanted.clone();
    walk(path, &mut |name, _, _, _, content| {
        if !left.remove(&name) {
            return Ok(());
        }
        let gone = |_| Error::Cancelled;
        pieces.send_blocking(Piece::Begin(name)).map_err(gone)?;
        loop {
            let mut buffer = vec![0; PIECE];
            let length = read_up_to(content, &mut buffer)
                .map_err(|source| Error::Read { path: path.into(), source })?;
            if length == 0 {
                break;
            }
            buffer.truncate(length);
            pieces.send_blocking(Piece::Data(buffer.into())).map_err(gone)?;
        }
        pieces.send_blocking(Piece::End).map_err(gone)
    })
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

type Visit<'a> = dyn FnMut(String, EntryType, &str, u64, &mut dyn Read) -> Result<(), Error> + 'a;

/// Calls `visit` with name, type, link target, size and contents of every entry.
fn walk(path: &Path, visit: &mut Visit<'_>) -> Result<(), Error> {
    let open = |source| Error::Open { path: path.into(), source };
    let read = |source| Error::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(open)?;
    let mut head = [0; 4];
    let length = read_up_to(&mut file, &mut head).map_err(read)?;
    let head = &head[..length];
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    // By contents: names lie.
    let compressed: Box<dyn Read> = if head.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(PIECE, file)))
    } else if head == ZSTD {
        Box::new(Zstd::new(BufReader::with_capacity(PIECE, file)))
    } else {
        let mut archive = Archive::new(file);
        return visit_all(archive.entries_with_seek().map_err(read)?, path, visit);
    };
    let mut archive = Archive::new(compressed);
    visit_all(archive.entries().map_err(read)?, path, visit)
}

fn visit_all<R: Read>(entries: Entries<'_, R>, path: &Path, visit: &mut Visit<'_>) -> Result<(), Error> {
    let read = |source| Error::Read { path: path.into(), source };
    for entry in entries {
        let mut entry = entry.map_err(read)?;
        let name = join("", &entry.path().map_err(read)?.to_string_lossy());
        let link = entry.link_name().map_err(read)?.map(|link| link.to_string_lossy().into_owned());
        let (kind, size) = (entry.header().entry_type(), entry.size());
        visit(name, kind, link.as_deref().unwrap_or_default(), size, &mut entry)?;
    }
    Ok(())
}

/// `path` as seen from `folder`, without `.` and `..`.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let folder = if path.starts_with('/') { "" } else { folder };
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Fills `buffer` unless the end comes first.
fn read_up_to(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn hash(head: &[u8], rest: &mut dyn Read) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    context.update(head);
    let mut buffer = [0; 8192];
    loop {
        match read_up_to(rest, &mut buffer)? {
            0 => break,
            length => context.update(&buffer[..length]),
        }
    }
    Ok(format!("sha256:{}", data_encoding::HEXLOWER.encode(context.finish().as_ref())))
}
