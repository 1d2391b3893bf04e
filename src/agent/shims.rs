//! Shims that containerd has lost.
//!
//! When whoever asks for a task goes away before the answer, containerd may forget the task and leave its shim
//! running: no list has it and no call ends it (containerd's issues 6860, 7733 and 11392). An agent goes away like
//! that when it is killed.

use std::collections::BTreeSet;
use std::path::Path;

use super::container::pod_part;
use crate::containerd::{Client, Error};
use crate::sys::process;

/// Ends the shims of the client's namespace that serve no pod any more. Returns how many there were.
pub(super) async fn end_strays(client: &Client) -> Result<usize, Error> {
    let shim_of = shims_of(client);
    let shims = smol::unblock(move || {
        let lines = process::command_lines();
        lines.iter().filter_map(|line| shim_of(line)).collect::<BTreeSet<_>>()
    });
    let mut strays = shims.await;
    if strays.is_empty() {
        return Ok(0);
    }
    // A pod's containers share the shim of the first, which may be gone by now. Asked for after the shims: a
    // container is there before its task, and is deleted after it.
    for container in client.containers(&[]).await? {
        strays.retain(|id| pod_part(id) != pod_part(&container.id));
    }
    if strays.is_empty() {
        return Ok(0);
    }
    let shim_of = shims_of(client);
    let is_stray = move |line: &[String]| shim_of(line).is_some_and(|id| strays.contains(&id));
    let ended = smol::unblock(move || process::kill_where(is_stray)).await;
    if ended > 0 {
        log::info!("ended {ended} shims that served nothing");
    }
    Ok(ended)
}

/// What tells the container that a shim was started for by its command line: None for what is no shim of this
/// containerd's in this namespace, and for the short runs of one that start another or clear away after it.
fn shims_of(client: &Client) -> impl Fn(&[String]) -> Option<String> + use<> {
    let namespace = client.namespace().to_owned();
    let socket = client.socket().canonicalize().unwrap_or_else(|_| client.socket().to_owned());
    move |line| {
        let (id, address) = shim_of(line, &namespace)?;
        // containerd may know its socket by another path.
        let address = Path::new(&address).canonicalize().unwrap_or_default();
        (address == socket).then_some(id)
    }
}

/// A serving shim's container and the socket of its containerd.
fn shim_of(line: &[String], namespace: &str) -> Option<(String, String)> {
    let is_shim = line.first()?.rsplit('/').next()?.starts_with("containerd-shim");
    let value = |flag: &str| line.iter().skip_while(|argument| *argument != flag).nth(1).cloned();
    let serves = !line.iter().any(|argument| ["start", "delete"].contains(&argument.as_str()));
    if !is_shim || !serves || value("-namespace")? != namespace {
        return None;
    }
    Some((value("-id")?, value("-address")?))
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
        let shim = "/usr/bin/containerd-shim-runc-v2 -namespace midge -id a1 -address /run/c.sock";
        assert_eq!(of(shim), Some(("a1".to_owned(), "/run/c.sock".to_owned())));
        assert_eq!(of(&format!("{shim} start")), None);
        assert_eq!(
            of("containerd-shim-runc-v2 -namespace midge -address /run/c.sock -id a1 -bundle /b delete"),
            None
        );
        assert_eq!(of("containerd-shim-runc-v2 -namespace k8s.io -id a1 -address /run/c.sock"), None);
        assert_eq!(of("containerd-shim-runc-v2 -namespace midge -id a1"), None);
        assert_eq!(of("grep -namespace midge -id a1 -address /run/c.sock"), None);
    }
}
