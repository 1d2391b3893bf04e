//! What the tests on real parts share. Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod cluster;
pub mod command;
pub mod containerd;
pub mod folder;
pub mod image;
pub mod network;
pub mod node;
pub mod process;
pub mod registry;
