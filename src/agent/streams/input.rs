//! What a person sends to a program: its input and the size of its terminal.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use smol::Async;

use crate::chain;
use crate::containerd::Client;
use crate::link::{Chunk, Stream, channel};
use crate::sys::fifo;

/// Until the shim has opened the reading end.
const OPEN_RETRY: Duration = Duration::from_millis(5);
/// A size is `{"Width":65535,"Height":65535}`.
const MAX_SIZE: usize = 100;

/// The input of a process in a container.
pub struct Input {
    pub client: Client,
    pub container_id: String,
    /// Empty for the container's own process.
    pub exec_id: String,
    /// A FIFO, of which the shim has the other end.
    pub pipe: PathBuf,
}

/// Why no more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The input is at its end; who sent it still listens.
    Closed,
    /// The other end of the stream is gone.
    Gone,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Input {
    /// Passes on what the stream brings: input if that is wanted, and sizes of the terminal.
    pub async fn feed(&self, stream: &Stream, wanted: bool) -> End {
        // A program that does not read must not hide that nobody is there any more.
        let gone = async {
            stream.closed().await;
            End::Gone
        };
        // What is lost when the other one ends is not wanted any more.
        future::or(self.pass(stream, wanted), gone).await
    }

    async fn pass(&self, stream: &Stream, wanted: bool) -> End {
        let mut pipe = None;
        // A program may close its input, and whoever sends goes on.
        let mut taken = wanted;
        loop {
            match stream.read().await {
                Err(_) | Ok(Chunk::End { .. }) => return End::Gone,
                Ok(Chunk::Data { channel: channel::STDIN, data }) if taken => {
                    taken = self.write(&mut pipe, data).await.is_ok();
                }
                Ok(Chunk::Data { channel: channel::CLOSE, data })
                    if wanted && data.contains(&channel::STDIN) =>
                {
                    // Closing it under a shim that has not opened it yet would be lost.
                    if taken && pipe.is_none() {
                        let _ = self.open().await;
                    }
                    return End::Closed;
                }
                Ok(Chunk::Data { channel: channel::RESIZE, data }) => self.resize(&data).await,
                Ok(Chunk::Data { .. }) => {}
            }
        }
    }

    async fn write(&self, pipe: &mut Option<Async<fs::File>>, data: Bytes) -> io::Result<()> {
        let pipe = match pipe {
            Some(pipe) => pipe,
            None => pipe.insert(self.open().await?),
        };
        let mut rest = &data[..];
        while !rest.is_empty() {
            let written = pipe.write_with(|mut pipe| pipe.write(rest)).await?;
            rest = &rest[written..];
        }
        Ok(())
    }

    async fn open(&self) -> io::Result<Async<fs::File>> {
        loop {
            if let Some(pipe) = fifo::writer(&self.pipe)? {
                return Async::new_nonblocking(pipe);
            }
            smol::Timer::after(OPEN_RETRY).await;
        }
    }

    async fn resize(&self, size: &[u8]) {
        let size = Some(size).filter(|size| size.len() <= MAX_SIZE);
        let Some(Size { width, height }) = size.and_then(|size| serde_json::from_slice(size).ok()) else {
            return;
        };
        // A program that has just ended has no terminal.
        let _ = self.client.resize(&self.container_id, &self.exec_id, width, height).await;
    }

    /// Says that no more comes: the program reads what is in the pipe, then the end.
    pub async fn close(&self) {
        if let Err(error) = self.client.close_stdin(&self.container_id, &self.exec_id).await {
            log::debug!("input of container {}: {}", self.container_id, chain(&error));
        }
    }

    /// After the end of the input: until nobody is there any more, sizes are passed on.
    pub async fn linger(&self, stream: &Stream) {
        while self.feed(stream, false).await == End::Closed {}
    }
}
