//! What there is of containers, observed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::{Runtime, SIGTERM, label};
use crate::agent::record::Attempt;
use crate::containerd::{self, Client, Task, TaskStatus};

/// A container of ours as containerd has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub image: String,
    pub image_id: String,
    /// The image as its pod named it when it was made.
    pub asked: String,
    pub stop_signal: u32,
    pub created_at: Option<SystemTime>,
    /// Its program has been started, whether it still runs or not.
    pub was_started: bool,
    pub task: Option<Task>,
}

impl Live {
    /// As it is right after its start, until it is observed.
    pub fn started(name: &str, attempt: &Attempt) -> Live {
        Live {
            id: attempt.id.clone(),
            name: name.to_owned(),
            attempt: attempt.number,
            image: attempt.image.clone(),
            image_id: attempt.image_id.clone(),
            asked: String::new(),
            stop_signal: attempt.stop_signal,
            created_at: None,
            was_started: true,
            task: Some(Task {
                id: attempt.id.clone(),
                pid: 0,
                status: TaskStatus::Running,
                code: 0,
                exited_at: None,
            }),
        }
    }

    /// The last try of a container's last attempt, one that was started before one that was not.
    pub fn newest<'a>(all: &'a [Live], name: &str) -> Option<&'a Live> {
        let mine = all.iter().filter(|live| live.name == name);
        mine.max_by_key(|live| (live.attempt, live.was_started))
    }

    pub fn runs(&self) -> bool {
        let status = self.task.as_ref().map(|task| task.status);
        status.is_some_and(|status| !matches!(status, TaskStatus::Stopped | TaskStatus::Created))
    }
}

impl Runtime {
    /// [`observe`], and tells tasks that ended from those whose program was never started: one whose network
    /// namespace was taken away before that is stopped, too.
    pub async fn observe(&self) -> Result<BTreeMap<String, Vec<Live>>, containerd::Error> {
        let mut pods = observe(&self.client).await?;
        let stopped =
            |live: &&mut Live| live.task.as_ref().is_some_and(|task| task.status == TaskStatus::Stopped);
        for live in pods.values_mut().flatten().filter(stopped) {
            live.was_started = self.stdio.was_started(&live.id);
        }
        Ok(pods)
    }
}

/// All containers of this agent's containerd namespace by pod uid. What midge did not make is left out.
pub async fn observe(client: &Client) -> Result<BTreeMap<String, Vec<Live>>, containerd::Error> {
    // Tasks last: a container whose task is missing here has none, whatever happened in between.
    let containers = client.containers(&["labels.\"midge.pod.uid\""]).await?;
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    if !containers.is_empty() {
        tasks.extend(client.tasks().await?.into_iter().map(|task| (task.id.clone(), task)));
    }
    let mut pods: BTreeMap<String, Vec<Live>> = BTreeMap::new();
    for container in containers {
        let mut labels = container.labels;
        let mut text = |key: &str| labels.remove(key).unwrap_or_default();
        let uid = text(label::UID);
        let task = tasks.remove(&container.id);
        let live = Live {
            name: text(label::NAME),
            attempt: text(label::ATTEMPT).parse().unwrap_or(0),
            stop_signal: text(label::STOP_SIGNAL).parse().unwrap_or(SIGTERM),
            image_id: text(label::IMAGE_ID),
            asked: text(label::IMAGE_ASKED),
            image: container.image,
            created_at: container.created_at,
            was_started: task.as_ref().is_some_and(|task| task.status != TaskStatus::Created),
            task,
            id: container.id,
        };
        pods.entry(uid).or_default().push(live);
    }
    Ok(pods)
}

/// Whether the kernel killed something in a container's cgroup for want of memory. Asked before the
/// container is cleared, which takes the cgroup away.
pub fn was_oom_killed(pod_cgroup: &str, id: &str) -> bool {
    let group = format!("{pod_cgroup}/{id}");
    // memory.events of version 2, memory.oom_control of version 1 (since Linux 4.13).
    ["", "memory", "unified"].iter().any(|hierarchy| {
        ["memory.events", "memory.oom_control"].iter().any(|name| {
            let path =
                Path::new("/sys/fs/cgroup").join(hierarchy).join(group.trim_start_matches('/')).join(name);
            let text = fs::read_to_string(path).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        })
    })
}
