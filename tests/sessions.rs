//! What a person does in a running pod, with the real kubectl on a whole cluster: exec, cp, port-forward,
//! attach, run -it, debug.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

fn pod(name: &str, script: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, \
         containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, '{script}'], {rest}}}]}}}}"
    )
}

/// Runs kubectl in a terminal of 33 lines and 99 columns; `input` is typed once `prompt` is there.
fn in_terminal(cluster: &Cluster, line: &str, prompt: &str, input: &str) -> String {
    let kubectl = cluster.kubectl_command(line);
    let mut words: Vec<String> = vec![kubectl.get_program().to_string_lossy().into_owned()];
    words.extend(kubectl.get_args().map(|word| word.to_string_lossy().into_owned()));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &format!("stty rows 33 cols 99; exec {}", words.join(" ")), "/dev/null"]);
    for (name, value) in kubectl.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut text = Vec::new();
    let mut typed = false;
    let mut block = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut block) {
        text.extend_from_slice(&block[..length]);
        if !typed && String::from_utf8_lossy(&text).contains(prompt) {
            stdin.write_all(input.as_bytes()).unwrap();
            typed = true;
        }
    }
    drop(stdin);
    child.wait().unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn exec_cp_and_port_forward() {
    let cluster = Cluster::new("sessions").agent("pi-1").up();
    let serve = "mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www";
    cluster.apply(&pod("web", serve, "")).success();
    cluster.kubectl("wait --for=condition=Ready pod/web --timeout=40s").success();

    cluster.kubectl("exec web -- cat /www/index.html").success().says(&["served"]);
    let mut failing = cluster.kubectl_command("exec web -- sh -c");
    let failed = Answer::of(failing.arg("echo out; echo err >&2; exit 3"));
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(3), "out\n"), "{failed:?}");
    assert!(failed.stderr.contains("err\n"), "{failed:?}");
    cluster.kubectl("exec web -- no-such-program").says(&["no-such-program"]);
    let size = in_terminal(&cluster, "exec -it web -- sh", "#", "stty size; exit 5\n");
    assert!(size.contains("33 99"), "{size}");

    // Both ways, byte for byte.
    let data: Vec<u8> = (0..1_500_000_u32).map(|at| (at * 7 % 253) as u8).collect();
    let (from, to) = (cluster.server.folder.join("from"), cluster.server.folder.join("to"));
    std::fs::write(&from, &data).unwrap();
    cluster.kubectl(&format!("cp {} web:/tmp/copied", from.display())).success();
    cluster.kubectl(&format!("cp web:/tmp/copied {}", to.display())).success();
    assert!(std::fs::read(&to).unwrap() == data);

    let mut child = cluster.kubectl_command("port-forward pod/web 8080:80");
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("Forwarding from"));
    for _ in 0..3 {
        let mut wget = cluster.server.host.command("busybox");
        wget.args(["wget", "-qO-", "http://127.0.0.1:8080/"]);
        assert_eq!(Answer::of(&mut wget).success().stdout, "served\n");
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // A client that vanishes leaves no process.
    let mut child = cluster.kubectl_command("exec web -- sleep 4321").spawn().unwrap();
    let there = || cluster.kubectl("exec web -- ps").stdout.contains("sleep 4321");
    eventually("the program runs", Duration::from_secs(10), || there().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the program is gone", Duration::from_secs(10), || (!there()).then_some(()));
}

#[test]
fn attach_run_and_debug() {
    let cluster = Cluster::new("attach").agent("pi-1").up();
    cluster.apply(&pod("shell", "exec sh", "stdin: true, tty: true")).success();
    cluster.kubectl("wait --for=condition=Ready pod/shell --timeout=40s").success();
    let said = in_terminal(&cluster, "attach -it shell", "", "echo sum $((40+2))\nexit\n");
    assert!(said.contains("sum 42"), "{said}");

    let run = format!("run -it --rm once --image={IMAGE} --restart=Never -- sh");
    let said = in_terminal(&cluster, &run, "#", "echo sum $((40+2)); exit\n");
    assert!(said.contains("sum 42") && said.contains("pod \"once\" deleted"), "{said}");
    assert!(cluster.object("pod once").is_none());

    cluster.apply(&pod("web", "exec sleep 1000", "")).success();
    cluster.kubectl("wait --for=condition=Ready pod/web --timeout=40s").success();
    let debug = format!("debug -it web --image={IMAGE} -c look -- sh");
    let said = in_terminal(&cluster, &debug, "#", "echo sum $((40+2)); exit\n");
    assert!(said.contains("sum 42"), "{said}");
}
