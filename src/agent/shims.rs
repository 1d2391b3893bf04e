//! Shims that containerd has lost.
//!
//! When whoever asks for a task goes away before the answer, containerd may forget the task and leave its shim
//! running: no list has it and no call ends it (containerd's issues 6860, 7733 and 11392). An agent goes away like
//! that when it is killed.

use std::collections::BTreeSet;

use crate::containerd::{Client, Error};
use crate::sys::process;

/// Ends the shims of the client's namespace that have no container there. Returns how many there were.
pub(super) async fn end_strays(client: &Client) -> Result<usize, Error> {
    let namespace = client.namespace().to_owned();
    let shims = smol::unblock(move || {
        let lines = process::command_lines();
        lines.iter().filter_map(|line| shim_of(line, &namespace)).collect::<BTreeSet<_>>()
    });
    let mut strays = shims.await;
    if strays.is_empty() {
        return Ok(0);
    }
    // Only now: a container is there before its shim, and is deleted after its task.
    for container in client.containers(&[]).await? {
        strays.remove(&container.id);
    }
    if strays.is_empty() {
        return Ok(0);
    }
    let namespace = client.namespace().to_owned();
    let is_stray = move |line: &[String]| shim_of(line, &namespace).is_some_and(|id| strays.contains(&id));
    let ended = smol::unblock(move || process::kill_where(is_stray)).await;
    if ended > 0 {
        log::warn!("ended {ended} shims that containerd had lost");
    }
    Ok(ended)
}

/// The container of a shim that serves in `namespace`, by its command line. None for any other process, and for the
/// short runs of a shim that start one or clear away after it.
fn shim_of(line: &[String], namespace: &str) -> Option<String> {
    let is_shim = line.first()?.rsplit('/').next()?.starts_with("containerd-shim");
    let value = |flag: &str| line.iter().skip_while(|argument| *argument != flag).nth(1);
    let serves = !line.iter().any(|argument| ["start", "delete"].contains(&argument.as_str()));
    (is_shim && serves && value("-namespace").is_some_and(|found| found == namespace))
        .then(|| value("-id").cloned())?
}

#[cfg(test)]
mod tests {
    use super::shim_of;

    #[test]
    fn tells_a_shim_that_serves() {
        let of = |line: &str| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            shim_of(&line, "midge")
        };
        let shim = "/usr/bin/containerd-shim-runc-v2 -namespace midge -id a1 -address /run/containerd/c.sock";
        assert_eq!(of(shim).as_deref(), Some("a1"));
        assert_eq!(of(&format!("{shim} start")), None);
        assert_eq!(of("containerd-shim-runc-v2 -namespace midge -id a1 -bundle /run/b delete"), None);
        assert_eq!(of("containerd-shim-runc-v2 -namespace k8s.io -id a1"), None);
        assert_eq!(of("containerd-shim-runc-v2 -namespace midge -id"), None);
        assert_eq!(of("grep -namespace midge -id a1"), None);
    }
}
