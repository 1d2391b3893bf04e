//! Network configurations (specification, sections 1 and 3).

use super::{Error, Plugins};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A list of plugins to run for every pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub name: String,
    /// `cniVersion`, one of [`VERSIONS`]. Plugins are spoken to in this version.
    pub version: String,
    /// As in the file; each has a `type` that is a file name.
    pub(super) plugins: Vec<Map<String, Value>>,
    /// The file it came from; None for midge's own.
    pub path: Option<PathBuf>,
}

/// midge's own network: a bridge with addresses from the node's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// The network's name.
    pub name: String,
    /// The bridge's interface name, 15 bytes at most.
    pub bridge: String,
    /// The node's pod range, `10.42.0.0/24`.
    pub subnet: String,
    pub mtu: Option<u32>,
    /// Where host-local keeps leases. One for each agent; under the run folder, so that a reboot, which
    /// ends every pod's namespace, ends the leases too.
    pub lease_dir: PathBuf,
}

/// Versions of the specification that midge speaks, oldest first. Older ones have another result.
pub(super) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A file that is larger is no configuration.
const LARGEST: u64 = 1 << 20;

impl Config {
    /// The first of `*.conflist`, `*.conf`, `*.json` in `folder`, by name. None when there is none.
    pub fn load(folder: &Path) -> Result<Option<Config>, Error> {
        let failed = |source| Error::ReadFolder { path: folder.into(), source };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut first: Option<PathBuf> = None;
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let known = path.extension().is_some_and(|e| e == "conflist" || e == "conf" || e == "json");
            if known && path.is_file() && first.as_ref().is_none_or(|f| path < *f) {
                first = Some(path);
            }
        }
        let Some(path) = first else { return Ok(None) };
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        read.map_err(|source| Error::ReadConfig { path: path.clone(), source })?;
        Config::parse(&text, &path).map(Some)
    }

    /// One configuration, a list or a single plugin. `path` is for errors.
    pub fn parse(text: &[u8], path: &Path) -> Result<Config, Error> {
        let invalid = |reason| Error::InvalidConfig { path: path.into(), reason };
        if text.len() as u64 > LARGEST {
            return Err(invalid("it is larger than 1 MiB"));
        }
        let value: Value = serde_json::from_slice(text)
            .map_err(|source| Error::ParseConfig { path: path.into(), source })?;
        let Value::Object(mut map) = value else { return Err(invalid("it is no JSON object")) };
        let version = version(&map).map_err(|version| Error::UnsupportedVersion {
            path: path.into(),
            version: version.to_string(),
        })?;
        let name = map.get("name").and_then(Value::as_str).filter(|name| is_identifier(name));
        let name = name.ok_or_else(|| {
            invalid("its `name` is missing or has other than letters, digits, `.`, `_`, `-`")
        })?;
        let (name, version) = (name.to_string(), version.to_string());
        let listed = match map.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => return Err(invalid("its `plugins` is no list")),
            None => vec![Value::Object(map)],
        };
        let mut plugins = Vec::with_capacity(listed.len());
        for plugin in listed {
            let Value::Object(plugin) = plugin else { return Err(invalid("a plugin is no JSON object")) };
            if kinds(&plugin).is_empty() || kinds(&plugin).iter().any(|kind| !is_file_name(kind)) {
                return Err(invalid("a plugin's `type` is missing or is no file name"));
            }
            plugins.push(plugin);
        }
        if plugins.is_empty() {
            return Err(invalid("it has no plugins"));
        }
        Ok(Config { name, version, plugins, path: Some(path.into()) })
    }

    /// midge's own bridge network. Version 0.4.0, which every plugin of the last years speaks: Debian
    /// 11's know nothing newer, and nothing newer is needed.
    pub fn bridge(options: &BridgeOptions) -> Config {
        let mut bridge = json!({
            "type": "bridge",
            "bridge": options.bridge,
            "isGateway": true,
            // The node may get another range when it joins anew.
            "forceAddress": true,
            // The agent's one rule for the whole range does it; the plugin would make four for each pod.
            "ipMasq": false,
            // A pod reaches itself through a service's address.
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": options.lease_dir,
                "ranges": [[{ "subnet": options.subnet }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        if let Some(mtu) = options.mtu {
            bridge["mtu"] = mtu.into();
        }
        let plugins = bridge.as_object().cloned().into_iter().collect();
        Config { name: options.name.clone(), version: "0.4.0".into(), plugins, path: None }
    }

    /// The same for a pod with host ports: midge's own network gets the plugin that forwards them. A network of
    /// the machine's says itself which plugin does.
    pub fn with_host_ports(&self) -> Config {
        let mut config = self.clone();
        if config.path.is_none() {
            let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true});
            config.plugins.extend(portmap.as_object().cloned());
        }
        config
    }

    /// That each plugin named here (and each address plugin) can be run.
    pub fn check(&self, plugins: &Plugins) -> Result<(), Error> {
        for kind in self.plugins.iter().flat_map(kinds) {
            plugins.find(kind)?;
        }
        Ok(())
    }
}

/// `cniVersions` lists alternatives since 1.1.0; the newest that we speak is taken.
fn version(map: &Map<String, Value>) -> Result<&'static str, &str> {
    // Without one it is 0.1.0, says the specification.
    let named = map.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
    let others = map.get("cniVersions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let offered = |version: &str| version == named || others.iter().any(|other| other == version);
    VERSIONS.into_iter().rev().find(|version| offered(version)).ok_or(named)
}

/// The programs that a plugin's configuration names: its own and its address plugin's.
fn kinds(plugin: &Map<String, Value>) -> Vec<&str> {
    let Some(kind) = plugin.get("type").and_then(Value::as_str) else { return Vec::new() };
    let addresses = plugin.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str);
    // `"ipam": {"type": ""}` means none.
    [Some(kind), addresses.filter(|kind| !kind.is_empty())].into_iter().flatten().collect()
}

/// Names of networks and containers: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// A plugin is searched for in folders; with a slash it would be somewhere else.
fn is_file_name(kind: &str) -> bool {
    !matches!(kind, "" | "." | "..") && !kind.contains(['/', '\0'])
}
