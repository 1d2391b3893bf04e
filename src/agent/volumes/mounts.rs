//! What of a pod's volumes one container sees, and where.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, Mount, Problem, list, payload, text};
use crate::api::Object;
use crate::sys::mount::Propagation;
use crate::sys::{beneath, file, host, mount};

/// `folder` is the pod's. Makes the folders that subPaths name and binds them; blocking.
pub fn mounts(
    folder: &Path,
    pod: &Object,
    container: &Value,
    env: &[(String, String)],
) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    for (index, entry) in list(container, "volumeMounts").iter().enumerate() {
        let name = text(entry, "name");
        let one = Wanted { folder, container: text(container, "name"), entry, index };
        let named = |volume: &&Value| text(volume, "name") == name;
        let volume = pod.array_at("/spec/volumes").iter().find(named);
        let made = volume
            .ok_or_else(|| Problem::NoVolume { container: one.container.to_owned() })
            .and_then(|volume| one.mount(volume, env));
        mounts.push(made.map_err(|problem| Error { volume: name.to_owned(), problem })?);
    }
    // A mount in another comes after it.
    mounts.sort_by_key(|mount| Path::new(&mount.destination).components().count());
    Ok(mounts)
}

/// `linux.rootfsPropagation` of a container with these mounts: without it no mount of the container's is seen on the
/// node, nor the other way around.
pub fn root_propagation(mounts: &[Mount]) -> Option<&'static str> {
    let any = |wanted: &str| mounts.iter().any(|mount| mount.options.iter().any(|option| option == wanted));
    if any("rshared") {
        return Some("rshared");
    }
    any("rslave").then_some("rslave")
}

/// One of a container's `volumeMounts`.
struct Wanted<'a> {
    folder: &'a Path,
    container: &'a str,
    entry: &'a Value,
    index: usize,
}

impl Wanted<'_> {
    fn mount(&self, volume: &Value, env: &[(String, String)]) -> Result<Mount, Problem> {
        let source = match volume.pointer("/hostPath/path").and_then(Value::as_str) {
            Some(path) => PathBuf::from(path),
            None => self.folder.join("volumes").join(text(volume, "name")),
        };
        let sub_path = self.sub_path(env)?;
        let source = if sub_path.is_empty() { source } else { self.bound(&source, &sub_path)? };
        let path = text(self.entry, "mountPath");
        let destination = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let options = self.options(volume, &source)?;
        Ok(Mount { destination, source, options })
    }

    fn options(&self, volume: &Value, source: &Path) -> Result<Vec<String>, Problem> {
        let is_read_only = self.entry.get("readOnly") == Some(&Value::Bool(true))
            // The node writes them, the containers read.
            || payload::keeps_in_memory(volume).is_some();
        let can_recurse = host::kernel_version().is_some_and(|version| version >= (5, 12));
        let access = match text(self.entry, "recursiveReadOnly") {
            "Enabled" if !can_recurse => return Err(Problem::Recursive),
            "Enabled" | "IfPossible" if is_read_only && can_recurse => "rro",
            _ if is_read_only => "ro",
            _ => "rw",
        };
        let propagation = match text(self.entry, "mountPropagation") {
            "HostToContainer" => {
                expect(source, "shared or slave", |found| found != Propagation::Private)?;
                "rslave"
            }
            "Bidirectional" => {
                expect(source, "shared", |found| found == Propagation::Shared)?;
                "rshared"
            }
            _ => "rprivate",
        };
        Ok(["rbind", propagation, access].map(str::to_owned).to_vec())
    }

    /// "" for the whole volume.
    fn sub_path(&self, env: &[(String, String)]) -> Result<String, Problem> {
        let expression = text(self.entry, "subPathExpr");
        if expression.is_empty() {
            return Ok(text(self.entry, "subPath").to_owned());
        }
        let path = expand(expression, env)?;
        let refuse = |why: &str| Err(Problem::SubPathText(format!("subPath `{path}` {why}")));
        match path {
            _ if path.starts_with('/') => refuse("must not be an absolute path"),
            _ if path.split('/').any(|part| part == "..") => refuse("must not contain '..'"),
            path => Ok(path),
        }
    }

    /// Binds `path` in the volume to a place of the pod's own, so that no container can change what it leads to
    /// between now and the start.
    fn bound(&self, volume: &Path, path: &str) -> Result<PathBuf, Problem> {
        let name = text(self.entry, "name");
        let folder = self.folder.join("volume-subpaths").join(name).join(self.container);
        let target = folder.join(self.index.to_string());
        let bound = || {
            // A new folder is as open as the volume.
            let mode = volume.metadata()?.mode() & 0o7777;
            let opened = fs::File::from(beneath::open(volume, path, Some(mode))?);
            let wanted = opened.metadata()?;
            let same = |found: &fs::Metadata| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino());
            if target.symlink_metadata().is_ok_and(|found| same(&found)) {
                return Ok(());
            }
            // What an earlier attempt of the container saw.
            mount::unmount(&target)?;
            file::create_private_folder(&folder)?;
            match target.symlink_metadata() {
                Ok(found) if found.is_dir() => fs::remove_dir(&target)?,
                Ok(_) => fs::remove_file(&target)?,
                Err(_) => {}
            }
            if wanted.is_dir() {
                fs::create_dir(&target)?;
            } else {
                fs::File::create_new(&target)?;
            }
            mount::bind(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())), &target)
        };
        bound().map_err(|source| Problem::SubPath { container: self.container.to_owned(), source })?;
        Ok(target)
    }
}

