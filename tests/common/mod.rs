//! What the tests on real parts share. Each test crate uses a part of it.
#![allow(dead_code)]

pub mod containerd;
pub mod folder;
pub mod image;
