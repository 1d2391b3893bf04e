//! Header blocks (SPDY 3.1, section 2.6.10): one zlib stream for each direction, primed with a dictionary.

use flate2::{Decompress as Inflate, FlushDecompress, Status};

/// The dictionary's words, each after its length in 4 bytes.
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,\
    accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,\
    content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,\
    if-match,if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,\
    proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,\
    user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,\
    keep-alive,origin";
/// The rest of it.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug \
    Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
/// A zlib header that asks for a dictionary, and the dictionary's Adler-32.
const START: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// The most bytes of a block when it is inflated, and the most headers.
const MAX_BLOCK: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split(',') {
        dictionary.extend_from_slice(&(word.len() as u32).to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(TEXT.as_bytes());
    dictionary
}

/// Bytes as they are, in a deflate stream: a block that is "stored" (RFC 1951 section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    let mut block = vec![0];
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&(!length).to_le_bytes());
    block.extend_from_slice(bytes);
    block
}

/// What a client sends. The state takes 43 KB; it is made with the first block.
#[derive(Default)]
pub struct Decompress(Option<Inflate>);

impl Decompress {
    /// The headers of the next block. `None`: it is malformed, or too large.
    pub fn block(&mut self, compressed: &[u8]) -> Option<Vec<(String, String)>> {
        let (inflate, compressed) = match &mut self.0 {
            Some(inflate) => (inflate, compressed),
            None => {
                let rest = compressed.strip_prefix(&START)?;
                // flate2 takes no dictionary; a stored block before the client's own leaves the same window.
                let mut inflate = Inflate::new(false);
                inflated(&mut inflate, &stored(&dictionary()))?;
                (self.0.insert(inflate), rest)
            }
        };
        parse(&inflated(inflate, compressed)?)
    }
}

fn inflated(inflate: &mut Inflate, compressed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1024);
    let (start, mut rest) = (inflate.total_in(), compressed);
    loop {
        let status = inflate.decompress_vec(rest, &mut out, FlushDecompress::Sync);
        rest = compressed.get(usize::try_from(inflate.total_in() - start).ok()?..)?;
        match status {
            Ok(Status::Ok | Status::BufError) if out.len() < out.capacity() => {
                return rest.is_empty().then_some(out);
            }
            Ok(Status::Ok | Status::BufError) if out.len() < MAX_BLOCK => out.reserve(out.len()),
            // The stream never ends while the connection lives.
            _ => return None,
        }
    }
}

fn parse(block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = block;
    let number = |rest: &mut &[u8]| {
        let (number, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        usize::try_from(u32::from_be_bytes(*number)).ok()
    };
    let count = number(&mut rest)?;
    if count > MAX_HEADERS {
        return None;
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut text = || {
            let length = number(&mut rest)?;
            let (text, after) = rest.split_at_checked(length)?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        headers.push((text()?.to_ascii_lowercase(), text()?));
    }
    rest.is_empty().then_some(headers)
}

/// What this end sends: no headers at all.
#[derive(Default)]
pub struct Compress {
    started: bool,
}

impl Compress {
    /// A block of no headers.
    pub fn empty(&mut self) -> Vec<u8> {
        let block = stored(&[0; 4]);
        match std::mem::replace(&mut self.started, true) {
            true => block,
            false => [&START[..], &block].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// zlib's own bytes for {streamtype: error, port: 80}, twice, with sync flushes between.
    const FIRST: &str = "78bbe3c6a7c202e50e703a2b294a4dcc851625aca9a0808614cb45a024cc646100000000ffff";
    const SECOND: &str = "225a21000000ffff";

    #[test]
    fn the_dictionary_is_the_specifications() {
        let (mut low, mut high) = (1_u32, 0);
        for byte in dictionary() {
            low = (low + u32::from(byte)) % 65521;
            high = (high + low) % 65521;
        }
        assert_eq!((high << 16 | low).to_be_bytes(), START[2..]);
    }

    #[test]
    fn blocks() {
        let expected = [("streamtype", "error"), ("port", "80")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut decompress = Decompress::default();
        let mut block = |hex: &str| decompress.block(&HEXLOWER.decode(hex.as_bytes()).unwrap());
        assert_eq!(block(FIRST).unwrap(), expected);
        assert_eq!(block(SECOND).unwrap(), expected);
        assert_eq!(block("ffffffff"), None);
        assert_eq!(Decompress::default().block(b""), None);
        assert_eq!(Decompress::default().block(b"\x78\x9c\x01"), None);
    }

    #[test]
    fn a_block_that_grows_without_end() {
        let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 16);
        bomb.extend_from_slice(&START);
        compress.compress_vec(&vec![0; 10 << 20], &mut bomb, flate2::FlushCompress::Sync).unwrap();
        assert_eq!(Decompress::default().block(&bomb), None);
        for block in [&b"\0\0\0\x01\0\0\0\x09a"[..], b"\xff\xff\xff\xff", b"\0\0\0\0x", b"\0\0"] {
            assert_eq!(parse(block), None);
        }
    }

    #[test]
    fn what_is_sent_can_be_read() {
        let (mut compress, mut decompress) = (Compress::default(), Decompress::default());
        for _ in 0..3 {
            assert_eq!(decompress.block(&compress.empty()), Some(Vec::new()));
        }
    }
}
