//! Processes as /proc shows them, and their end.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Kills the session that `leader` leads and all that descends from it, but only what is in a control group
/// with `group` in its path: a number that another process has got meanwhile harms nobody. Returns how many there were.
pub fn kill_tree(leader: u32, group: &str) -> usize {
    // 0 is one that never started, and the parent of all.
    let Some(leader) = i32::try_from(leader).ok().filter(|leader| *leader > 1) else { return 0 };
    let mut tree = BTreeSet::from([leader]);
    let all = processes();
    loop {
        let before = tree.len();
        for process in &all {
            if process.session == leader || tree.contains(&process.parent) {
                tree.insert(process.id);
            }
        }
        if tree.len() == before {
            break;
        }
    }
    let is_inside = |id: &i32| {
        let groups = fs::read_to_string(format!("/proc/{id}/cgroup"));
        *id > 1 && groups.is_ok_and(|groups| groups.contains(group))
    };
    tree.retain(is_inside);
    for id in &tree {
        if let Some(pid) = Pid::from_raw(*id) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    tree.len()
}

/// What the processes beside this one were started with; those in a container have a number space of their own.
pub fn command_lines() -> Vec<Vec<String>> {
    process_ids().map(command_line).collect()
}

/// Kills the processes beside this one whose command line is `chosen`. Returns how many there were.
pub fn kill_where(chosen: impl Fn(&[String]) -> bool) -> usize {
    let is_killed = |id: &i32| {
        chosen(&command_line(*id))
            && Pid::from_raw(*id).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    };
    process_ids().filter(is_killed).count()
}

/// Empty for one that has ended, that is the kernel's own, or that runs in a container.
fn command_line(id: i32) -> Vec<String> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    if namespace(&id.to_string()) != namespace("self") {
        return Vec::new();
    }
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.split_terminator('\0').map(str::to_owned).collect()
}

struct Process {
    id: i32,
    parent: i32,
    session: i32,
}

fn process_ids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn processes() -> Vec<Process> {
    let stat = |id| process(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?);
    process_ids().filter_map(stat).collect()
}

/// From `/proc/<id>/stat`: `1 (name) S parent group session …`, whose name may hold anything. None for one
/// that has ended.
fn process(id: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { id, parent, session })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn reads_stat_whatever_the_name() {
        let found = process(7, "7 (a) S 9 9 9 (b)) S 3 7 5 34816 7").unwrap();
        assert_eq!((found.parent, found.session), (3, 5));
        assert!(process(7, "7 (a) Z 3 7 5 34816").is_none());
        assert!(process(7, "7 (a) S 3").is_none());
    }

    #[test]
    fn kills_by_command_line() {
        let seconds = format!("100.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&seconds).spawn().unwrap();
        let is_child = |line: &[String]| line == ["sleep", &seconds];
        assert!(command_lines().iter().any(|line| is_child(line)));
        assert_eq!(kill_where(is_child), 1);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn kills_a_tree_in_its_group_only() {
        let mut child = Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        assert_eq!(kill_tree(child.id(), "no group has this in its path"), 0);
        assert!(child.try_wait().unwrap().is_none());
        assert!(kill_tree(child.id(), "/") >= 1);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