fn expect(source: &Path, wanted: &'static str, fits: impl Fn(Propagation) -> bool) -> Result<(), Problem> {
    let failed = |error| Problem::io("find the mount of", source, error);
    let real = source.canonicalize().map_err(failed)?;
    let (point, found) = mount::propagation(&real).map_err(failed)?;
    if fits(found) { Ok(()) } else { Err(Problem::Propagation { path: source.into(), mount: point, wanted }) }
}

/// [`crate::agent::env::expand`], but every name must have a value.
fn expand(text: &str, env: &[(String, String)]) -> Result<String, Problem> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after.strip_prefix('$').unwrap_or(after);
        let name = after.strip_prefix('(').and_then(|after| after.split_once(')')).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| !env.iter().any(|(known, _)| known == name)) {
            return Err(Problem::SubPathText(format!("missing value for \"{name}\"")));
        }
    }
    Ok(crate::agent::env::expand(text, env))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_sees_what_it_asks_for() {
        let folder = std::env::temp_dir().join(format!("midge-mounts-{}", std::process::id()));
        let pod = json!({"spec": {"volumes": [
            {"name": "host", "hostPath": {"path": "/srv"}},
            {"name": "data", "emptyDir": {}},
            {"name": "map", "configMap": {"name": "map"}},
        ]}});
        let pod = Object::from_value(pod).unwrap();
        let container = json!({"name": "main", "volumeMounts": [
            {"name": "data", "mountPath": "/a/b"},
            {"name": "host", "mountPath": "/a", "readOnly": true},
            {"name": "map", "mountPath": "etc/map"},
        ]});
        let found = mounts(&folder, &pod, &container, &[]).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|mount| {
                format!("{} {} {}", mount.destination, mount.source.display(), mount.options.join(","))
            })
            .collect();
        let volumes = folder.join("volumes");
        assert_eq!(
            shown,
            [
                "/a /srv rbind,rprivate,ro".to_owned(),
                format!("/a/b {} rbind,rprivate,rw", volumes.join("data").display()),
                format!("/etc/map {} rbind,rprivate,ro", volumes.join("map").display()),
            ]
        );
        let missing = json!({"name": "main", "volumeMounts": [{"name": "no", "mountPath": "/a"}]});
        let error = mounts(&folder, &pod, &missing, &[]).unwrap_err();
        assert_eq!(error.to_string(), "the pod has no volume \"no\" for container \"main\"");
    }

    #[test]
    fn expressions_need_all_their_values() {
        let env =
            [("NAME", "web"), ("UP", ".."), ("ROOT", "/etc")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let entry = |expression: &str| json!({"name": "data", "subPathExpr": expression});
        for (expression, wanted) in [
            ("$(NAME)/logs", Ok("web/logs")),
            ("a$$(NAME)", Ok("a$(NAME)")),
            ("$(NOBODY)", Err("missing value for \"NOBODY\"")),
            ("x/$(UP)/y", Err("subPath `x/../y` must not contain '..'")),
            ("$(ROOT)", Err("subPath `/etc` must not be an absolute path")),
        ] {
            let entry = entry(expression);
            let one = Wanted { folder: Path::new("/"), container: "main", entry: &entry, index: 0 };
            let found = one.sub_path(&env).map_err(|problem| problem.to_string());
            assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned), "{expression}");
        }
    }
}
