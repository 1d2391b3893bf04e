//! The first process of a PID namespace that a pod's containers share (`shareProcessNamespace`): the namespace
//! ends with it, and it adopts what they leave behind.
//!
//! It is this program again, so that a pod needs no image of a pause container, and runs as long as the sandbox,
//! without the agent.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::sys::{inherited, pid_namespace};

/// The first argument of the program.
pub const ARGUMENT: &str = "pod-pause";

/// Runs if the process was started for that; None otherwise. Call it before anything else in the program.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    inherited::ignore_children();
    // The agent says so when it can find this process again; one that died before does not.
    if !matches!(io::stdin().read(&mut [0]), Ok(1)) {
        return Some(ExitCode::FAILURE);
    }
    // The containers see it: it must have nothing of the machine's.
    if pid_namespace::confine().is_err() || io::stdout().write_all(b"\n").is_err() {
        return Some(ExitCode::FAILURE);
    }
    loop {
        std::thread::park();
    }
}
