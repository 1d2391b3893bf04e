//! A program in a running container, with pipes of its own: `<run>/exec/<container's id>.<program's id>/`.
//!
//! What was started ends with its [`Process`], whoever drops it. The folder says what there may be to end, also to an
//! agent that starts after this one was killed: [`end_left`].

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use serde_json::{Value, json};
use smol::Async;

use super::Error;
use crate::containerd::{Client, ExecSpec};
use crate::sys::{fifo, file, process};
use crate::{chain, token};

/// Read at once.
const BLOCK: usize = 8 * 1024;
/// How long more output is waited for after a program's end: what it left running may hold its pipes for ever.
const DRAIN: Duration = Duration::from_secs(1);
/// Between two tries to end a program: doubles up to the second one.
const END_RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(10)];
const END_TRIES: usize = 100;
/// Until the shim has opened the reading end of the input.
const OPEN_RETRY: Duration = Duration::from_millis(5);

/// What is to run.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub command: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
}

/// A program that was started.
pub struct Process {
    place: Arc<Place>,
    stdout: Option<Async<fs::File>>,
    stderr: Option<Async<fs::File>>,
}

/// What there is of a program in containerd and on disk. Dropping it kills the program with all that it has started,
/// and clears up.
pub struct Place {
    client: Client,
    container_id: String,
    id: String,
    folder: PathBuf,
}

/// Which of the two outputs. A terminal has the first alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

impl Process {
    /// Starts it. A start that is dropped half-way is brought to its end, and then to the program's.
    pub async fn start(
        client: &Client,
        run_dir: &Path,
        container_id: &str,
        wanted: Wanted,
    ) -> Result<Process, Error> {
        let (sender, receiver) = smol::channel::bounded(1);
        let id = token::random_hex::<16>().map_err(|error| Error::Pipes(io::Error::other(error)))?;
        let folder = run_dir.join("exec").join(format!("{container_id}.{id}"));
        let place = Place { client: client.clone(), container_id: container_id.to_owned(), id, folder };
        client.detach(async move {
            // Without a receiver the process is dropped here.
            let _ = sender.send(begin(place, wanted).await).await;
        });
        receiver.recv().await.unwrap_or(Err(Error::NoContainer))
    }

    pub fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }

    /// Gives `take` what comes out until the program has ended, and returns its exit code.
    pub async fn communicate(&mut self, mut take: impl AsyncFnMut(Output, &[u8])) -> Result<u32, Error> {
        let place = Arc::clone(&self.place);
        let mut exit = pin!(place.client.wait_exec(&place.container_id, &place.id));
        let (mut out, mut err) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut code = None;
        loop {
            if let (Some(code), None, None) = (code, &self.stdout, &self.stderr) {
                return Ok(code);
            }
            let stdout = async { Event::Text(Output::Stdout, read(&self.stdout, &mut out).await) };
            let stderr = async { Event::Text(Output::Stderr, read(&self.stderr, &mut err).await) };
            let end = async {
                match code {
                    None => Event::Exit(exit.as_mut().await.map(|exit| exit.code).map_err(Error::Runtime)),
                    Some(_) => {
                        smol::Timer::after(DRAIN).await;
                        Event::Drained
                    }
                }
            };
            // Cancel-safe: nothing is read before it is ready, and the wait for the end is kept.
            match future::or(future::or(stdout, stderr), end).await {
                Event::Text(Output::Stdout, Ok(length @ 1..)) => take(Output::Stdout, &out[..length]).await,
                Event::Text(Output::Stderr, Ok(length @ 1..)) => take(Output::Stderr, &err[..length]).await,
                Event::Text(Output::Stdout, _) => self.stdout = None,
                Event::Text(Output::Stderr, _) => self.stderr = None,
                Event::Exit(ended) => code = Some(ended?),
                Event::Drained => (self.stdout, self.stderr) = (None, None),
            }
        }
    }
}

enum Event {
    /// Nothing: the end.
    Text(Output, io::Result<usize>),
    Exit(Result<u32, Error>),
    Drained,
}

/// Waits for ever where there is no pipe.
async fn read(pipe: &Option<Async<fs::File>>, block: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read_with(|mut pipe| pipe.read(block)).await,
        None => future::pending().await,
    }
}

