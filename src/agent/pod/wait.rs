//! What keeps a pod or its containers waiting.

use std::time::{Duration, SystemTime};

use super::Pod;
use crate::agent::container;
use crate::agent::status::{SHOW_FAILURE, Waiting};
use crate::plan::pod::{BACK_OFF_FIRST, BACK_OFF_MAX};

/// The longest wait for what the pod names: a ConfigMap, a volume.
const CONFIG_MAX: Duration = Duration::from_secs(60);
/// How often a pull is asked for, beside the news of it.
const PULL_POLL: Duration = Duration::from_secs(2);
/// Waits after failed removals.
const REMOVAL_FIRST: Duration = Duration::from_secs(1);
const REMOVAL_MAX: Duration = Duration::from_secs(60);
/// Waits after a sandbox that could not be made.
const SANDBOX_FIRST: Duration = Duration::from_secs(2);
const SANDBOX_MAX: Duration = Duration::from_secs(60);

/// Something failed and is tried again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub since: SystemTime,
    pub until: SystemTime,
    /// The wait of the last failure; the next one's is longer.
    pub delay: Duration,
    pub reason: &'static str,
    pub message: String,
    /// It ends as well when something comes that containers wait for.
    pub is_for_news: bool,
}

impl Wait {
    /// The next wait after this one: longer.
    pub(super) fn after(
        before: Option<&Wait>,
        (first, most): (Duration, Duration),
        reason: &'static str,
        message: String,
        now: SystemTime,
    ) -> Wait {
        let delay = container::next_delay(before.map_or(Duration::ZERO, |wait| wait.delay), first, most);
        Wait { since: now, until: now + delay, delay, reason, message, is_for_news: false }
    }
}

impl Pod {
    pub fn wait_for_container(&mut self, name: &str, reason: &'static str, message: String, now: SystemTime) {
        let is_for_news = matches!(reason, "ContainerCreating" | "CreateContainerConfigError");
        let times = (BACK_OFF_FIRST, if is_for_news { CONFIG_MAX } else { BACK_OFF_MAX });
        let wait = Wait::after(self.waits.get(name), times, reason, message, now);
        self.waits.insert(name.to_owned(), Wait { is_for_news, ..wait });
    }

    /// The container's image is on its way: no failure, so the wait after the next one is as it would have been.
    pub fn wait_for_pull(&mut self, name: &str, message: String, now: SystemTime) {
        let delay = self.waits.get(name).map_or(Duration::ZERO, |before| before.delay);
        let reason = "ContainerCreating";
        let wait = Wait { since: now, until: now + PULL_POLL, delay, reason, message, is_for_news: true };
        self.waits.insert(name.to_owned(), wait);
    }

    /// An image, a ConfigMap or a Secret has come: whoever waits for one looks again.
    pub fn take_news(&mut self, now: SystemTime) {
        for wait in self.waits.values_mut().filter(|wait| wait.is_for_news) {
            wait.until = now;
        }
        self.refresh = true;
    }

    /// Archives of images have come: who could not get an image looks again.
    pub fn take_images(&mut self, now: SystemTime) {
        for wait in self.waits.values_mut().filter(|wait| wait.reason.starts_with("ErrImage")) {
            wait.until = now;
        }
    }

    pub fn wait_for_sandbox(&mut self, message: String, now: SystemTime) {
        let times = (SANDBOX_FIRST, SANDBOX_MAX);
        let reason = "FailedCreatePodSandBox";
        self.sandbox_wait = Some(Wait::after(self.sandbox_wait.as_ref(), times, reason, message, now));
    }

    pub fn wait_for_removal(&mut self, message: String, now: SystemTime) {
        let times = (REMOVAL_FIRST, REMOVAL_MAX);
        let reason = "FailedKillPod";
        self.removal_wait = Some(Wait::after(self.removal_wait.as_ref(), times, reason, message, now));
    }
}

/// A failed pull is shown as such first, then as the wait for the next one.
pub(super) fn shown(wait: &Wait, image: &str, now: SystemTime) -> (Waiting, Option<SystemTime>) {
    let changes = wait.since + SHOW_FAILURE;
    if wait.reason != "ErrImagePull" || changes > now {
        let later = (wait.reason == "ErrImagePull").then_some(changes);
        return (Waiting { reason: wait.reason.into(), message: wait.message.clone() }, later);
    }
    let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", wait.message);
    (Waiting { reason: "ImagePullBackOff".into(), message }, None)
}
