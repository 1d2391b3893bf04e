//! A journal written as a whole, from what is in memory.

use std::io;

use super::Revision;
use super::disk::Log;
use super::line::{Line, VERSION};
use super::writer::State;

/// Writes and syncs a whole journal; returns its length.
pub(super) fn write_file(log: &mut dyn Log, state: &State, ceiling: Revision) -> io::Result<u64> {
    let (mut text, mut length) = (Vec::new(), 0);
    Line::Header { version: VERSION, ceiling }.write(false, &mut text);
    for (key, stored) in &state.entries {
        let put = Line::Put { revision: stored.revision, key: (&**key).into(), value: &stored.value };
        put.write(true, &mut text);
        if text.len() > 16 << 10 {
            log.write_all(&text)?;
            length += text.len() as u64;
            text.clear();
        }
    }
    // Not continued: it proves that all lines above were written whole.
    Line::Ceiling(ceiling).write(false, &mut text);
    log.write_all(&text)?;
    log.sync()?;
    Ok(length + text.len() as u64)
}

/// What an entry takes in the journal, roughly.
pub(super) fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len() + 56) as u64
}
