//! The one binary: `midge server`, `midge agent` and the commands around them.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // containerd starts this binary as a container's logger, which must read its pipes at once.
    match midge::agent::logger::log_path(&arguments) {
        Some(path) => midge::agent::logger::main(path),
        None => midge::cli::run(arguments),
    }
}
