use std::path::Path;

use super::*;
use crate::containerd::{Task, TaskStatus};
use crate::plan::pod::{Action, BACK_OFF_FIRST, BACK_OFF_MAX};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn live(attempt: u32, task: Option<(TaskStatus, u32)>) -> Live {
    let id = format!("c{attempt}");
    let task = task.map(|(status, code)| Task {
        id: id.clone(),
        pid: 1,
        status,
        code,
        exited_at: (status == TaskStatus::Stopped).then(|| at(95)),
    });
    Live {
        id,
        name: "web".into(),
        attempt,
        image: "web:1".into(),
        image_id: "sha256:1".into(),
        asked: "web".into(),
        stop_signal: 15,
        created_at: Some(at(50)),
        was_started: task.as_ref().is_some_and(|task| task.status != TaskStatus::Created),
        task,
    }
}

fn pod(live: Vec<Live>) -> Pod {
    let text = br#"{"metadata":{"uid":"u-1","name":"web","namespace":"default"},"spec":{"containers":[{"name":"web"}]}}"#;
    let mut pod = Pod { live, ..Pod::default() };
    pod.put(desired::Pod::parse(text, 1).unwrap(), at(40));
    pod.sandbox = Some(Sandbox { cgroup: "/none".into(), ..Sandbox::default() });
    pod
}

fn planned(pod: &mut Pod) -> Vec<Action> {
    pod.settle(Path::new("/nonexistent"), at(100));
    plan::plan(pod.desired_plan().as_ref(), &pod.observed(), at(100)).actions
}

fn start(attempt: u32, back_off: u64) -> Action {
    Action::Start { name: "web".into(), attempt, back_off: Duration::from_secs(back_off) }
}

#[test]
fn what_runs_is_adopted_with_its_count() {
    let mut pod = pod(vec![live(3, Some((TaskStatus::Running, 0)))]);
    assert_eq!(planned(&mut pod), []);
    let current = pod.record.containers["web"].current.clone().unwrap();
    assert_eq!((current.number, current.id.as_str(), current.exit), (3, "c3", None));
    assert_eq!(pod.record.containers["web"].asked, "web");
}

#[test]
fn one_that_was_ended_before_its_start_counts_for_nothing() {
    let stopped = Live { was_started: false, ..live(0, Some((TaskStatus::Stopped, 137))) };
    let mut pod = pod(vec![stopped]);
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }, start(0, 0)]);
    assert_eq!(pod.record.containers["web"].current, None);
}

#[test]
fn an_exit_is_recorded_before_the_container_is_cleared() {
    let mut pod = pod(vec![live(0, Some((TaskStatus::Stopped, 137)))]);
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }, start(1, 10)]);
    let exit = pod.record.containers["web"].current.as_ref().unwrap().exit.clone().unwrap();
    assert_eq!((exit.code, exit.reason.as_str(), exit.finished), (137, "Error", Stamp(at(95))));
    // The next attempt runs: the first is the last.
    pod.live = vec![live(1, Some((TaskStatus::Running, 0)))];
    assert_eq!(planned(&mut pod), []);
    assert_eq!(pod.record.containers["web"].last.as_ref().unwrap().number, 0);
    assert_eq!(pod.record.containers["web"].back_off, 10);
}

#[test]
fn after_a_reboot_containers_have_no_task() {
    let mut pod = pod(vec![live(2, Some((TaskStatus::Running, 0)))]);
    planned(&mut pod);
    pod.live = vec![live(2, None)];
    pod.sandbox = None;
    let actions = planned(&mut pod);
    assert_eq!(actions, [Action::Clear { id: "c2".into() }, Action::CreateSandbox, start(3, 0)]);
    let exit = pod.record.containers["web"].current.as_ref().unwrap().exit.clone().unwrap();
    assert_eq!((exit.code, exit.lost), (255, true));
}

#[test]
fn a_container_that_was_never_started_is_made_again() {
    let mut pod = pod(vec![live(0, Some((TaskStatus::Created, 0)))]);
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }, start(0, 0)]);
    assert!(pod.record.containers["web"].current.is_none());
}

#[test]
fn earlier_attempts_are_strays() {
    let mut pod = pod(vec![live(0, None), live(1, Some((TaskStatus::Running, 0)))]);
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }]);
    pod.orphan();
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }, Action::Kill { id: "c1".into() }]);
}

