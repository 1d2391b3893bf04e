use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: containerd starts this program once for each container.
    if let Some(code) = midge::agent::logger::main(std::env::args_os()) {
        return code;
    }
    ExitCode::SUCCESS
}
