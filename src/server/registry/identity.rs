//! Names and uids that the registry gives.

use ring::rand::{SecureRandom, SystemRandom};

use crate::api::{Status, hash};

const SUFFIX: usize = 5;
/// What a generated name may be long: a DNS label, which suits every kind.
const LONGEST: usize = 63;

fn random<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Status::internal("no random numbers"))?;
    Ok(bytes)
}

/// A random uid (RFC 9562, version 4).
pub fn uid() -> Result<String, Status> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// `prefix`, shortened if need be, with a random suffix.
pub fn name(prefix: &str) -> Result<String, Status> {
    let mut length = prefix.len().min(LONGEST - SUFFIX);
    while !prefix.is_char_boundary(length) {
        length -= 1;
    }
    let suffix: [u8; SUFFIX] = random()?;
    Ok(format!("{}{}", &prefix[..length], hash::letters(&suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_version_4() {
        let uid = uid().unwrap();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uid.as_bytes()[19]), "{uid}");
    }

    #[test]
    fn names_fit() {
        assert_eq!(name("web-").unwrap().len(), 9);
        let long = "ü".repeat(40);
        assert!(name(&long).unwrap().len() <= 63);
    }
}
