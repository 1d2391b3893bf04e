//! A person at a program: exec.

use futures_lite::future;
use serde_json::json;

use super::{Streams, input};
use crate::agent::exec::process::{Next, Output, Process, Wanted};
use crate::api::Status;
use crate::chain;
use crate::link::{ExecRequest, Stream, StreamError, channel};

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
