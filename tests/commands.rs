//! What people type, and what programs do by the clients of other languages, that needs a node which runs pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/transcript.rs"]
mod transcript;

use common::cluster::Cluster;
use common::command::Answer;
use std::path::Path;
use std::process::Command;

fn on(cluster: &Cluster, program: &str) -> Command {
    let mut command = cluster.server.host.command(program);
    command.env("KUBECONFIG", cluster.server.folder.join("kubeconfig"));
    command.env("HOME", &cluster.server.folder).env_remove("KUBERNETES_SERVICE_HOST");
    command.current_dir(&cluster.server.folder);
    command
}

#[test]
fn of_a_node() {
    let cluster = Cluster::new("commands").agent("pi-1").up();
    transcript::play("node.txt", |step| {
        for (name, text) in &step.files {
            std::fs::write(cluster.server.folder.join(name), text).unwrap();
        }
        let answer = Answer::of(on(&cluster, "timeout").args(["100", "sh", "-c", &transcript::script(step)]));
        (answer.code.unwrap_or(-1), answer.stdout)
    });
    // Its last lines leave a pod, which the others' programs go into.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = folder.join("target/tools/clients/python/bin/python");
    let script = folder.join("tests/clients/exec.py");
    let said = Answer::of(on(&cluster, python.to_str().unwrap()).arg(script)).success();
    assert!(said.stdout.ends_with("python: ok\n"), "{}", said.stdout);
    // Where npm is: tests/setup.sh javascript.
    let modules = folder.join("target/tools/clients/node_modules");
    if modules.exists() {
        let script = folder.join("tests/clients/exec.mjs");
        let said = Answer::of(on(&cluster, "node").arg(script).arg(modules)).success();
        assert!(said.stdout.ends_with("javascript: ok\n"), "{}", said.stdout);
    }
}
