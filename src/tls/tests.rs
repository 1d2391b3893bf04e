use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_rustls::pki_types::{ServerName, UnixTime};
use futures_rustls::rustls::time_provider::TimeProvider;
use futures_rustls::rustls::{ClientConfig, ClientConnection, Error as RustlsError, ServerConnection};

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("midge-tls-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// Shakes hands in memory; `name` is what the client expects.
fn handshake(
    identity: &ServerIdentity,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<Vec<u8>, RustlsError> {
    let mut server = ServerConnection::new(identity.config())?;
    let mut client = ClientConnection::new(client, ServerName::try_from(name.to_owned()).unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn agents_trust_the_pinned_ca_only_and_it_survives_restarts() {
    let (one, other) = (folder("one"), folder("other"));
    let pem = Authority::open_or_create(&one).unwrap().certificate_pem().to_owned();
    // A restart: the same CA, a new certificate that the old pin still trusts.
    let authority = Authority::open_or_create(&one).unwrap();
    assert_eq!(authority.certificate_pem(), pem);
    assert_eq!(authority.hash(), crate::token::sha256(pem.as_bytes()));
    let mut names = Names::default();
    for name in ["Pi.example", "10.1.2.3", "fd00::1", "localhost"] {
        names.add(name).unwrap();
    }
    for name in ["", "a b", "-x", "*.", "*"] {
        assert!(names.add(name).is_err(), "{name}");
    }
    let identity = ServerIdentity::new(Arc::new(authority), names).unwrap();
    let pinned = client_config_pinned(&pem).unwrap();
    for name in
        [SERVER_NAME, "localhost", "127.0.0.1", "::1", "pi.example", "10.1.2.3", "kubernetes.default.svc"]
    {
        handshake(&identity, pinned.clone(), name).unwrap();
    }
    assert!(handshake(&identity, pinned, "elsewhere").is_err());
    handshake(&identity, client_config_unverified().unwrap(), "elsewhere").unwrap();

    let stranger = Authority::open_or_create(&other).unwrap();
    let stranger = client_config_pinned(stranger.certificate_pem()).unwrap();
    assert!(matches!(handshake(&identity, stranger, SERVER_NAME), Err(RustlsError::InvalidCertificate(_))));
    fs::remove_dir_all(&one).unwrap();
    fs::remove_dir_all(&other).unwrap();
}

#[test]
fn the_certificate_is_replaced_in_the_running_process() {
    let folder = folder("renew");
    let authority = Arc::new(Authority::open_or_create(&folder).unwrap());
    let pinned = client_config_pinned(authority.certificate_pem()).unwrap();
    let identity = ServerIdentity::new(authority, Names::default()).unwrap();
    let now = SystemTime::now();
    let first = handshake(&identity, pinned.clone(), SERVER_NAME).unwrap();

    assert!(handshake(&identity, pinned.clone(), "192.0.2.7").is_err());
    identity.prepare("::ffff:192.0.2.7".parse().unwrap());
    let second = handshake(&identity, pinned.clone(), "192.0.2.7").unwrap();
    assert_ne!(first, second);

    let local = "192.0.2.7".parse().unwrap();
    let day = Duration::from_secs(86_400);
    identity.prepare_at(local, now + day * 59);
    assert_eq!(handshake(&identity, pinned.clone(), "192.0.2.7").unwrap(), second);
    identity.prepare_at(local, now + day * 61);
    assert_ne!(handshake(&identity, pinned, "192.0.2.7").unwrap(), second);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn damaged_files_are_told_apart() {
    let folder = folder("damage");
    Authority::open_or_create(&folder).unwrap();
    let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(Authority::open_or_create(&folder), Err(Error::Incomplete { .. })));
    fs::write(&key, b"garbage").unwrap();
    assert!(matches!(Authority::open_or_create(&folder), Err(Error::ParseKey { .. })));
    fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(Authority::open_or_create(&folder), Err(Error::Mismatch { .. })));
    fs::write(&key, kept).unwrap();
    Authority::open_or_create(&folder).unwrap();
    fs::write(&certificate, b"garbage").unwrap();
    assert!(matches!(Authority::open_or_create(&folder), Err(Error::ParseCertificate { .. })));
    assert!(client_config_pinned("garbage").is_err());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_board_in_1970_issues_certificates_that_outlive_the_correction() {
    let folder = folder("clock");
    let authority = Authority::open_or_create(&folder).unwrap();
    authority.issue_server(&Names::default(), SystemTime::UNIX_EPOCH).unwrap();
    let identity = ServerIdentity::new(Arc::new(authority), Names::default()).unwrap();
    let before = identity.config();
    identity.prepare_at("127.0.0.1".parse().unwrap(), SystemTime::UNIX_EPOCH);
    // The clock jumps forward to now: the next connection gets a certificate that is valid now.
    identity.prepare_at("127.0.0.1".parse().unwrap(), SystemTime::now());
    assert!(Arc::ptr_eq(&before, &identity.config()));
    let pinned = client_config_pinned(&fs::read_to_string(folder.join("ca.crt")).unwrap()).unwrap();
    handshake(&identity, pinned, SERVER_NAME).unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

/// A clock that stands still.
#[derive(Debug)]
struct Clock(Duration);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}

#[test]
fn a_board_in_1970_trusts_a_server_of_today() {
    let folder = folder("joins-1970");
    let authority = Arc::new(Authority::open_or_create(&folder).unwrap());
    let pinned = client_config_pinned(authority.certificate_pem()).unwrap();
    let identity = ServerIdentity::new(authority, Names::default()).unwrap();
    let at = |since_1970| {
        let mut config = (*pinned).clone();
        config.time_provider = Arc::new(Clock(since_1970));
        handshake(&identity, Arc::new(config), SERVER_NAME)
    };
    at(Duration::from_secs(3)).unwrap();
    // The same seam shows that a certificate is looked at: this one has expired by then.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(matches!(at(now + Duration::from_secs(91 * 24 * 3600)), Err(RustlsError::InvalidCertificate(_))));
    fs::remove_dir_all(&folder).unwrap();
}
