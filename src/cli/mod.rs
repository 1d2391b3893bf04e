//! Floor 3: arguments → validated config → run.

mod agent;
mod args;
mod check;
mod config_file;
mod error;
mod kubeconfig;
mod layers;
mod log;
mod node;
mod registry;
mod reset;
mod server;
mod shutdown;
mod status;
mod token;

use crate::sys::notify;
use crate::{Executor, chain};
use argh::{ArgsInfo, FromArgs};
use args::{AgentArgs, Command, Midge, ResetArgs, ServerArgs, ShutdownArgs, StatusArgs};
use error::Error;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

/// Read when neither `--config` nor `MIDGE_CONFIG` names another; it may be missing.
pub const DEFAULT_CONFIG: &str = "/etc/midge/config.yaml";
/// Where everything that midge keeps is.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/midge";
/// The admin's credentials.
pub const DEFAULT_KUBECONFIG: &str = "/etc/midge/midge.yaml";

/// Runs the command that `arguments`, without the program's name, ask for. Errors are printed here,
/// once, as one line on stderr.
// Inlined into `main` its frame of 70 KB, which is touched page by page on entry, would be every log
// program's, too: one for each container.
#[inline(never)]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let command = match parse(arguments.collect()) {
        Ok(Parsed::Command(command)) => command,
        Ok(Parsed::Help(text)) => return print(text.trim_end()),
        Err(error) => return fail(&error),
    };
    let outcome = match *command {
        Command::Server(args) => server::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Status(args) => return status::run(args).unwrap_or_else(|error| fail(&error)),
        Command::Token(args) => token::run(args),
        Command::Check(args) => check::run(args),
        Command::Registry(args) => registry::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Shutdown(args) => shutdown::run(args),
        Command::Version(_) => return print(&format!("midge {}", crate::VERSION)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

enum Parsed {
    Command(Box<Command>),
    Help(String),
}

fn parse(arguments: Vec<String>) -> Result<Parsed, Error> {
    let mut arguments = layers::split_equals(arguments);
    if matches!(arguments.first().map(String::as_str), Some("--version" | "-V")) {
        arguments = vec!["version".to_string()];
    }
    let described = match arguments.first().map(String::as_str) {
        Some("server") => Some(ServerArgs::get_args_info()),
        Some("agent") => Some(AgentArgs::get_args_info()),
        Some("status") => Some(StatusArgs::get_args_info()),
        Some("reset") => Some(ResetArgs::get_args_info()),
        Some("shutdown") => Some(ShutdownArgs::get_args_info()),
        _ => None,
    };
    if let Some(command) = described {
        let given = arguments.split_off(1);
        if !given.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h" | "help")) {
            let variable = |name: &str| std::env::var(name).ok();
            let file = layers::config_file(&given, variable)?;
            arguments.extend(layers::merge(&command, given, variable, &file, &node_keys())?);
        } else {
            arguments.push("--help".to_string());
        }
    }
    let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Midge::from_args(&["midge"], &borrowed) {
        Ok(midge) => Ok(Parsed::Command(Box::new(midge.command))),
        Err(exit) if exit.status.is_ok() => Ok(Parsed::Help(exit.output)),
        Err(exit) => Err(Error::Usage(exit.output)),
    }
}

/// Every key that a configuration file may hold: a file that server and agent share has keys of both.
fn node_keys() -> Vec<String> {
    let (server, agent) = (ServerArgs::get_args_info(), AgentArgs::get_args_info());
    server
        .flags
        .iter()
        .chain(agent.flags)
        .map(|flag| flag.long.trim_start_matches("--").to_string())
        .collect()
}

/// Runs `future` and the tasks that it spawns on this thread until it ends.
fn block_on<T>(run: impl AsyncFnOnce(Executor) -> T) -> T {
    let executor = Executor::default();
    let main = run(executor.clone());
    smol::block_on(executor.run(main))
}

/// [`block_on`] of a service: the service manager's watchdog is told from the same thread, if there is one.
fn serve<T>(run: impl AsyncFnOnce(Executor) -> T) -> T {
    block_on(async |executor| {
        let _watch = notify::watchdog().map(|limit| executor.spawn(notify::watch(limit)));
        run(executor).await
    })
}

/// A future that is ready once `shutdown` is, and that can be had many times.
fn shared(
    executor: &Executor,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> smol::channel::Receiver<()> {
    let (sender, receiver) = smol::channel::bounded(1);
    executor
        .spawn(async move {
            shutdown.await;
            sender.close();
        })
        .detach();
    receiver
}

/// Ready when the channel of [`shared`] has closed.
async fn closed(receiver: smol::channel::Receiver<()>) {
    while receiver.recv().await.is_ok() {}
}

fn fail(error: &Error) -> ExitCode {
    let priority = if notify::stderr_is_journal() { "<3>" } else { "" };
    eprintln!("{priority}midge: {}", chain(error));
    ExitCode::from(error.exit_code())
}

/// Prints to stdout; a closed pipe (`midge --help | head -1`) is not an error.
fn print(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
