//! The one binary: `midge server`, `midge agent` and the commands around them.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: midge::sys::allocator::Allocator = midge::sys::allocator::Allocator::new();

fn main() -> ExitCode {
    // containerd starts this program as each container's logger, which must read its pipes at once.
    let started_for = midge::agent::logger::main(std::env::args_os());
    match started_for.or_else(|| midge::agent::pause::main(std::env::args_os())) {
        Some(code) => code,
        None => midge::cli::run(std::env::args_os().skip(1)),
    }
}
