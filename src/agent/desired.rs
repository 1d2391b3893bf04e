//! The pods that this node is to run, kept on disk (`pods/<uid>/pod.json`) so that they start without a
//! server.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::api::{Object, ObjectError};
use crate::link::PodRef;
use crate::plan::eviction;
use crate::plan::pod::{RestartPolicy, RestartRule, Role, Wanted};
use crate::sys::file;

/// One pod as the server last put it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    pub reference: PodRef,
    /// The resourceVersion of the object.
    pub revision: u64,
    /// The object as JSON, its status without all but the conditions of its readiness gates.
    pub text: Box<[u8]>,
    /// Init containers, containers, ephemeral ones.
    pub containers: Vec<Wanted>,
    pub host_network: bool,
    /// What its containers get that end while it goes on; seconds.
    pub grace_of_containers: u64,
    /// `activeDeadlineSeconds`.
    pub deadline_seconds: Option<u64>,
    pub priority: i64,
    /// Of a pod that is being deleted.
    pub grace_seconds: Option<u64>,
}

#[derive(Debug)]
pub enum Error {
    Folder { path: PathBuf, source: io::Error },
    Read { path: PathBuf, source: io::Error },
    Write { path: PathBuf, source: io::Error },
    Remove { path: PathBuf, source: io::Error },
    Parse { uid: String, source: ObjectError },
    Uid { uid: String },
    ContainerName { uid: String, name: String },
}

/// Grace of a deleted pod whose deletion says none.
const DEFAULT_GRACE: u64 = 30;

impl Pod {
    /// Reads the parts that decisions need. Names that become parts of paths are checked here, whoever
    /// sent them.
    pub fn parse(text: &[u8], revision: u64) -> Result<Pod, Error> {
        let mut object =
            Object::from_slice(text).map_err(|source| Error::Parse { uid: String::new(), source })?;
        let uid = object.uid().to_owned();
        if !is_uid(&uid) {
            return Err(Error::Uid { uid });
        }
        let revision = object.resource_version().unwrap_or(revision);
        keep_gates(&mut object);
        object.remove("/metadata/resourceVersion");
        object.remove("/metadata/managedFields");
        let containers = containers(&object);
        let unusable = |wanted: &&Wanted| crate::api::names::is_dns_label(&wanted.name).is_err();
        if let Some(wanted) = containers.iter().find(unusable) {
            return Err(Error::ContainerName { uid, name: wanted.name.clone() });
        }
        let seconds = |pointer| object.i64_at(pointer).and_then(|seconds| u64::try_from(seconds).ok());
        let grace = seconds("/spec/terminationGracePeriodSeconds").unwrap_or(DEFAULT_GRACE);
        let grace_seconds = object
            .at("/metadata/deletionTimestamp")
            .map(|_| seconds("/metadata/deletionGracePeriodSeconds").unwrap_or(grace));
        Ok(Pod {
            reference: PodRef {
                uid,
                namespace: object.namespace().to_owned(),
                name: object.name().to_owned(),
            },
            revision,
            containers,
            host_network: object.bool_at("/spec/hostNetwork"),
            grace_of_containers: grace,
            deadline_seconds: seconds("/spec/activeDeadlineSeconds"),
            priority: eviction::priority(&object),
            grace_seconds,
            text: object.to_vec().into_boxed_slice(),
        })
    }

    /// The container called so.
    pub fn container(&self, name: &str) -> Option<&Wanted> {
        self.containers.iter().find(|wanted| wanted.name == name)
    }

    /// The whole object.
    pub fn object(&self) -> Result<Object, Error> {
        Object::from_slice(&self.text)
            .map_err(|source| Error::Parse { uid: self.reference.uid.clone(), source })
    }

    /// Writes it to its folder if it differs from `before`.
    pub fn save(&self, pods_folder: &Path, before: Option<&Pod>) -> Result<(), Error> {
        if before.is_some_and(|before| before.text == self.text) {
            return Ok(());
        }
        let folder = pods_folder.join(&self.reference.uid);
        file::create_private_folder(&folder)
            .map_err(|source| Error::Folder { path: folder.clone(), source })?;
        let path = folder.join("pod.json");
        // Spliced in for the next start's Hello.
        let text = crate::api::object::with_resource_version(&self.text, self.revision);
        let written = file::write_atomic(&path, &text, 0o600).and_then(|()| file::sync_folder(pods_folder));
        written.map_err(|source| Error::Write { path, source })
    }
}

