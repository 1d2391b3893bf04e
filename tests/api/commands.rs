//! What people type and what they read: transcripts of kubectl and Helm, held against what upstream prints.

use crate::server::Server;
use crate::transcript::{self, script};

fn play(name: &str) {
    let server = Server::start();
    transcript::play(name, |step| {
        step.files.iter().for_each(|(name, text)| server.write(name, text));
        server.run("sh", &["-c", &script(step)]).result()
    });
}

#[test]
fn objects() {
    play("objects.txt");
}

#[test]
fn pods_and_nodes() {
    play("pods.txt");
}

#[test]
fn workloads() {
    play("workloads.txt");
}

#[test]
fn made_by_words() {
    play("create.txt");
}

#[test]
fn access() {
    play("access.txt");
}

#[test]
fn explained() {
    play("explain.txt");
}

#[test]
fn releases() {
    play("helm.txt");
}
