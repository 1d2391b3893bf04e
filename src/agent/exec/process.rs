//! A program in a running container, with pipes of its own: `<run>/exec/<container's id>.<program's id>/`.
//!
//! What was started ends with its [`Process`], whoever drops it. The folder says what there may be to end, also to an
//! agent that starts after this one was killed: [`end_left`].

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use serde_json::{Value, json};
use smol::Async;

use super::Error;
use crate::agent::streams::Input;
use crate::containerd::{self, Client, ExecSpec, Exit};
use crate::sys::{fifo, file, process};
use crate::{chain, token};

/// Read at once.
const BLOCK: usize = 8 * 1024;
/// How long more output is waited for after a program's end: what it left running may hold its pipes for ever.
const DRAIN: Duration = Duration::from_secs(1);
/// Between two tries to end a program: doubles up to the second one.
const END_RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(10)];
const END_TRIES: usize = 100;

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
    out: Vec<u8>,
    err: Vec<u8>,
    exit: future::Boxed<Result<Exit, containerd::Error>>,
    code: Option<u32>,
}

/// What a program says.
#[derive(Debug)]
pub enum Next<'a> {
    Text(Output, &'a [u8]),
    /// Its exit code; 128 and the signal for one that was killed.
    Exit(u32),
}

/// What there is of a program in containerd and on disk. Dropping it kills the program with all that it has started,
/// and clears up.
struct Place {
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

    /// What feeds it, if it was started with an input or a terminal.
    pub fn input(&self) -> Input {
        Input {
            client: self.place.client.clone(),
            container_id: self.place.container_id.clone(),
            exec_id: self.place.id.clone(),
            pipe: self.place.folder.join("stdin"),
        }
    }

    /// What it says next, until it has ended.
    pub async fn next(&mut self) -> Result<Next<'_>, Error> {
        loop {
            if let (Some(code), None, None) = (self.code, &self.stdout, &self.stderr) {
                return Ok(Next::Exit(code));
            }
            let stdout = async { Event::Text(Output::Stdout, read(&self.stdout, &mut self.out).await) };
            let stderr = async { Event::Text(Output::Stderr, read(&self.stderr, &mut self.err).await) };
            let end = async {
                match self.code {
                    None => Event::Exit(self.exit.as_mut().await),
                    Some(_) => {
                        smol::Timer::after(DRAIN).await;
                        Event::Drained
                    }
                }
            };
            // Cancel-safe: nothing is read before it is ready, and the wait for the end is kept. Errors first: programs
            // hold their other output back, and `kubectl cp` listens to none once it has an empty archive.
            match future::or(future::or(stderr, stdout), end).await {
                Event::Text(output @ Output::Stdout, Ok(length @ 1..)) => {
                    return Ok(Next::Text(output, &self.out[..length]));
                }
                Event::Text(output @ Output::Stderr, Ok(length @ 1..)) => {
                    return Ok(Next::Text(output, &self.err[..length]));
                }
                Event::Text(Output::Stdout, _) => self.stdout = None,
                Event::Text(Output::Stderr, _) => self.stderr = None,
                Event::Exit(ended) => self.code = Some(ended.map_err(Error::Runtime)?.code),
                Event::Drained => (self.stdout, self.stderr) = (None, None),
            }
        }
    }
}

enum Event {
    /// Nothing: the end.
    Text(Output, io::Result<usize>),
    Exit(Result<Exit, containerd::Error>),
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
    let waited = Arc::clone(&place);
    Ok(Process {
        exit: Box::pin(async move { waited.client.wait_exec(&waited.container_id, &waited.id).await }),
        place,
        out: vec![0; if stdout.is_some() { BLOCK } else { 0 }],
        err: vec![0; if stderr.is_some() { BLOCK } else { 0 }],
        stdout,
        stderr,
        code: None,
    })
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