#[test]
fn a_failed_pull_is_shown_then_its_back_off() {
    let times = (BACK_OFF_FIRST, BACK_OFF_MAX);
    let wait = Wait::after(None, times, "ErrImagePull", "no".into(), at(100));
    assert_eq!(shown(&wait, "web:1", at(101)).1, Some(at(105)));
    assert_eq!(
        shown(&wait, "web:1", at(105)).0.message,
        "Back-off pulling image \"web:1\": ErrImagePull: no"
    );
}

#[test]
fn a_pull_is_waited_for_until_there_is_news_and_keeps_the_back_off() {
    let mut pod = pod(vec![]);
    let until = |pod: &Pod| pod.waits["web"].until;
    pod.wait_for_pull("web", "12 of 30 MiB".into(), at(100));
    assert_eq!(planned(&mut pod), []);
    pod.take_news(at(100));
    assert_eq!(planned(&mut pod), [start(0, 0)]);
    pod.wait_for_container("web", "ErrImagePull", "no".into(), at(100));
    assert_eq!(until(&pod), at(110));
    pod.take_news(at(100));
    pod.wait_for_pull("web", String::new(), at(110));
    assert_eq!(until(&pod), at(112));
    pod.wait_for_container("web", "ErrImagePull", "no".into(), at(111));
    assert_eq!(until(&pod), at(131));
    // A pod that is deleted meanwhile goes at once.
    pod.wait_for_pull("web", String::new(), at(140));
    pod.record.terminate(30, at(140));
    pod.desired.as_mut().unwrap().grace_seconds = Some(30);
    assert_eq!(planned(&mut pod), [Action::TearDown]);
}

#[test]
fn a_deadline_and_an_eviction_fail_the_pod_once() {
    let mut pod = pod(vec![live(0, Some((TaskStatus::Running, 0)))]);
    pod.desired.as_mut().unwrap().deadline_seconds = Some(60);
    let end = Action::Terminate { id: "c0".into(), grace: Duration::from_secs(30) };
    assert_eq!(planned(&mut pod), [end]);
    assert_eq!(pod.record.failure.as_ref().unwrap().reason, "DeadlineExceeded");
    assert!(!pod.fail("Evicted", "no memory".into(), 0, at(100)));
    pod.live = vec![live(0, Some((TaskStatus::Stopped, 143)))];
    assert_eq!(planned(&mut pod), [Action::Clear { id: "c0".into() }, Action::RemoveSandbox]);
    // It is known after a restart of the agent, and never starts again.
    let mut again = Pod { record: pod.record.clone(), desired: pod.desired.clone(), ..Pod::default() };
    assert_eq!(planned(&mut again), []);
}

#[test]
fn a_new_sandbox_is_counted_if_the_last_one_was_used() {
    let mut pod = pod(vec![live(0, Some((TaskStatus::Running, 0)))]);
    assert!(!pod.record.renew_sandbox());
    planned(&mut pod);
    assert!(pod.observed().containers[0].in_sandbox);
    assert!(pod.record.renew_sandbox() && !pod.record.renew_sandbox());
    assert!(!pod.observed().containers[0].in_sandbox);
}

#[test]
fn why_a_container_ends_while_its_pod_goes_on() {
    let mut pod = pod(vec![live(0, Some((TaskStatus::Running, 0)))]);
    planned(&mut pod);
    let text =
        |pod: &Pod| pod.why_ends("web", "c0").map(|(text, grace)| format!("{text} {}", grace.as_secs()));
    assert_eq!(text(&pod), None);
    pod.outdated.insert("c0".into());
    assert_eq!(text(&pod).unwrap(), "Container web definition changed, will be restarted 30");
    let failed = Some(crate::agent::probes::Failed { probe: "liveness", grace_seconds: Some(3) });
    pod.verdicts.insert("c0".into(), Verdict { failed, ..Verdict::default() });
    assert_eq!(text(&pod).unwrap(), "Container web failed liveness probe, will be restarted 3");
    pod.desired.as_mut().unwrap().containers[0].policy = plan::RestartPolicy::Never;
    assert_eq!(text(&pod).unwrap(), "Container web failed liveness probe 3");
    pod.hook_failed.insert("c0".into());
    assert_eq!(text(&pod).unwrap(), "FailedPostStartHook 30");
    let end = Action::Terminate { id: "c0".into(), grace: Duration::from_secs(30) };
    assert_eq!(planned(&mut pod), [end]);
}
