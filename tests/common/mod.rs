//! What the tests on real parts share. Each test program uses some of it.
#![allow(dead_code)]

pub mod api;
pub mod cluster;
pub mod command;
pub mod containerd;
pub mod network;
pub mod process;
pub mod scratch;
