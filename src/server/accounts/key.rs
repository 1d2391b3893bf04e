//! The key that signs tokens (ECDSA P-256), and tokens as text (RFC 7515, compact).

use std::io;
use std::path::Path;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use futures_rustls::pki_types::PrivatePkcs8KeyDer;
use futures_rustls::pki_types::pem::PemObject;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::sys::file;
use crate::token::sha256;

pub const ALGORITHM: &str = "ES256";
/// The longest token that is looked at.
const LONGEST: usize = 16 << 10;
/// What stands before the point in a P-256 key's SubjectPublicKeyInfo (RFC 5480).
const INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

pub struct Key {
    pair: EcdsaKeyPair,
    id: String,
}

impl Key {
    /// Reads the key in `path` (PKCS #8 in PEM), or makes one there, 0600.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                let made = made.map_err(|_| io::Error::other("no random numbers"))?;
                let lines = BASE64.encode(made.as_ref());
                let lines: Vec<&str> =
                    lines.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
                let text =
                    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
                file::write_atomic(path, text.as_bytes(), 0o600)?;
                text.into_bytes()
            }
            read => read?,
        };
        let bad =
            || io::Error::new(io::ErrorKind::InvalidData, format!("`{}` holds no P-256 key", path.display()));
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| bad())?;
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            der.secret_pkcs8_der(),
            &SystemRandom::new(),
        );
        let pair = pair.map_err(|_| bad())?;
        let info = [&INFO[..], pair.public_key().as_ref()].concat();
        Ok(Self { id: BASE64URL_NOPAD.encode(&sha256(&info)), pair })
    }

    /// The public half as a JSON Web Key (RFC 7517).
    pub fn public(&self) -> Value {
        // A byte that says "uncompressed", then both coordinates.
        let point = self.pair.public_key().as_ref();
        let coordinate = |from, to| BASE64URL_NOPAD.encode(point.get(from..to).unwrap_or_default());
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": coordinate(1, 33), "y": coordinate(33, 65),
        })
    }

    /// A token that says `claims`; None without random numbers.
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({ "alg": ALGORITHM, "kid": self.id });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref())))
    }

    /// What a token says that this key has signed.
    pub fn read(&self, token: &str) -> Option<Value> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
        if header.get("alg")? != ALGORITHM {
            return None;
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        public.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        serde_json::from_slice(&decode(claims)?).ok()
    }
}
