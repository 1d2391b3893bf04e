//! Persistent volumes: folders of this node that outlive pods. In the pod's folder there is a symbolic link to them.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::{Problem, host_path};
use crate::agent::configs::{Configs, Kind};
use crate::api::{Object, Status};
use crate::link::{ReclaimRequest, Stream, StreamError};
use crate::sys::{file, mount, ownership};

/// Makes the folder of a volume that is kept in `storage`, checks that of any other, and links it at `path`.
pub fn set_up(
    configs: &Configs,
    storage: &Path,
    pod: &Object,
    source: &Value,
    path: &Path,
    fs_group: Option<u32>,
) -> Result<(), Problem> {
    let claim = super::text(source, "claimName");
    let volume = configs.get(Kind::PersistentVolumeClaim, pod.namespace(), claim);
    let volume = volume
        .ok_or_else(|| Problem::NotFound { kind: Kind::PersistentVolumeClaim, name: claim.to_owned() })?;
    let folder = match volume.at("/spec/hostPath") {
        Some(source) => {
            host_path::check(source)?;
            PathBuf::from(super::text(source, "path"))
        }
        None => {
            let folder = PathBuf::from(volume.str_at("/spec/local/path"));
            if is_kept_in(storage, &folder) {
                create(&folder).map_err(|source| Problem::io("create", &folder, source))?;
            }
            host_path::check(&serde_json::json!({"path": folder, "type": "Directory"}))?;
            // Once a pod: the link says that it was done. What runs may have made files of its own since.
            let is_done = fs::read_link(path).is_ok_and(|target| target == folder);
            if let Some(group) = fs_group.filter(|_| !is_done) {
                let only_if_differs =
                    pod.str_at("/spec/securityContext/fsGroupChangePolicy") == "OnRootMismatch";
                ownership::give(&folder, group, only_if_differs)
                    .map_err(|source| Problem::io("give to the pod's group", &folder, source))?;
            }
            folder
        }
    };
    link(&folder, path).map_err(|source| Problem::io("link", path, source))
}

/// Removes the folder of a volume that nobody claims any more.
pub async fn reclaim(storage: &Path, request: ReclaimRequest, stream: Stream) -> Result<(), StreamError> {
    let folder = PathBuf::from(&request.path);
    let removed = if is_kept_in(storage, &folder) {
        let (kept, storage) = (folder, storage.to_path_buf());
        log::info!("removing volume {}: `{}`", request.volume, kept.display());
        smol::unblock(move || remove(&storage, &kept)).await
    } else {
        Err(io::Error::other(format!("it is not in this node's `{}`", storage.display())))
    };
    let status = match removed {
        Ok(()) => Vec::new(),
        Err(error) => Status::internal(format!("`{}`: {error}", request.path)).to_vec(),
    };
    stream.end(&status).await
}

/// Right below the storage folder, under a plain name.
fn is_kept_in(storage: &Path, folder: &Path) -> bool {
    let below = folder.strip_prefix(storage).map(|rest| rest.components().collect::<Vec<_>>());
    matches!(below.as_deref(), Ok([Component::Normal(_)]))
}

/// A folder that any user may write, as the claim may be used by any.
fn create(folder: &Path) -> io::Result<()> {
    if folder.symlink_metadata().is_ok() {
        return Ok(());
    }
    let storage = folder.parent().unwrap_or(folder);
    // Others may pass, so that a container's own user can, and may not look around.
    fs::create_dir_all(storage)?;
    fs::set_permissions(storage, fs::Permissions::from_mode(0o711))?;
    let new = storage.join(format!(".{}", super::file_name(folder)));
    match fs::create_dir(&new) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(0o777))?;
    fs::rename(&new, folder)?;
    file::sync_folder(storage)
}

/// Renamed first: what is half removed is nobody's volume.
fn remove(storage: &Path, folder: &Path) -> io::Result<()> {
    let going = storage.join(format!(".{}.removed", super::file_name(folder)));
    match fs::rename(folder, &going) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed?,
    }
    // Not what somebody has mounted in it.
    mount::remove_folder(&going)?;
    match file::sync_folder(storage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn link(folder: &Path, path: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|target| target == folder) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        file::create_private_folder(parent)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(folder, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_folder_is_made_linked_and_removed() {
        let root = std::env::temp_dir().join(format!("midge-claim-{}", std::process::id()));
        let (storage, path) = (root.join("storage"), root.join("pod/volumes/data"));
        let configs = Configs::new(root.join("configs"));
        let kept = storage.join("pvc-1_shop_data");
        let volume = json!({"metadata": {"uid": "1"}, "spec": {"local": {"path": kept}}});
        let mut pending = crate::agent::configs::Pending::default();
        pending.put(Kind::PersistentVolumeClaim, "shop", "data", volume.to_string().into_bytes());
        smol::block_on(configs.apply(pending.take()));
        let pod = Object::from_value(json!({"metadata": {"namespace": "shop", "name": "web"}})).unwrap();
        let source = |claim: &str| json!({"claimName": claim});
        for _ in 0..2 {
            set_up(&configs, &storage, &pod, &source("data"), &path, None).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o777);
        }
        fs::write(path.join("kept"), "x").unwrap();
        let another = root.join("pod/volumes/again");
        set_up(&configs, &storage, &pod, &source("data"), &another, Some(2000)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&kept.join("kept").metadata().unwrap()), 2000);
        let missing = set_up(&configs, &storage, &pod, &source("none"), &path, None).unwrap_err();
        assert_eq!(missing.to_string(), "persistentvolumeclaim \"none\" is not bound to a volume");
        for _ in 0..2 {
            remove(&storage, &kept).unwrap();
            assert_eq!(fs::read_dir(&storage).unwrap().count(), 0);
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn nothing_else_is_removed() {
        let storage = Path::new("/data/storage");
        for (folder, expected) in [
            ("/data/storage/pvc-1", true),
            ("/data/storage", false),
            ("/data/storage/", false),
            ("/data/storage/..", false),
            ("/data/storage/../agent", false),
            ("/data/storage/a/b", false),
            ("/etc", false),
            ("", false),
        ] {
            assert_eq!(is_kept_in(storage, Path::new(folder)), expected, "{folder}");
        }
    }
}
