//! Floor 1: CNI plugins, run as the specification (v1.0.0) says.
//!
//! Specification: <https://www.cni.dev/docs/spec/>. The agent is the runtime of it: it derives each
//! plugin's configuration, hands results on, and keeps them for DEL.

mod cache;
mod config;
mod error;
mod exec;
mod result;

pub use config::{BridgeOptions, Config};
pub use error::Error;
pub use exec::Plugins;
pub use result::{Attached, Interface, IpConfig};

use crate::sys::namespace::is_namespace;
use cache::Record;
use exec::Run;
use serde_json::{Map, Value};
use std::path::Path;

/// One interface of one pod.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Letters, digits, `.`, `_`, `-`; the pod's uid.
    pub container_id: &'a str,
    /// The pinned network namespace. For [`Config::del`] it may be gone.
    pub netns: &'a Path,
    /// `eth0`.
    pub ifname: &'a str,
    /// `CNI_ARGS`, for instance `K8S_POD_NAME`. `IgnoreUnknown=1` is put before them.
    pub args: &'a [(&'a str, &'a str)],
    /// Values by capability (`portMappings`, `bandwidth` …); a plugin gets those it declares.
    pub runtime: &'a [(&'a str, Value)],
    /// Where results are kept between ADD and DEL.
    pub cache_dir: &'a Path,
}

impl Config {
    /// Runs every plugin's ADD in order and keeps the result in the cache folder. After an error, what
    /// was added is deleted again. An interface that is there already makes plugins fail: see
    /// [`cached`], and call [`Config::del`] first.
    pub async fn add(&self, plugins: &Plugins, attachment: &Attachment<'_>) -> Result<Attached, Error> {
        attachment.check()?;
        self.check(plugins)?;
        let path = attachment.cache_path();
        let mut record = Record::new(self, attachment);
        // Written first: an agent that is killed in between must know that there is something to delete.
        cache::write(&path, &record)?;
        let added = match run_add(self, plugins, attachment, &record).await {
            Ok((attached, result)) => {
                record.result = Some(result);
                cache::write(&path, &record).map(|()| attached)
            }
            Err(error) => Err(error),
        };
        if added.is_err() {
            // A lease that is left over makes the next ADD fail ("duplicate allocation"). When this
            // fails as well the record stays, for a later DEL.
            for error in self.del(plugins, attachment).await.err().unwrap_or_default() {
                log::warn!("network of {}: after a failed ADD: {error}", attachment.container_id);
            }
        }
        added
    }

    /// [`del`], with this configuration where the recorded one is damaged.
    pub async fn del(&self, plugins: &Plugins, attachment: &Attachment<'_>) -> Result<(), Vec<Error>> {
        del(plugins, attachment, Some(self)).await
    }
}