/// Every container with what it is in its pod.
fn containers(pod: &Object) -> Vec<Wanted> {
    let pods = RestartPolicy::parse(pod.str_at("/spec/restartPolicy"));
    let mut all = Vec::new();
    for (list, kind) in [
        ("/spec/initContainers", Role::Init),
        ("/spec/containers", Role::Main),
        ("/spec/ephemeralContainers", Role::Ephemeral),
    ] {
        for container in pod.array_at(list) {
            let text = |key: &str| container.get(key).and_then(serde_json::Value::as_str);
            let own = text("restartPolicy").filter(|own| !own.is_empty()).map(RestartPolicy::parse);
            let (role, policy) = match (kind, own) {
                (Role::Init, Some(RestartPolicy::Always)) => (Role::Sidecar, RestartPolicy::Always),
                // One that succeeded is never run again in its sandbox.
                (Role::Init, None) if pods == RestartPolicy::Always => (kind, RestartPolicy::OnFailure),
                (Role::Ephemeral, _) => (kind, RestartPolicy::Never),
                (_, own) => (kind, own.unwrap_or(pods)),
            };
            let has_post_start =
                container.pointer("/lifecycle/postStart").is_some_and(|hook| !hook.is_null());
            let name = text("name").unwrap_or("").to_owned();
            let rules = container.get("restartPolicyRules").and_then(serde_json::Value::as_array);
            let rules = rules.into_iter().flatten().map(restart_rule).collect();
            all.push(Wanted { name, role, policy, rules, has_post_start });
        }
    }
    all
}

fn restart_rule(rule: &serde_json::Value) -> RestartRule {
    let codes = &rule["exitCodes"];
    let values = codes["values"].as_array().into_iter().flatten();
    let codes_of = values.filter_map(serde_json::Value::as_i64).collect();
    RestartRule { is_not: codes["operator"] == "NotIn", codes: codes_of }
}

/// Takes the status off, which comes from here: with it, each report would come back as a change. What others
/// say of the pod's readiness stays.
fn keep_gates(pod: &mut Object) {
    let is_gate = |condition: &&serde_json::Value| {
        let gates = pod.array_at("/spec/readinessGates").iter();
        let mut kinds = gates.filter_map(|gate| gate.get("conditionType"));
        kinds.any(|kind| condition.get("type") == Some(kind))
    };
    let gates: Vec<_> = pod.array_at("/status/conditions").iter().filter(is_gate).cloned().collect();
    pod.remove("/status");
    if !gates.is_empty() {
        pod.set("/status/conditions", gates);
    }
}

/// What a node finds on its disk when it starts.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    pub pods: Vec<Pod>,
    /// Uids of folders that hold no pod: what is left of removed ones, to be collected.
    pub left: Vec<String>,
    /// Uids of pods that can't be read: neither run nor collected.
    pub unreadable: Vec<String>,
}

/// Reads `pods_folder`, which is created if it is missing.
pub fn load(pods_folder: &Path) -> Result<Loaded, Error> {
    let failed = |source| Error::Folder { path: pods_folder.into(), source };
    file::create_private_folder(pods_folder).map_err(failed)?;
    let mut loaded = Loaded::default();
    for entry in fs::read_dir(pods_folder).map_err(failed)? {
        let Ok(uid) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if !is_uid(&uid) {
            continue;
        }
        let path = pods_folder.join(&uid).join("pod.json");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => loaded.left.push(uid),
            Err(source) => return Err(Error::Read { path, source }),
            Ok(text) => match Pod::parse(&text, 0) {
                Ok(pod) if pod.reference.uid == uid => loaded.pods.push(pod),
                parsed => {
                    let why =
                        parsed.err().map_or("it holds another pod".to_owned(), |error| error.to_string());
                    log::error!("`{}` is left alone: {why}", path.display());
                    loaded.unreadable.push(uid);
                }
            },
        }
    }
    Ok(loaded)
}

/// Takes the pod off the desired ones; the rest of its folder goes when it is torn down.
pub fn remove(pods_folder: &Path, uid: &str) -> Result<(), Error> {
    let path = pods_folder.join(uid).join("pod.json");
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Remove { path, source }),
        Ok(()) => file::sync_folder(&pods_folder.join(uid)).map_err(|source| Error::Remove { path, source }),
    }
}

