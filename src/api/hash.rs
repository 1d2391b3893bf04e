//! Hashes and letters of names, as upstream writes them.

/// No vowels and nothing that looks like another: they form no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a of 32 bits.
pub fn fnv(text: &[u8]) -> u32 {
    text.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A letter for each byte.
pub fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// [`fnv`] of a text as a part of a name: a letter for each decimal digit.
pub fn name_part(text: &[u8]) -> String {
    letters(fnv(text).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The vectors of RFC 9923, FNV-1a of 32 bits.
        assert_eq!([fnv(b""), fnv(b"a"), fnv(b"foobar")], [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
        assert_eq!(name_part(b"a"), letters(b"3826002220"));
        assert_eq!(letters(&[0, 26, 27, 255]), "b9bq");
    }
}
