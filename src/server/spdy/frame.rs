//! Frames as bytes (SPDY 3.1, section 2.2).

/// What every frame begins with.
pub const HEAD: usize = 8;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const FIN: u8 = 1;
/// A stream's id has 31 bits.
const ID: u32 = 0x7fff_ffff;

#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    Data { id: u32, fin: bool, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Control<'b> {
    Open {
        id: u32,
        fin: bool,
        headers: &'b [u8],
    },
    /// SYN_REPLY and HEADERS, which a client has no reason to send.
    Headers {
        headers: &'b [u8],
    },
    Reset {
        id: u32,
    },
    Ping {
        id: u32,
    },
    /// SETTINGS, GOAWAY, WINDOW_UPDATE, and what is not known.
    Other,
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Reads the first [`HEAD`] bytes. `None`: it is no frame of SPDY/3.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let (first, second) = (number(bytes, 0)?, number(bytes, 4)?);
    let [flags, ..] = second.to_be_bytes();
    let length = usize::try_from(second & 0x00ff_ffff).ok()?;
    if first & !ID == 0 {
        return Some(Head::Data { id: first, fin: flags & FIN != 0, length });
    }
    let [version, kind] = [(first >> 16) as u16 & 0x7fff, first as u16];
    (version == VERSION).then_some(Head::Control { kind, flags, length })
}

/// Takes a control frame's body apart. `None`: it is too short.
pub fn control(kind: u16, flags: u8, body: &[u8]) -> Option<Control<'_>> {
    let id = || number(body, 0).map(|id| id & ID);
    Some(match kind {
        // The stream, the one that it belongs to, priority, slot.
        SYN_STREAM => Control::Open { id: id()?, fin: flags & FIN != 0, headers: body.get(10..)? },
        SYN_REPLY | HEADERS => Control::Headers { headers: body.get(4..)? },
        RST_STREAM => Control::Reset { id: id()? },
        PING => Control::Ping { id: number(body, 0)? },
        _ => Control::Other,
    })
}

fn frame(first: u32, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.extend_from_slice(&first.to_be_bytes());
    let length = u32::try_from(length).unwrap_or(0) & 0x00ff_ffff;
    frame.extend_from_slice(&(u32::from(flags) << 24 | length).to_be_bytes());
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

fn control_frame(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    frame(!ID | u32::from(VERSION) << 16 | u32::from(kind), 0, parts)
}

pub fn data(id: u32, data: &[u8], fin: bool) -> Vec<u8> {
    frame(id & ID, if fin { FIN } else { 0 }, &[data])
}

/// SYN_REPLY with a compressed block of headers.
pub fn reply(id: u32, headers: &[u8]) -> Vec<u8> {
    control_frame(SYN_REPLY, &[&id.to_be_bytes(), headers])
}

pub fn reset(id: u32, why: u32) -> Vec<u8> {
    control_frame(RST_STREAM, &[&id.to_be_bytes(), &why.to_be_bytes()])
}

pub fn ping(id: u32) -> Vec<u8> {
    control_frame(PING, &[&id.to_be_bytes()])
}

/// All is well, no stream after `last` was seen.
pub fn go_away(last: u32) -> Vec<u8> {
    control_frame(GOAWAY, &[&last.to_be_bytes(), &[0; 4]])
}
