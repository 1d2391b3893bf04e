//! The journal's lines. Each is one JSON map whose first member is the CRC-32C, in hex, of what follows that
//! member up to the newline, so that `jq` reads the file and damage shows line by line:
//!
//! ```text
//! {"crc":"9be09efa","format":"midge registry","version":1,"ceiling":0}         always the first line
//! {"crc":"…","rev":1000002,"key":"pods/default/web","value":{…}}               a put
//! {"crc":"…","cont":true,"rev":1000003,"key":"pods/default/db","deleted":true} a removal, same write as above
//! {"crc":"…","ceiling":2000001}                                                no revision so far is above this
//! ```
//!
//! `cont` marks all lines but the first of one write. After a power cut any part of the last write may be
//! missing, and nothing of it was answered for; a line without `cont` proves that all before it was synced.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Revision;

/// The format that this midge writes, and the newest that it reads.
pub(super) const VERSION: u64 = 1;
const FORMAT: &str = "midge registry";

/// Longer lines are damage: no object is that large, and one missing newline must not fill the memory.
const LIMIT: u64 = 32 << 20;

/// `{"crc":"01234567",`
const PREFIX: usize = 18;

#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Header { version: u64, ceiling: Revision },
    Ceiling(Revision),
    Put { revision: Revision, key: Cow<'a, str>, value: &'a [u8] },
    Delete { revision: Revision, key: Cow<'a, str> },
}

/// All members of all kinds of lines.
#[derive(Deserialize)]
struct Members<'a> {
    format: Option<Cow<'a, str>>,
    version: Option<u64>,
    ceiling: Option<Revision>,
    #[serde(default)]
    cont: bool,
    rev: Option<Revision>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    deleted: bool,
}

impl<'a> Line<'a> {
    /// Reads one line without its newline, and says whether it continues a write. None: not what was written.
    pub(super) fn parse(text: &'a [u8]) -> Option<(Self, bool)> {
        let (prefix, rest) = text.split_at_checked(PREFIX)?;
        let crc = prefix.strip_prefix(b"{\"crc\":\"")?.strip_suffix(b"\",")?;
        let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
        if crc != crc32c(rest) {
            return None;
        }
        let members: Members<'_> = serde_json::from_slice(text).ok()?;
        let cont = members.cont;
        let line = match members {
            Members { format: Some(format), version: Some(version), ceiling, .. } if format == FORMAT => {
                Self::Header { version, ceiling: ceiling.unwrap_or(0) }
            }
            Members { ceiling: Some(ceiling), .. } => Self::Ceiling(ceiling),
            Members { rev: Some(revision), key: Some(key), deleted: true, .. } => {
                Self::Delete { revision, key }
            }
            Members { rev: Some(revision), key: Some(key), value: Some(value), .. } => {
                Self::Put { revision, key, value: value.get().as_bytes() }
            }
            _ => return None,
        };
        Some((line, cont))
    }

    /// Appends the line with its checksum and newline to `out`.
    pub(super) fn write(&self, cont: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"{\"crc\":\"00000000\",");
        if cont {
            out.extend_from_slice(b"\"cont\":true,");
        }
        match self {
            Self::Header { version, ceiling } => append(
                out,
                format_args!("\"format\":\"{FORMAT}\",\"version\":{version},\"ceiling\":{ceiling}}}"),
            ),
            Self::Ceiling(ceiling) => append(out, format_args!("\"ceiling\":{ceiling}}}")),
            Self::Put { revision, key, value } => {
                append(out, format_args!("\"rev\":{revision},\"key\":{},\"value\":", quoted(key)));
                out.extend_from_slice(value);
                out.push(b'}');
            }
            Self::Delete { revision, key } => {
                append(out, format_args!("\"rev\":{revision},\"key\":{},\"deleted\":true}}", quoted(key)));
            }
        }
        let crc = format!("{:08x}", crc32c(&out[start + PREFIX..]));
        out[start + 8..start + 16].copy_from_slice(crc.as_bytes());
        out.push(b'\n');
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    drop(out.write_fmt(text));
}

fn quoted(key: &str) -> String {
    serde_json::Value::from(key).to_string()
}

/// One line as it lies in the file.
pub(super) struct Raw<'a> {
    /// Counted from 1.
    pub number: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Without the newline.
    pub text: &'a [u8],
    /// Whether it ends in a newline.
    pub complete: bool,
}

/// Calls `each` for every line of `file`, with one buffer for all.
pub(super) fn read<E: From<io::Error>>(
    mut file: impl BufRead,
    mut each: impl FnMut(Raw<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut buffer, mut offset, mut number) = (Vec::new(), 0, 0);
    loop {
        buffer.clear();
        let length = file.by_ref().take(LIMIT).read_until(b'\n', &mut buffer)? as u64;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        let complete = buffer.last() == Some(&b'\n');
        let text = if complete { &buffer[..buffer.len() - 1] } else { &buffer[..] };
        each(Raw { number, offset, text, complete })?;
        offset += length;
    }
}

/// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut crc, mut bit) = (index as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa); // RFC 3720 B.4
    }

    #[test]
    fn lines_survive_a_round_trip_and_no_changed_bit() {
        let lines = [
            Line::Header { version: 1, ceiling: 7 },
            Line::Ceiling(9),
            Line::Put { revision: 3, key: "a/\"ü\"\n".into(), value: br#"{"a":[1,"x"]}"# },
            Line::Delete { revision: u64::MAX, key: "a/b".into() },
        ];
        for (line, cont) in lines.iter().zip([false, true, true, false]) {
            let mut text = Vec::new();
            line.write(cont, &mut text);
            assert_eq!(text.pop(), Some(b'\n'));
            assert!(!text.contains(&b'\n'));
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
            assert_eq!(Line::parse(&text).as_ref().map(|(l, c)| (l, *c)), Some((line, cont)));
            for bit in 0..text.len() * 8 {
                text[bit / 8] ^= 1 << (bit % 8);
                // The checksum's own hex digits have an upper and a lower case: the same number.
                let case = (8..16).contains(&(bit / 8)) && bit % 8 == 5;
                assert!(case || Line::parse(&text).is_none(), "bit {bit}");
                text[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
