//! The API of a running server: with the real kubectl (`$KUBECTL`, or the one in the path), and bare.

// A test's harness may fail loudly; Clippy knows tests by their attribute only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod apply;
mod clients;
mod commands;
mod definitions;
mod generic;
mod health;
mod http;
mod kubectl;
mod network;
mod nonsense;
mod protobuf;
mod rest;
mod server;
mod start;
#[path = "../common/transcript.rs"]
mod transcript;
mod watch;
mod workloads;