async fn begin(place: Place, wanted: Wanted) -> Result<Process, Error> {
    let spec = place.client.container_spec(&place.container_id).await.map_err(Error::Runtime)?;
    let process = spec.and_then(|spec| process_of(&spec, &wanted)).ok_or(Error::NoContainer)?;
    let path = |name: &str| place.folder.join(name).to_string_lossy().into_owned();
    let mut exec = ExecSpec {
        container_id: place.container_id.clone(),
        id: place.id.clone(),
        process,
        terminal: wanted.tty,
        stdout: path("stdout"),
        ..ExecSpec::default()
    };
    if wanted.stdin {
        exec.stdin = path("stdin");
    }
    if !wanted.tty {
        exec.stderr = path("stderr");
    }
    let pipes = [exec.stdin.clone(), exec.stdout.clone(), exec.stderr.clone()];
    // From here on there is something to end.
    let place = Arc::new(place);
    let folder = place.folder.clone();
    let [_, stdout, stderr] =
        smol::unblock(move || make_pipes(&folder, pipes)).await.map_err(Error::Pipes)?;
    place.client.create_exec(exec).await.map_err(Error::Runtime)?;
    place.client.start_exec(&place.container_id, &place.id).await.map_err(Error::Runtime)?;
    Ok(Process { place, stdout, stderr })
}

/// Makes the FIFOs, of which an empty path is none, and opens the outputs' reading ends.
fn make_pipes(folder: &Path, paths: [String; 3]) -> io::Result<[Option<Async<fs::File>>; 3]> {
    file::create_private_folder(folder)?;
    let mut readers = [None, None, None];
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        fifo::create(Path::new(path))?;
        if index > 0 {
            readers[index] = Some(Async::new_nonblocking(fifo::reader(Path::new(path))?)?);
        }
    }
    Ok(readers)
}

/// The container's own process with another command. None: its specification has none.
fn process_of(spec: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let mut spec: Value = serde_json::from_slice(spec).ok()?;
    let mut process = spec.get_mut("process")?.take();
    process["args"] = json!(wanted.command);
    process["terminal"] = wanted.tty.into();
    if wanted.tty {
        let env = process.get_mut("env").and_then(Value::as_array_mut);
        let mut env = env.map(std::mem::take).unwrap_or_default();
        env.retain(|entry| !entry.as_str().is_some_and(|entry| entry.starts_with("TERM=")));
        env.push("TERM=xterm".into());
        process["env"] = env.into();
    }
    Some(process.to_string().into_bytes())
}

impl Place {
    /// The writing end of its input, as soon as the program has the other one.
    pub async fn stdin(&self) -> io::Result<Async<fs::File>> {
        let path = self.folder.join("stdin");
        loop {
            if let Some(pipe) = fifo::writer(&path)? {
                return Async::new_nonblocking(pipe);
            }
            smol::Timer::after(OPEN_RETRY).await;
        }
    }

    /// Ends its input, whose writing end was dropped before.
    pub async fn close_stdin(&self) {
        if let Err(error) = self.client.close_stdin(&self.container_id, &self.id).await {
            log::debug!("input of a program in container {}: {}", self.container_id, chain(&error));
        }
    }

    pub async fn resize(&self, width: u16, height: u16) {
        // A program that has just ended has no terminal.
        let _ = self.client.resize(&self.container_id, &self.id, width, height).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let [container_id, id] = [&mut self.container_id, &mut self.id].map(std::mem::take);
        self.client.detach(end(self.client.clone(), container_id, id, std::mem::take(&mut self.folder)));
    }
}

/// Ends the program, if it runs, and all that it has started; clears up.
async fn end(client: Client, container_id: String, id: String, folder: PathBuf) {
    let [mut delay, most] = END_RETRY;
    for _ in 0..END_TRIES {
        // Refused while it runs.
        let Err(error) = client.delete_exec(&container_id, &id).await else {
            let _ = smol::unblock(move || fs::remove_dir_all(folder)).await;
            return;
        };
        log::debug!("a program in container {container_id} is ended: {}", chain(&error));
        if let Ok(Some((pid, _))) = client.exec(&container_id, &id).await {
            let group = container_id.clone();
            smol::unblock(move || process::kill_tree(pid, &group)).await;
            let _ = client.kill_exec(&container_id, &id).await;
        }
        smol::Timer::after(delay).await;
        delay = (delay * 2).min(most);
    }
    log::warn!("a program in container {container_id} does not end");
}

/// Ends what an agent that was killed has left. Call it before anything is started.
pub fn end_left(client: &Client, run_dir: &Path) {
    let Ok(entries) = fs::read_dir(run_dir.join("exec")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((container_id, id)) = name.split_once('.') {
            client.detach(end(client.clone(), container_id.into(), id.into(), entry.path()));
        }
    }
}
