//! Which files a volume has that is made of objects: configMap, secret, downwardAPI, projected.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::Value;

use super::tokens::Tokens;
use super::{Problem, downward, list, text};
use crate::agent::configs::{Configs, Kind};
use crate::agent::node::Resources;
use crate::api::Object;

/// By path in the volume.
pub type Payload = BTreeMap<String, File>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
}

const DEFAULT_MODE: u32 = 0o644;

/// Whether the files of such a volume are never on a disk; None for other volumes.
pub fn keeps_in_memory(volume: &Value) -> Option<bool> {
    let has = |source: &str| volume.get(source).is_some_and(|source| !source.is_null());
    if has("configMap") {
        return Some(false);
    }
    ["secret", "downwardAPI", "projected"].into_iter().any(has).then_some(true)
}

/// Where the files come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub configs: &'a Configs,
    pub tokens: &'a Tokens,
    /// Whether a token that is not there is an error.
    pub with_tokens: bool,
    pub allocatable: &'a Resources,
}

/// The files as they are to be now.
pub fn payload(
    pod: &Object,
    volume: &Value,
    sources: Sources<'_>,
    fs_group: Option<u32>,
) -> Result<Payload, Problem> {
    let mut maker = Maker { pod, sources, fs_group, mode: DEFAULT_MODE, files: Payload::new() };
    for kind in ["configMap", "secret", "downwardAPI", "projected"] {
        let Some(source) = volume.get(kind).filter(|source| !source.is_null()) else { continue };
        maker.mode = mode(source, "defaultMode").unwrap_or(DEFAULT_MODE);
        match kind {
            "configMap" => maker.object(Kind::ConfigMap, text(source, "name"), source)?,
            "secret" => maker.object(Kind::Secret, text(source, "secretName"), source)?,
            "downwardAPI" => maker.downward(source)?,
            _ => list(source, "sources").iter().try_for_each(|source| maker.projection(source))?,
        }
    }
    Ok(maker.files)
}

struct Maker<'a> {
    pod: &'a Object,
    sources: Sources<'a>,
    fs_group: Option<u32>,
    /// Of files that have none of their own.
    mode: u32,
    files: Payload,
}

impl Maker<'_> {
    fn projection(&mut self, source: &Value) -> Result<(), Problem> {
        for (kind, source) in source.as_object().into_iter().flatten().filter(|(_, source)| !source.is_null())
        {
            match kind.as_str() {
                "configMap" => self.object(Kind::ConfigMap, text(source, "name"), source)?,
                "secret" => self.object(Kind::Secret, text(source, "name"), source)?,
                "downwardAPI" => self.downward(source)?,
                "serviceAccountToken" => self.token(source)?,
                other => return Err(Problem::Unsupported(format!("projected.{other}"))),
            }
        }
        Ok(())
    }

    /// The keys of a ConfigMap or Secret: all of them, or those that are listed.
    fn object(&mut self, kind: Kind, name: &str, source: &Value) -> Result<(), Problem> {
        let is_optional = source.get("optional") == Some(&Value::Bool(true));
        let Some(object) = self.sources.configs.get(kind, self.pod.namespace(), name) else {
            if is_optional {
                return Ok(());
            }
            return Err(Problem::NotFound { kind, name: name.to_owned() });
        };
        let items = list(source, "items");
        if items.is_empty() {
            let maps = ["/data", "/binaryData"].map(|pointer| object.map_at(pointer));
            for key in maps.into_iter().flatten().flat_map(|map| map.keys()) {
                if let Some(data) = value(kind, &object, key) {
                    self.add(key, data, None)?;
                }
            }
        }
        for item in items {
            match value(kind, &object, text(item, "key")) {
                Some(data) => self.add(text(item, "path"), data, mode(item, "mode"))?,
                None if is_optional => {}
                None => return Err(Problem::Key { kind, key: text(item, "key").to_owned() }),
            }
        }
        Ok(())
    }

    fn token(&mut self, source: &Value) -> Result<(), Problem> {
        let seconds = source.get("expirationSeconds").and_then(Value::as_u64).unwrap_or(3600);
        let token = self.sources.tokens.get(self.pod, text(source, "audience"), seconds);
        let token = match token {
            Err(_) if !self.sources.with_tokens => return Ok(()),
            token => token.map_err(Problem::Token)?,
        };
        // For the pod's group alone if it has one, as the kubelet does.
        let mode = self.fs_group.map(|_| 0o600);
        self.add(text(source, "path"), token.into_bytes(), mode)
    }

    fn downward(&mut self, source: &Value) -> Result<(), Problem> {
        for item in list(source, "items") {
            let data = downward::value(self.pod, item, self.sources.allocatable).map_err(Problem::Field)?;
            self.add(text(item, "path"), data.into_bytes(), mode(item, "mode"))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &str, data: Vec<u8>, mode: Option<u32>) -> Result<(), Problem> {
        if !stays_inside(path) {
            return Err(Problem::Path(path.to_owned()));
        }
        // The same file, however its path is written.
        let path: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        self.files.insert(path.join("/"), File { data, mode: mode.unwrap_or(self.mode) });
        Ok(())
    }
}