/// Whether `uid` may be a folder's name: the server makes uids, and this node makes paths of them.
pub fn is_uid(uid: &str) -> bool {
    (1..=64).contains(&uid.len())
        && uid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Folder { path, .. } => write!(f, "failed to open the folder `{}`", path.display()),
            Error::Read { path, .. } => write!(f, "failed to read `{}`", path.display()),
            Error::Write { path, .. } => write!(f, "failed to write `{}`", path.display()),
            Error::Remove { path, .. } => write!(f, "failed to remove `{}`", path.display()),
            Error::Parse { uid, .. } => write!(f, "failed to parse pod {uid}"),
            Error::Uid { uid } => write!(f, "a pod has the unusable uid `{uid}`"),
            Error::ContainerName { uid, name } => {
                write!(f, "pod {uid} has a container with the unusable name `{name}`")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Folder { source, .. }
            | Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Remove { source, .. } => Some(source),
            Error::Parse { source, .. } => Some(source),
            Error::Uid { .. } | Error::ContainerName { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(extra: &str) -> Vec<u8> {
        format!(
            r#"{{"metadata":{{"resourceVersion":"7","uid":"a-1","name":"web","namespace":"default"{extra}}},
                "spec":{{"restartPolicy":"Never","containers":[{{"name":"web"}}]}},"status":{{"phase":"Running"}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_report_that_comes_back_changes_nothing_on_disk() {
        let folder = std::env::temp_dir().join(format!("midge-desired-{}", std::process::id()));
        file::create_private_folder(&folder).unwrap();
        let pod = Pod::parse(&text(""), 0).unwrap();
        pod.save(&folder, None).unwrap();
        let mut again = Pod::parse(&text(r#","managedFields":[]"#), 0).unwrap();
        again.revision = 8;
        again.save(&folder, Some(&pod)).unwrap();
        let loaded = load(&folder).unwrap();
        assert_eq!(loaded.pods[0].revision, 7);
        assert_eq!(loaded, Loaded { pods: vec![pod], ..Loaded::default() });
        remove(&folder, "a-1").unwrap();
        assert_eq!(load(&folder).unwrap().left, ["a-1"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn containers_are_what_their_lists_and_policies_say() {
        let pod = |policy: &str| {
            let text = format!(
                r#"{{"metadata":{{"uid":"a-1"}},"spec":{{"restartPolicy":"{policy}",
                "initContainers":[{{"name":"init"}},{{"name":"side","restartPolicy":"Always"}},{{"name":"once","restartPolicy":"Never"}}],
                "containers":[{{"name":"web","lifecycle":{{"postStart":{{"sleep":{{"seconds":1}}}}}}}},{{"name":"job","restartPolicy":"OnFailure",
                "restartPolicyRules":[{{"action":"Restart","exitCodes":{{"operator":"NotIn","values":[1,2]}}}}]}}],
                "ephemeralContainers":[{{"name":"debug"}}]}}}}"#
            );
            let containers = Pod::parse(text.as_bytes(), 0).unwrap().containers;
            assert_eq!(containers[4].rules, [RestartRule { is_not: true, codes: vec![1, 2] }]);
            containers.into_iter().map(|one| format!("{:?} {:?}", one.role, one.policy)).collect::<Vec<_>>()
        };
        let own = ["Sidecar Always", "Init Never"];
        let rest = ["Main OnFailure", "Ephemeral Never"];
        for (policy, init, web) in [
            ("Always", "Init OnFailure", "Main Always"),
            ("OnFailure", "Init OnFailure", "Main OnFailure"),
            ("Never", "Init Never", "Main Never"),
        ] {
            assert_eq!(pod(policy), [&[init], &own[..], &[web], &rest[..]].concat(), "{policy}");
        }
    }

    #[test]
    fn what_others_say_of_readiness_is_kept() {
        let said = |status: &str| {
            let text = format!(
                r#"{{"metadata":{{"uid":"a-1"}},"spec":{{"readinessGates":[{{"conditionType":"lb"}}],"containers":[]}},
                "status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"{status}"}},{{"type":"lb","status":"{status}"}}]}}}}"#
            );
            Pod::parse(text.as_bytes(), 0).unwrap().object().unwrap().at("/status").cloned().unwrap()
        };
        assert_eq!(said("True"), serde_json::json!({"conditions": [{"type": "lb", "status": "True"}]}));
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let hostile = String::from_utf8(text("")).unwrap();
        let pod = |from, to| Pod::parse(hostile.replace(from, to).as_bytes(), 0);
        assert!(matches!(pod("a-1", "../a"), Err(Error::Uid { .. })));
        let name = r#"[{"name":"../web"}]"#;
        assert!(matches!(pod(r#"[{"name":"web"}]"#, name), Err(Error::ContainerName { .. })));
        assert_eq!(
            pod(r#""name":"web","#, r#""name":"web","deletionTimestamp":"x","#).unwrap().grace_seconds,
            Some(30)
        );
    }
}
