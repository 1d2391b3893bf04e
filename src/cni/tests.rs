use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A folder with plugins that are shell scripts, removed at the end. One at a time: a script that was
/// just written can't be run while the child of another test's fork still holds it open for writing.
struct Folder(PathBuf, #[allow(dead_code)] MutexGuard<'static, ()>);

static TURN: Mutex<()> = Mutex::new(());

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("midge-cni-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path, TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Each run appends its command and input to `log`, then the script runs.
    fn plugin(&self, name: &str, script: &str) -> &Folder {
        let path = self.0.join(name);
        let log = self.0.join("log");
        let text = format!(
            "#!/bin/sh\ninput=$(cat)\necho \"{name} $CNI_COMMAND $CNI_ARGS $input\" >>{}\n{script}\n",
            log.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn plugins(&self) -> Plugins {
        Plugins::new(vec![self.0.clone()])
    }

    /// Plugin, command and input of each run so far.
    fn runs(&self) -> Vec<(String, String, Value)> {
        let text = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        let parse = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap().to_string();
            let (name, command, _args) = (word(), word(), word());
            (name, command, serde_json::from_str(&word()).unwrap())
        };
        text.lines().map(parse).collect()
    }

    fn commands(&self) -> Vec<String> {
        self.runs().iter().map(|(name, command, _)| format!("{name} {command}")).collect()
    }

    fn attachment(&self) -> Attachment<'_> {
        Attachment {
            container_id: "pod-1",
            netns: Path::new("/proc/self/ns/net"),
            ifname: "eth0",
            args: &[("K8S_POD_NAME", "web")],
            runtime: &[],
            cache_dir: &self.0,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ANSWER: &str = r#"[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.1.0.2/24","gateway":"10.1.0.1"}],"more":1}'"#;

fn parse(value: Value) -> Result<Config, Error> {
    Config::parse(value.to_string().as_bytes(), Path::new("/etc/cni/net.d/10-test.conflist"))
}

fn chain(version: &str) -> Config {
    parse(json!({"cniVersion": version, "name": "net", "plugins": [
        {"type": "first", "capabilities": {"portMappings": true}}, {"type": "second"}]}))
    .unwrap()
}

#[test]
fn hands_results_on_and_back() {
    let folder = Folder::new("chain");
    folder.plugin("first", ANSWER).plugin("second", ANSWER);
    let plugins = folder.plugins();
    let runtime = [("portMappings", json!([1])), ("bandwidth", json!({}))];
    let attachment = Attachment { runtime: &runtime, ..folder.attachment() };
    let config = chain("0.4.0");
    let attached = smol::block_on(config.add(&plugins, &attachment)).unwrap();
    assert_eq!(attached.ips[0].address, "10.1.0.2".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(cached(&folder.0, "pod-1", "eth0").unwrap(), Some(attached));
    assert_eq!(cached_ids(&folder.0).unwrap(), ["pod-1"]);

    // The configuration on disk is another by now: DEL gets the one of ADD.
    let other = parse(json!({"cniVersion": "1.0.0", "name": "other", "type": "absent"})).unwrap();
    smol::block_on(other.del(&plugins, &attachment)).unwrap();
    smol::block_on(other.del(&plugins, &attachment)).unwrap();
    assert_eq!(folder.commands(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    let inputs: Vec<Value> = folder.runs().into_iter().map(|(_, _, input)| input).collect();
    assert_eq!(inputs[0]["runtimeConfig"], json!({"portMappings": [1]}), "only what it declares");
    assert!(inputs[0].get("capabilities").is_none() && inputs[0].get("prevResult").is_none());
    assert_eq!((&inputs[1]["name"], &inputs[1]["cniVersion"]), (&json!("net"), &json!("0.4.0")));
    for input in &inputs[1..] {
        assert_eq!(input["prevResult"]["more"], 1, "unknown fields survive");
    }
    assert_eq!(cached_ids(&folder.0).unwrap(), [] as [&str; 0]);
    let log = fs::read_to_string(folder.0.join("log")).unwrap();
    assert!(log.lines().all(|line| line.contains(" IgnoreUnknown=1;K8S_POD_NAME=web ")));
}

#[test]
fn version_0_3_has_no_result_in_del() {
    let folder = Folder::new("old");
    folder.plugin("first", ANSWER).plugin("second", ANSWER);
    let config = chain("0.3.1");
    smol::block_on(config.add(&folder.plugins(), &folder.attachment())).unwrap();
    smol::block_on(config.del(&folder.plugins(), &folder.attachment())).unwrap();
    assert!(folder.runs()[2].2.get("prevResult").is_none());
}

#[test]
fn a_failed_add_is_deleted_everywhere() {
    let folder = Folder::new("fail");
    let refuse = r#"[ $CNI_COMMAND = DEL ] || { echo '{"code":11,"msg":"no","details":"why"}'; exit 1; }"#;
    folder.plugin("first", ANSWER).plugin("second", refuse);
    let error = smol::block_on(chain("1.0.0").add(&folder.plugins(), &folder.attachment())).unwrap_err();
    assert_eq!(error.to_string(), "CNI plugin `second` failed to ADD: no (code 11): why");
    assert_eq!(folder.commands(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    assert!(cached_ids(&folder.0).unwrap().is_empty());
}

#[test]
fn a_failed_del_goes_on_and_can_be_repeated() {
    let folder = Folder::new("del");
    folder.plugin("first", ANSWER).plugin("second", ANSWER);
    let (config, plugins) = (chain("1.0.0"), folder.plugins());
    smol::block_on(config.add(&plugins, &folder.attachment())).unwrap();
    folder.plugin("second", "echo broken >&2; exit 3");
    let errors = smol::block_on(config.del(&plugins, &folder.attachment())).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "CNI plugin `second` failed to DEL with code 3: broken");
    folder.plugin("second", ANSWER);
    smol::block_on(config.del(&plugins, &folder.attachment())).unwrap();
    assert_eq!(folder.commands()[2..], ["second DEL", "first DEL", "second DEL", "first DEL"]);
}

#[test]
fn an_add_that_was_cut_off_is_deleted() {
    let folder = Folder::new("cut");
    folder.plugin("first", ANSWER).plugin("second", "[ $CNI_COMMAND = DEL ] || exec sleep 60");
    let (config, plugins) = (chain("0.4.0"), folder.plugins());
    smol::block_on(async {
        let attachment = folder.attachment();
        let add = config.add(&plugins, &attachment);
        let dropped = futures_lite::future::or(async { drop(add.await) }, async {
            smol::Timer::after(Duration::from_millis(500)).await;
        });
        dropped.await;
    });
    assert_eq!(cached(&folder.0, "pod-1", "eth0").unwrap(), None);
    assert_eq!(cached_ids(&folder.0).unwrap(), ["pod-1"], "somebody has to delete it");
    smol::block_on(config.del(&plugins, &folder.attachment())).unwrap();
    assert_eq!(folder.commands()[2..], ["second DEL", "first DEL"]);
}

#[test]
fn tells_how_a_plugin_ended() {
    let folder = Folder::new("ends");
    let single = parse(json!({"cniVersion": "1.0.0", "name": "net", "type": "one"})).unwrap();
    let add = |script: &str| {
        folder.plugin("one", &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}"));
        let plugins = folder.plugins().with_deadline(Duration::from_secs(1));
        let error = smol::block_on(single.add(&plugins, &folder.attachment())).unwrap_err();
        error.to_string()
    };
    assert_eq!(add("kill -9 $$"), "CNI plugin `one` was killed by signal 9 during ADD");
    let started = Instant::now();
    assert_eq!(add("exec sleep 30"), "CNI plugin `one` was not done with ADD after 1 s");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(add("head -c 300000 /dev/zero"), "CNI plugin `one` answered with more than 262144 bytes");
    assert_eq!(add("echo hello"), "CNI plugin `one` answered with no JSON result");
    assert_eq!(
        add(r#"echo '{"ips":[{"address":"10.1.0.2"}]}'"#),
        "CNI plugin `one` answered with an invalid result: an `address` is not of the form 10.42.0.2/24"
    );
}

#[test]
fn a_damaged_record_is_deleted_with_todays_configuration() {
    let folder = Folder::new("damaged");
    folder.plugin("first", ANSWER).plugin("second", ANSWER);
    fs::write(folder.0.join("pod-1@eth0.json"), "{\"ver").unwrap();
    assert_eq!(cached(&folder.0, "pod-1", "eth0").unwrap(), None);
    smol::block_on(chain("1.0.0").del(&folder.plugins(), &folder.attachment())).unwrap();
    assert_eq!(folder.commands(), ["second DEL", "first DEL"]);
}

#[test]
fn names_the_missing_plugin_and_the_way_out() {
    let folder = Folder::new("missing");
    let options = BridgeOptions {
        name: "midge".into(),
        bridge: "midge0".into(),
        subnet: "10.42.0.0/24".into(),
        mtu: Some(1400),
        lease_dir: "/run/midge/leases".into(),
    };
    folder.plugin("bridge", ANSWER);
    let text = Config::bridge(&options).check(&folder.plugins()).unwrap_err().to_string();
    assert!(text.contains("`host-local`") && text.contains("containernetworking-plugins"), "{text}");
    assert!(text.contains(folder.0.to_str().unwrap()), "{text}");
}

#[test]
fn takes_the_first_configuration_by_name() {
    let folder = Folder::new("conf");
    assert_eq!(Config::load(&folder.0.join("absent")).unwrap(), None);
    assert_eq!(Config::load(&folder.0).unwrap(), None);
    fs::write(folder.0.join("00.txt"), "no").unwrap();
    fs::write(folder.0.join("20.conflist"), "no").unwrap();
    fs::write(folder.0.join("10.conf"), r#"{"cniVersion":"0.3.1","name":"a","type":"ptp"}"#).unwrap();
    let config = Config::load(&folder.0).unwrap().unwrap();
    assert_eq!((config.name.as_str(), config.version.as_str()), ("a", "0.3.1"));
    assert_eq!(config.path, Some(folder.0.join("10.conf")));
}

#[test]
fn speaks_the_newest_version_that_is_offered() {
    let version = |value: Value| parse(value).map(|config| config.version);
    let both = json!({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "9.0.0"], "name": "a", "type": "b"});
    assert_eq!(version(both).unwrap(), "1.0.0");
    let error = version(json!({"cniVersion": "0.2.0", "name": "a", "type": "b"})).unwrap_err().to_string();
    assert!(error.contains("cniVersion `0.2.0`") && error.contains("1.0.0"), "{error}");
    assert!(matches!(version(json!({"name": "a", "type": "b"})), Err(Error::UnsupportedVersion { .. })));
}

#[test]
fn refuses_what_would_lead_elsewhere() {
    let bad = [
        json!({"cniVersion": "1.0.0", "name": "a", "type": "../../bin/sh"}),
        json!({"cniVersion": "1.0.0", "name": "a", "type": "b", "ipam": {"type": "/bin/sh"}}),
        json!({"cniVersion": "1.0.0", "name": "../a", "type": "b"}),
        json!({"cniVersion": "1.0.0", "name": "a", "plugins": []}),
        json!({"cniVersion": "1.0.0", "name": "a", "plugins": [3]}),
        json!([]),
    ];
    for value in bad {
        assert!(matches!(parse(value.clone()), Err(Error::InvalidConfig { .. })), "{value}");
    }
    let folder = Folder::new("elsewhere");
    let attachment = Attachment { container_id: "../x", ..folder.attachment() };
    let error = smol::block_on(del(&folder.plugins(), &attachment, None)).unwrap_err();
    assert!(matches!(error[0], Error::InvalidAttachment { .. }));
    let attachment = Attachment { args: &[("K8S_POD_NAME", "a;b=c")], ..folder.attachment() };
    assert!(matches!(attachment.check(), Err(Error::InvalidAttachment { .. })));
}

#[test]
fn a_plugin_sees_nothing_of_our_environment() {
    let folder = Folder::new("environment");
    folder.plugin("first", &format!("env >{}/env\n{ANSWER}", folder.0.display())).plugin("second", ANSWER);
    smol::block_on(chain("0.4.0").add(&folder.plugins(), &folder.attachment())).unwrap();
    let seen = fs::read_to_string(folder.0.join("env")).unwrap();
    // The shell makes some of its own.
    let ours = |line: &&str| {
        let name = line.split('=').next().unwrap_or_default();
        !(name.starts_with("CNI_") || ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name))
    };
    assert!(std::env::vars().count() > 5, "nothing is tested");
    assert_eq!(seen.lines().filter(ours).collect::<Vec<_>>(), [] as [&str; 0]);
}