/// Names that begin with two points are the volume's own.
fn stays_inside(path: &str) -> bool {
    let has_name = path.split('/').any(|part| !matches!(part, "" | "."));
    has_name
        && !path.starts_with("..")
        && !path.starts_with('/')
        && !path.split('/').any(|part| part == "..")
        && path.split('/').find(|part| !matches!(*part, "" | ".")).is_none_or(|part| !part.starts_with(".."))
        && !path.contains('\0')
}

fn value(kind: Kind, object: &Object, key: &str) -> Option<Vec<u8>> {
    let text = |map: &str| object.map_at(map)?.get(key)?.as_str();
    let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
    match kind {
        Kind::Secret => text("/data").and_then(decode),
        _ => match text("/data") {
            Some(text) => Some(text.as_bytes().to_vec()),
            None => text("/binaryData").and_then(decode),
        },
    }
}

fn mode(value: &Value, key: &str) -> Option<u32> {
    let mode = value.get(key).and_then(Value::as_u64)?;
    u32::try_from(mode).ok().map(|mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::configs::Pending;
    use serde_json::json;
    use smol::future::block_on;

    #[test]
    fn files_of_objects() {
        let folder = std::env::temp_dir().join(format!("midge-payload-{}", std::process::id()));
        let configs = Configs::new(folder.clone());
        let mut pending = Pending::default();
        let map = json!({"data": {"a": "one", "b": "two"}, "binaryData": {"c": "AP8="}});
        pending.put(Kind::ConfigMap, "default", "map", map.to_string().into_bytes());
        pending.put(Kind::Secret, "default", "secret", br#"{"data":{"key":"cHN0"}}"#.to_vec());
        block_on(configs.apply(pending));
        let pod = json!({"metadata": {"namespace": "default", "name": "web", "labels": {"app": "x"}}});
        let pod = Object::from_value(pod).unwrap();
        let (tokens, allocatable) = (Tokens::default(), Resources::default());
        let sources =
            Sources { configs: &configs, tokens: &tokens, with_tokens: true, allocatable: &allocatable };
        let files = |volume: Value| {
            let shown = |(path, file): (String, File)| {
                format!("{path}={}:{:o}", String::from_utf8_lossy(&file.data), file.mode)
            };
            let files = payload(&pod, &volume, sources, None).map_err(|problem| problem.to_string());
            files.map_or_else(
                |error| error,
                |files| files.into_iter().map(shown).collect::<Vec<_>>().join(" "),
            )
        };
        let escape =
            |path: &str| json!({"configMap": {"name": "map", "items": [{"key": "a", "path": path}]}});
        for (volume, wanted) in [
            (json!({"configMap": {"name": "map"}}), "a=one:644 b=two:644 c=\0\u{fffd}:644"),
            (
                json!({"configMap": {"name": "map", "defaultMode": 0o400, "items": [
                    {"key": "a", "path": "x/./y"}, {"key": "b", "path": "z", "mode": 0o755}]}}),
                "x/y=one:400 z=two:755",
            ),
            (
                json!({"configMap": {"name": "map", "items": [{"key": "no", "path": "x"}]}}),
                "configmap references non-existent config key: no",
            ),
            (
                json!({"configMap": {"name": "map", "optional": true, "items": [{"key": "no", "path": "x"}]}}),
                "",
            ),
            (json!({"configMap": {"name": "no"}}), "configmap \"no\" not found"),
            (json!({"configMap": {"name": "no", "optional": true}}), ""),
            (json!({"secret": {"secretName": "secret"}}), "key=pst:644"),
            (json!({"secret": {"secretName": "no"}}), "secret \"no\" not found"),
            (
                json!({"secret": {"secretName": "secret", "items": [{"key": "no", "path": "x"}]}}),
                "references non-existent secret key: no",
            ),
            (
                json!({"projected": {"defaultMode": 0o440, "sources": [
                    {"configMap": {"name": "map", "items": [{"key": "a", "path": "m/a"}]}},
                    {"secret": {"name": "secret"}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o444}]}},
                ]}}),
                "key=pst:440 labels=app=\"x\":444 m/a=one:440",
            ),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
                "failed to fetch token: the server has not given it yet",
            ),
        ] {
            assert_eq!(files(volume.clone()), wanted, "{volume}");
        }
        for path in ["../x", "/x", "x/../../y", "..data", "./..data", "", ".", "..x/y"] {
            assert!(files(escape(path)).contains("invalid path"), "{path}: {}", files(escape(path)));
        }
        assert_eq!(files(escape("x/..y")), "x/..y=one:644");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
