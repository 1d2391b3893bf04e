use super::*;
use crate::containerd::{Task, TaskStatus};
use crate::plan::pod::Action;

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
        stop_signal: 15,
        created_at: Some(at(50)),
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
    let wait = Wait { since: at(100), delay: BACK_OFF_FIRST, reason: "ErrImagePull", message: "no".into() };
    assert_eq!(shown(&wait, "web:1", at(101)).1, Some(at(105)));
    assert_eq!(
        shown(&wait, "web:1", at(105)).0.message,
        "Back-off pulling image \"web:1\": ErrImagePull: no"
    );
}
