//! `kubectl debug` on a node: what each of its profiles asks for, a real node gives. And what kubectl tells of files,
//! ports and programs that are not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

/// What a debugger may, as it sees it: whether the host's files are there, whether its processes are, its capabilities.
const LOOK: &str = "ls -d /host/proc >/dev/null 2>&1 && echo host files; \
    test $(ls /proc | grep -c '^[0-9]') -gt 15 && echo host processes; \
    echo user $(id -u); grep -E 'CapBnd|Seccomp:|NoNewPrivs' /proc/self/status; echo done; exit\n";

/// Runs kubectl with `input` typed into it. Its input stays open: what is attached without `stdinOnce` ends with it.
fn typed(cluster: &Cluster, line: &str, input: &str) -> Answer {
    let mut command = cluster.kubectl_command(line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    Answer::from_output(line.to_owned(), output)
}

#[test]
fn a_node_by_every_profile() {
    let cluster = Cluster::new("profiles").agent("pi-1").up();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let usual = "00000000a80425fb";
    let custom = cluster.server.folder.join("custom.json");
    std::fs::write(&custom, r#"{"securityContext": {"runAsUser": 1000}}"#).unwrap();
    let custom = format!("restricted --custom={}", custom.display());
    for (profile, files, processes, user, capabilities) in [
        ("baseline", false, false, 0, usual),
        ("netadmin", false, true, 0, "00000000a80435fb"),
        ("general", true, true, 0, usual),
        ("legacy", true, true, 0, usual),
        ("sysadmin", true, true, 0, all.as_str()),
        (custom.as_str(), false, false, 1000, "0000000000000000"),
    ] {
        let line = format!("debug node/pi-1 -i --image={IMAGE} --profile={profile} -- sh");
        let answer = typed(&cluster, &line, LOOK);
        let said = answer.success().stdout;
        assert!(said.contains("done\n"), "{profile}: {said}");
        assert_eq!(said.contains("host files"), files, "{profile}: {said}");
        assert_eq!(said.contains("host processes"), processes, "{profile}: {said}");
        assert!(said.contains(&format!("user {user}\n")), "{profile}: {said}");
        assert!(said.contains(&format!("CapBnd:\t{capabilities}\n")), "{profile}: {said}");
        let is_restricted = user != 0;
        assert_eq!(said.contains("NoNewPrivs:\t1"), is_restricted, "{profile}: {said}");
        assert!(!is_restricted || said.contains("Seccomp:\t2"), "{profile}: {said}");
    }
    // An image of root's, and no other user named.
    cluster.kubectl(&format!("debug node/pi-1 --image={IMAGE} --profile=restricted -- true")).success();
    eventually("it is refused", Duration::from_secs(20), || {
        let pods = cluster.object("pods")?;
        let mut pods = pods["items"].as_array()?.iter();
        let waiting =
            pods.find_map(|pod| pod["status"]["containerStatuses"][0]["state"].get("waiting").cloned())?;
        let why = waiting["message"].as_str().unwrap_or_default();
        let refused = why.starts_with("container has runAsNonRoot and image will run as root");
        (waiting["reason"] == "CreateContainerConfigError" && refused).then_some(())
    });
}

#[test]
fn what_is_not_there() {
    let cluster = Cluster::new("missing").agent("pi-1").up();
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{terminationGracePeriodSeconds: 0, \
         containers: [{{name: main, image: '{IMAGE}', command: [sleep, '1000']}}]}}}}"
    );
    cluster.apply(&pod).success();
    cluster.kubectl("wait --for=condition=Ready pod/web --timeout=40s").success();

    let failed = cluster.kubectl("exec web -- tar cf - /missing");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("/missing: No such file or directory"), "{failed:?}");
    // kubectl ends well once it has an empty archive, and does not wait for what tar came to, nor for what it says.
    let there = cluster.server.folder.join("there");
    cluster.kubectl(&format!("cp web:/missing {}", there.display())).success();
    assert!(!there.exists());

    let mut child = cluster.kubectl_command("port-forward pod/web 18009:9");
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("Forwarding from"));
    let mut wget = cluster.server.host.command("busybox");
    Answer::of(wget.args(["wget", "-qO-", "http://127.0.0.1:18009/"]));
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    let uid = cluster.object("pod web").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let begins = format!(
        "error forwarding port 9 to pod web, uid {uid}: failed to execute portforward in network namespace"
    );
    assert!(said.contains(&begins) && said.contains("127.0.0.1:9: connect: connection refused"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();

    // It may end before kubectl is attached, which then reads its log from the same second on, once more: it is there
    // twice then, and never lost.
    for number in 0..3 {
        let run = format!("run brief-{number} --image={IMAGE} --restart=Never --attach -- echo hello");
        let said = cluster.kubectl(&run).success();
        let twice = said.stderr.contains("falling back to streaming logs: ");
        let expected = if twice { &["hello\n", "hello\nhello\n"][..] } else { &["hello\n"] };
        assert!(expected.contains(&said.stdout.as_str()), "{said:?}");
    }
}
