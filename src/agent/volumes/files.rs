//! Files of a volume that change all at once while containers read them: a new folder is written beside the old
//! one, and a link to it renamed. What the container sees are links through that one.
//!
//! ```text
//! key → ..data/key      ..data → ..2026_11_22_15_04_05.7      ..2026_11_22_15_04_05.7/key
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::payload::{File, Payload};
use crate::api::time;

/// The link to the files as they are.
pub const CURRENT: &str = "..data";
const NEXT: &str = "..data_tmp";
const FOLDER_MODE: u32 = 0o755;

/// Brings the files in `folder` to `payload`; writes nothing if they are so. `group` owns and may read them.
pub fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    let current = fs::read_link(folder.join(CURRENT)).ok();
    let is_same = current.as_ref().is_some_and(|name| holds(&folder.join(name), payload, group));
    let current = match current {
        Some(name) if is_same => name,
        _ => {
            let name = write_new(folder, payload, group)?;
            let next = folder.join(NEXT);
            absent_is_fine(fs::remove_file(&next))?;
            symlink(&name, &next)?;
            fs::rename(&next, folder.join(CURRENT))?;
            name
        }
    };
    // Also after a kill in between.
    let shown: BTreeSet<&OsStr> = payload.keys().filter_map(|path| Path::new(path).iter().next()).collect();
    for name in &shown {
        let path = folder.join(name);
        if path.symlink_metadata().is_err() {
            symlink(Path::new(CURRENT).join(name), &path)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let is_ours = name == *CURRENT || name == *current || shown.contains(name.as_os_str());
        if is_ours {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns the name of the new folder.
fn write_new(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<PathBuf> {
    let now = time::format(SystemTime::now()).replace(['-', ':', 'T'], "_").replace('Z', "");
    let mut number = 0;
    let (name, new) = loop {
        let name = format!("..{now}.{number}");
        let path = folder.join(&name);
        match fs::DirBuilder::new().mode(FOLDER_MODE).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            other => break other.map(|()| (name, path))?,
        }
    };
    own_folder(&new, group)?;
    for (path, file) in payload {
        let path = new.join(path);
        let above = path.parent().unwrap_or(&new);
        let missing: Vec<&Path> = above.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            own_folder(folder, group)?;
        }
        fs::write(&path, &file.data)?;
        if group.is_some() {
            chown(&path, None, group)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode(file, group)))?;
    }
    Ok(name.into())
}

fn own_folder(folder: &Path, group: Option<u32>) -> io::Result<()> {
    let mut mode = FOLDER_MODE;
    if group.is_some() {
        chown(folder, None, group)?;
        mode |= 0o2550;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

/// The pod's group may read what its user may.
fn mode(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | 0o440 } else { file.mode }
}

fn holds(folder: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let same = |(path, file): (&String, &File)| {
        let path = folder.join(path);
        let found = path.symlink_metadata().ok()?;
        let fits = found.is_file()
            && found.mode() & 0o7777 == mode(file, group)
            && found.len() == file.data.len() as u64
            && group.is_none_or(|group| found.gid() == group)
            && fs::read(&path).is_ok_and(|data| data == file.data);
        fits.then_some(())
    };
    payload.iter().all(|file| same(file).is_some()) && count(folder).is_ok_and(|files| files == payload.len())
}

/// Files in a folder and below it.
fn count(folder: &Path) -> io::Result<usize> {
    fs::read_dir(folder)?.try_fold(0, |files, entry| {
        let entry = entry?;
        let more = if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
        Ok(files + more)
    })
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        let file = |(path, text, mode): &(&str, &str, u32)| {
            ((*path).to_owned(), File { data: text.as_bytes().to_vec(), mode: *mode })
        };
        files.iter().map(file).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_change_together_and_what_is_the_same_stays() {
        let folder = std::env::temp_dir().join(format!("midge-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let read = |path: &str| fs::read_to_string(folder.join(path));
        let current = || fs::read_link(folder.join(CURRENT)).unwrap();
        let write = |payload: &Payload, group| write(&folder, payload, group).unwrap();

        let first = payload(&[("a", "1", 0o644), ("deep/er/b", "2", 0o400), ("gone", "3", 0o644)]);
        write(&first, None);
        assert_eq!((read("a").unwrap(), read("deep/er/b").unwrap()), ("1".into(), "2".into()));
        assert_eq!(fs::metadata(folder.join("deep/er/b")).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(fs::read_link(folder.join("deep")).unwrap(), Path::new("..data/deep"));
        let before = current();
        assert_eq!(names(&folder).len(), 5);
        write(&first, None);
        assert_eq!(current(), before);

        // As a kill leaves it: the link is new, the rest is not done.
        fs::remove_file(folder.join("a")).unwrap();
        fs::create_dir(folder.join("..old")).unwrap();
        symlink("nowhere", folder.join(NEXT)).unwrap();
        let second = payload(&[("a", "1", 0o644), ("deep/er/b", "other", 0o400), ("new", "", 0o600)]);
        write(&second, None);
        assert_eq!((read("a").unwrap(), read("deep/er/b").unwrap()), ("1".into(), "other".into()));
        assert!(read("gone").is_err());
        let now = current().to_str().unwrap().to_owned();
        assert_eq!(names(&folder), [now.as_str(), CURRENT, "a", "deep", "new"]);

        // A mode, a group, and nothing at all are changes too.
        for (payload, group) in [
            (payload(&[("a", "1", 0o600)]), None),
            (payload(&[("a", "1", 0o600)]), Some(4321)),
            (payload(&[]), Some(4321)),
        ] {
            let before = current();
            write(&payload, group);
            assert_ne!(current(), before);
            if let (Ok(found), Some(group)) = (fs::metadata(folder.join("a")), group) {
                assert_eq!((found.gid(), found.mode() & 0o7777), (group, 0o640));
            }
        }
        assert_eq!(names(&folder).len(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }
}
