//! A person at a program: exec, attach.

use futures_lite::{AsyncReadExt, future};
use serde_json::json;
use smol::net::unix::UnixStream;

use super::{Input, Streams, input};
use crate::agent::container::{declared, stdio};
use crate::agent::exec::process::{Next, Output, Process, Wanted};
use crate::agent::logger;
use crate::api::Status;
use crate::chain;
use crate::link::{AttachRequest, ExecRequest, Stream, StreamError, channel};

/// Runs the program until it ends, or its person is gone.
pub async fn exec(streams: &Streams, request: ExecRequest, stream: Stream) -> Result<(), StreamError> {
    let running = run(streams, &request, &stream);
    let status = match running.await {
        Ok(None) => return Err(StreamError::Ended),
        Ok(Some(0)) => Vec::new(),
        Ok(Some(code)) => exited(code),
        Err(status) => status.to_vec(),
    };
    stream.end(&status).await
}

/// The program's exit code; none when there is nobody to tell it.
async fn run(streams: &Streams, request: &ExecRequest, stream: &Stream) -> Result<Option<u32>, Status> {
    let container = streams.container(&request.uid, &request.pod, &request.container).await?;
    let failed = |error| {
        let why = chain(&error);
        Status::internal(format!("error executing command in container: {why}"))
    };
    let wanted = Wanted { command: request.command.clone(), stdin: request.stdin, tty: request.tty };
    let starting = async {
        let process = Process::start(&streams.client, &streams.run_dir, &container, wanted).await;
        process.map(Some).map_err(failed)
    };
    let gone = async {
        stream.closed().await;
        Ok(None)
    };
    // Dropping a start, or what was started, ends the program.
    let Some(mut process) = future::or(starting, gone).await? else { return Ok(None) };
    let input = process.input();
    let feeding = async {
        if input.feed(stream, request.stdin).await == input::End::Closed {
            input.close().await;
            input.linger(stream).await;
        }
        Ok(None)
    };
    let listening = async {
        loop {
            let (channel, text) = match process.next().await.map_err(failed)? {
                Next::Exit(code) => return Ok(Some(code)),
                Next::Text(Output::Stdout, text) if request.stdout => (channel::STDOUT, text),
                Next::Text(Output::Stderr, text) if request.stderr => (channel::STDERR, text),
                Next::Text(..) => continue,
            };
            // A failure is the stream's end, which the other arm sees.
            let _ = stream.write(channel, text).await;
        }
    };
    future::or(listening, feeding).await
}

/// Passes on what the container's own program says, until it ends or its person is gone.
pub async fn attach(streams: &Streams, request: AttachRequest, stream: Stream) -> Result<(), StreamError> {
    match be_attached(streams, &request, &stream).await {
        Ok(true) => stream.end(&[]).await,
        Ok(false) => Err(StreamError::Ended),
        Err(status) => stream.end(&status.to_vec()).await,
    }
}

/// Whether there is somebody to tell that it is over.
async fn be_attached(streams: &Streams, request: &AttachRequest, stream: &Stream) -> Result<bool, Status> {
    let id = streams.container(&request.uid, &request.pod, &request.container).await?;
    let (pod, _) = streams.pod(&request.uid, &request.pod).await?;
    let pod = pod.object().map_err(Status::internal)?;
    let declared = declared(&pod, &request.container);
    let has = |what: fn(&serde_json::Value) -> bool| declared.is_some_and(what);
    let failed = |error| Status::internal(format!("error attaching to container: {error}"));
    let mut output = UnixStream::connect(stdio::socket(&streams.run_dir, &id)).await.map_err(failed)?;
    // What is typed before it listens would be answered unheard.
    let mut text = Vec::new();
    if next_piece(&mut output, &mut text).await.is_none() {
        return Err(Status::internal(
            "error attaching to container: it has just ended, or too many are attached",
        ));
    }
    let input = Input {
        client: streams.client.clone(),
        pipe: stdio::input(&streams.run_dir, &id),
        container_id: id,
        exec_id: String::new(),
    };
    let wants_input = request.stdin && has(stdio::has_input);
    // As upstream: a terminal's input stays open for the next one.
    let ends_input = wants_input && has(stdio::has_input_once) && !has(stdio::has_terminal);
    let feeding = async {
        let end = input.feed(stream, wants_input).await;
        if ends_input {
            input.close().await;
        }
        if end == input::End::Closed && ends_input {
            input.linger(stream).await;
        }
        Ok(end == input::End::Closed && !ends_input)
    };
    let listening = async {
        while let Some(channel) = next_piece(&mut output, &mut text).await {
            let wanted = match channel {
                channel::STDOUT => request.stdout,
                channel::STDERR => request.stderr,
                _ => false,
            };
            if wanted {
                // A failure is the stream's end, which the other arm sees.
                let _ = stream.write(channel, &text).await;
            }
        }
        Ok(true)
    };
    future::or(listening, feeding).await
}

/// What the log program passes on, and on which channel it goes; None: the container has ended.
async fn next_piece(output: &mut UnixStream, text: &mut Vec<u8>) -> Option<u8> {
    let mut header = [0; logger::HEADER];
    output.read_exact(&mut header).await.ok()?;
    let [channel, high, low] = header;
    text.resize(u16::from_be_bytes([high, low]).into(), 0);
    output.read_exact(text).await.ok()?;
    Some(channel)
}

/// The Status that kubectl takes the exit code from.
fn exited(code: u32) -> Vec<u8> {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    });
    status.to_string().into_bytes()
}
