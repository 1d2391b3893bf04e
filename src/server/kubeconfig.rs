//! The admin's kubeconfig: how kubectl finds and enters this cluster.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use data_encoding::BASE64;

use super::Config;
use crate::sys::file;

/// The URL that the kubeconfig names: the advertised address, else the one that is listened on, else
/// loopback, since the file is first of all for this machine.
pub fn server_url(config: &Config, port: u16) -> String {
    let bound = Some(config.bind_address).filter(|address| !address.is_unspecified());
    match config.advertise_address.or(bound).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        IpAddr::V4(address) => format!("https://{address}:{port}"),
        IpAddr::V6(address) => format!("https://[{address}]:{port}"),
    }
}

/// The file's text: one cluster, one user, one context. `secret` is the admin's bearer token.
pub fn render(url: &str, certificate_pem: &str, secret: &str) -> String {
    let authority = BASE64.encode(certificate_pem.as_bytes());
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: midge
  cluster:
    certificate-authority-data: {authority}
    server: {url}
contexts:
- name: midge
  context:
    cluster: midge
    user: midge-admin
current-context: midge
preferences: {{}}
users:
- name: midge-admin
  user:
    token: {secret}
"
    )
}

/// Writes `text` to `path` unless it is there already: a restart writes nothing to flash.
///
/// # Errors
/// Those of the file system, for instance when the root is read-only.
pub fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let same_mode = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o777 == mode);
    if same_mode && fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    file::write_atomic(path, text.as_bytes(), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let mut config = Config::new("/nowhere");
        assert_eq!(server_url(&config, 6443), "https://127.0.0.1:6443");
        config.bind_address = "192.0.2.7".parse().unwrap();
        assert_eq!(server_url(&config, 6443), "https://192.0.2.7:6443");
        config.advertise_address = Some("2001:db8::1".parse().unwrap());
        assert_eq!(server_url(&config, 7), "https://[2001:db8::1]:7");
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = std::env::temp_dir().join(format!("midge-kubeconfig-{}", std::process::id()));
        let path = folder.join("etc/midge.yaml");
        write(&path, "one", 0o600).unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(first.permissions().mode() & 0o777, 0o600);
        write(&path, "one", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino());
        write(&path, "two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        fs::remove_dir_all(&folder).unwrap();
    }
}
