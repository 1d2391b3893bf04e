//! K10 join tokens: `K10<sha256 of the CA certificate's PEM, hex>::server:<secret>`.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::hmac;

/// A join token, in one of the forms that k3s has:
/// `K10<64 hex>::<user>:<secret>`, `K10<64 hex>::<id>.<secret>` (id 6 and secret 16 of `a-z0-9`), and
/// both without the `K10…::` part, which pin no CA. A bare `<secret>` is the user `server`'s.
/// `Debug` hides the secret; there is no `Display`: [`JoinToken::reveal`] says what it does.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The SHA-256 of the CA certificate's PEM text; `None` in a token that pins none.
    pub ca_hash: Option<[u8; 32]>,
    pub credential: Credential,
}

/// The part of a token that is told to the server, after the pin is checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `server:<secret>`: the server's own token.
    Server { secret: String },
    /// `<id>.<secret>`: one of those made by `midge token create`.
    Issued { id: String, secret: String },
}

/// Bytes that a token may have. Longer ones are refused before anything looks at them.
pub const MAX_TOKEN: usize = 512;

/// Why a text is no token. Never holds the text.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenError {
    Empty,
    TooLong,
    /// White space, control characters or anything but visible ASCII.
    Character,
    /// `K10` is there, but not 64 hex digits and `::` after it.
    Pin,
    /// A user other than `server`.
    User {
        user: String,
    },
    /// No secret after the user.
    Secret,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the token is empty"),
            Self::TooLong => write!(f, "the token is longer than {MAX_TOKEN} characters"),
            Self::Character => f.write_str("the token has a character that is not visible ASCII"),
            Self::Pin => f.write_str(
                "the token is cut off or changed: after `K10` there must be 64 hex digits and `::` \
                 (copy it whole from the server's token file)",
            ),
            Self::User { user } => write!(f, "the token is for the user `{user}`, not for `server`"),
            Self::Secret => f.write_str("the token has no secret after `server:`"),
        }
    }
}

impl std::error::Error for TokenError {}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Surrounding white space is ignored, so that a file's newline does no harm.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        let (ca_hash, rest) = match text.strip_prefix("K10") {
            Some(pinned) => {
                let (hash, rest) = pinned.split_once("::").ok_or(TokenError::Pin)?;
                let hash =
                    HEXLOWER.decode(hash.to_ascii_lowercase().as_bytes()).map_err(|_| TokenError::Pin)?;
                (Some(hash.try_into().map_err(|_| TokenError::Pin)?), rest)
            }
            None => (None, text),
        };
        Ok(Self { ca_hash, credential: rest.parse()? })
    }
}

impl FromStr for Credential {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if let Some((user, secret)) = text.split_once(':') {
            return match (user, secret) {
                ("server" | "", "") => Err(TokenError::Secret),
                ("server", secret) => Ok(Self::Server { secret: secret.to_owned() }),
                (user, _) => Err(TokenError::User { user: user.to_owned() }),
            };
        }
        if let Some((id, secret)) = text.split_once('.') {
            if is_issued_part(id, ID_LENGTH) && is_issued_part(secret, SECRET_LENGTH) {
                return Ok(Self::Issued { id: id.to_owned(), secret: secret.to_owned() });
            }
        }
        if text.is_empty() {
            return Err(TokenError::Secret);
        }
        Ok(Self::Server { secret: text.to_owned() })
    }
}

/// Characters of an issued token's id.
pub const ID_LENGTH: usize = 6;
/// Characters of an issued token's secret: 82 bits.
pub const SECRET_LENGTH: usize = 16;

/// Whether `text` is what an issued token's id (`length` 6) or secret (16) may be.
pub fn is_issued_part(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl Credential {
    /// The text with its secret, as the Authorization header carries it.
    pub fn reveal(&self) -> String {
        match self {
            Self::Server { secret } => format!("server:{secret}"),
            Self::Issued { id, secret } => format!("{id}.{secret}"),
        }
    }
}

impl JoinToken {
    /// The whole token with its secret. For the token file and the one who asked for it, never for a log.
    pub fn reveal(&self) -> String {
        match self.ca_hash {
            Some(hash) => format!("K10{}::{}", HEXLOWER.encode(&hash), self.credential.reveal()),
            None => self.credential.reveal(),
        }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}{:?})", if self.ca_hash.is_some() { "pinned, " } else { "" }, self.credential)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { .. } => f.write_str("server:…"),
            Self::Issued { id, .. } => write!(f, "{id}.…"),
        }
    }
}

/// The operating system gave no random bytes.
#[derive(Debug)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl std::error::Error for RandomError {}

/// `N` random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// A new secret of `bytes` random bytes in hex, for instance a node key of 32.
pub fn random_hex<const N: usize>() -> Result<String, RandomError> {
    Ok(HEXLOWER.encode(&random::<N>()?))
}

/// `length` random characters of `a-z0-9`, each equally likely.
pub fn random_issued_part(length: usize) -> Result<String, RandomError> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in random::<32>()? {
            // 252 is the largest multiple of 36 in a byte: what is above would favour some letters.
            if byte < 252 && text.len() < length {
                text.push(char::from(ALPHABET[usize::from(byte) % 36]));
            }
        }
    }
    Ok(text)
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Compares two secrets in a time that tells nothing about where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    // Comparing MACs under a key nobody knows: what leaks of them says nothing about the secrets.
    let Ok(key) = random::<32>() else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let hash = "0f".repeat(32);
        let full = format!("K10{hash}::server:s3:cret");
        let token: JoinToken = format!("  {full}\n").parse().unwrap();
        assert_eq!(token.ca_hash, Some([15; 32]));
        assert_eq!(token.reveal(), full);
        assert!(!format!("{token:?}").contains("s3"));
        let issued: JoinToken = "abc123.0123456789abcdef".parse().unwrap();
        assert!(matches!(&issued.credential, Credential::Issued { id, .. } if id == "abc123"));
        let bare: JoinToken = "pass.word".parse().unwrap();
        assert_eq!(bare.reveal(), "server:pass.word");
    }

    #[test]
    fn malformed() {
        let hash = "0f".repeat(32);
        for (text, error) in [
            ("", TokenError::Empty),
            ("K10", TokenError::Pin),
            ("K10abcd::server:x", TokenError::Pin),
            (&format!("K10{hash}:server:x"), TokenError::Pin),
            (&format!("K10{hash}::server:"), TokenError::Secret),
            (&format!("K10{hash}::"), TokenError::Secret),
            (&format!("K10{hash}::node:x"), TokenError::User { user: "node".into() }),
            ("a b", TokenError::Character),
            ("geh€im", TokenError::Character),
            (&"x".repeat(513), TokenError::TooLong),
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(error), "{text}");
        }
    }

    #[test]
    fn comparison_and_randomness() {
        assert!(same_secret(b"abc", b"abc"));
        assert!(!same_secret(b"abc", b"abd"));
        assert!(!same_secret(b"abc", b"abcd"));
        assert_ne!(random_hex::<32>().unwrap(), random_hex::<32>().unwrap());
        assert!(is_issued_part(&random_issued_part(16).unwrap(), 16));
    }
}
