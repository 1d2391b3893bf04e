//! What the tests on real parts share. Each test crate uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod containerd;
pub mod folder;
pub mod image;