/// Runs every plugin's DEL in reverse order with the configuration, arguments and result that ADD was
/// given, and forgets them when all have succeeded. Goes on past failures and returns all of them.
/// Fine when nothing was added. `today` is used when what was recorded can't be understood.
pub async fn del(
    plugins: &Plugins,
    attachment: &Attachment<'_>,
    today: Option<&Config>,
) -> Result<(), Vec<Error>> {
    attachment.check().map_err(|error| vec![error])?;
    let path = attachment.cache_path();
    let read = cache::read(&path).map_err(|error| vec![error])?;
    let Some(record) = read else { return Ok(()) };
    let record = record.or_else(|| today.map(|config| Record::new(config, attachment)));
    let mut errors = Vec::new();
    if let Some(record) = record {
        let config = record.config();
        // The previous result is part of DEL since 0.4.0.
        let result = record.result.as_ref().filter(|_| !config.version.starts_with("0.3."));
        for plugin in config.plugins.iter().rev() {
            let input = derive(&config, plugin, &record.runtime, result);
            errors.extend(run_one(plugins, plugin, "DEL", attachment, &record.args, &input).await.err());
        }
    }
    if errors.is_empty() {
        errors.extend(cache::remove(&path).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The result of an earlier, finished ADD.
pub fn cached(cache_dir: &Path, container_id: &str, ifname: &str) -> Result<Option<Attached>, Error> {
    let record = cache::read(&cache::path(cache_dir, container_id, ifname))?.flatten();
    let result = record.and_then(|record| record.result);
    Ok(result.and_then(|result| Attached::parse(&result).ok()))
}

/// Container ids with anything in `cache_dir`, finished or not, sorted.
pub fn cached_ids(cache_dir: &Path) -> Result<Vec<String>, Error> {
    cache::ids(cache_dir)
}

async fn run_add(
    config: &Config,
    plugins: &Plugins,
    attachment: &Attachment<'_>,
    record: &Record,
) -> Result<(Attached, Value), Error> {
    let mut outcome: Option<(Attached, Value)> = None;
    for plugin in &config.plugins {
        let previous = outcome.as_ref().map(|(_, result)| result);
        let input = derive(config, plugin, &record.runtime, previous);
        let answer = run_one(plugins, plugin, "ADD", attachment, &record.args, &input).await?;
        let named = || kind(plugin).to_string();
        let result: Value = serde_json::from_slice(&answer)
            .map_err(|source| Error::ParseResult { plugin: named(), source })?;
        let attached =
            Attached::parse(&result).map_err(|reason| Error::InvalidResult { plugin: named(), reason })?;
        outcome = Some((attached, result));
    }
    // Parsing refuses a list without plugins.
    outcome.ok_or_else(|| Error::InvalidResult { plugin: config.name.clone(), reason: "no plugin ran" })
}

async fn run_one(
    plugins: &Plugins,
    plugin: &Map<String, Value>,
    command: &'static str,
    attachment: &Attachment<'_>,
    args: &str,
    input: &Map<String, Value>,
) -> Result<Vec<u8>, Error> {
    let named = kind(plugin);
    let stdin = serde_json::to_vec(input)
        .map_err(|error| Error::Talk { plugin: named.into(), source: error.into() })?;
    // DEL after a reboot: the namespace is gone, which plugins are told by an empty name.
    let netns = if is_namespace(attachment.netns) { attachment.netns.into() } else { Default::default() };
    let (container_id, ifname) = (attachment.container_id, attachment.ifname);
    plugins.run(named, Run { command, container_id, netns, ifname, args, stdin: &stdin }).await
}

fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Section 3, "Deriving runtime configuration from plugin configuration".
fn derive(
    config: &Config,
    plugin: &Map<String, Value>,
    runtime: &Map<String, Value>,
    previous: Option<&Value>,
) -> Map<String, Value> {
    let mut derived = plugin.clone();
    derived.insert("cniVersion".into(), config.version.as_str().into());
    derived.insert("name".into(), config.name.as_str().into());
    let declared = derived.remove("capabilities");
    let wanted =
        |name: &str| declared.as_ref().and_then(|d| d.get(name)).and_then(Value::as_bool) == Some(true);
    let values: Map<_, _> =
        runtime.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    if !values.is_empty() {
        derived.insert("runtimeConfig".into(), Value::Object(values));
    }
    if let Some(previous) = previous {
        derived.insert("prevResult".into(), previous.clone());
    }
    derived
}

impl Attachment<'_> {
    /// What the plugins would misread, or a path would.
    fn check(&self) -> Result<(), Error> {
        let invalid = |what, value: &str| Err(Error::InvalidAttachment { what, value: value.into() });
        if !config::is_identifier(self.container_id) {
            return invalid("container id", self.container_id);
        }
        let reserved = |c: char| c == '/' || c == ':' || c.is_whitespace();
        if matches!(self.ifname, "" | "." | "..") || self.ifname.len() > 15 || self.ifname.contains(reserved)
        {
            return invalid("interface name", self.ifname);
        }
        match self.args.iter().flat_map(|(name, value)| [name, value]).find(|text| text.contains([';', '=']))
        {
            Some(text) => invalid("CNI_ARGS value", text),
            None => Ok(()),
        }
    }

    fn cni_args(&self) -> String {
        // Without it, plugins refuse arguments that they don't know.
        let mut args = String::from("IgnoreUnknown=1");
        for (name, value) in self.args {
            args.push_str(&format!(";{name}={value}"));
        }
        args
    }

    fn cache_path(&self) -> std::path::PathBuf {
        cache::path(self.cache_dir, self.container_id, self.ifname)
    }
}

#[cfg(test)]
mod tests;
