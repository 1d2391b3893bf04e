//! One TCP connection to a port of a pod's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use smol::Async;

use super::Streams;
use crate::api::Status;
use crate::link::{Chunk, PortForwardRequest, Stream, StreamError, channel};
use crate::sys::{namespace, socket};

/// Read at once.
const BLOCK: usize = 16 * 1024;
/// How long the other direction may go on after the pod's end of the connection has closed, as upstream.
const LINGER: Duration = Duration::from_secs(1);

/// Both ways on this channel.
const DATA: u8 = channel::STDIN;

pub async fn serve(
    streams: &Streams,
    request: &PortForwardRequest,
    stream: Stream,
) -> Result<(), StreamError> {
    let connecting = async { Some(connect(streams, request).await) };
    let gone = async {
        stream.closed().await;
        None
    };
    match future::or(connecting, gone).await {
        None => Err(StreamError::Ended),
        Some(Err(status)) => stream.end(&status.to_vec()).await,
        Some(Ok(connection)) => {
            let status = copy(&connection, &stream).await?;
            stream.end(&status.map_or(Vec::new(), |status| status.to_vec())).await
        }
    }
}

async fn connect(streams: &Streams, request: &PortForwardRequest) -> Result<Async<TcpStream>, Status> {
    let (pod, _) = streams.pod(&request.uid, &request.pod).await?;
    let netns = streams.run_dir.join("netns").join(&request.uid);
    let netns = if pod.host_network { None } else { Some(netns) };
    let failed = |why: String| {
        let PortForwardRequest { port, uid, .. } = request;
        Status::internal(format!("error forwarding port {port} to pod {uid}: {why}"))
    };
    if netns.as_ref().is_some_and(|netns| !namespace::is_namespace(netns)) {
        return Err(failed("the pod has no network".into()));
    }
    local(netns.as_deref(), request.port).await.map_err(|[four, six]| {
        failed(format!(
            "failed to connect to localhost:{} inside the pod, IPv4: {four}, IPv6: {six}",
            request.port
        ))
    })
}

async fn local(netns: Option<&Path>, port: u16) -> Result<Async<TcpStream>, [io::Error; 2]> {
    let four = match socket::connect(netns, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    let six = socket::connect(netns, SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    six.map_err(|six| [four, six])
}

/// Until both directions are at their ends, or one end is gone.
async fn copy(connection: &Async<TcpStream>, stream: &Stream) -> Result<Option<Status>, StreamError> {
    let from_pod = async {
        let mut block = vec![0; BLOCK];
        loop {
            match (&*connection).read(&mut block).await {
                Ok(length @ 1..) => stream.write(DATA, &block[..length]).await?,
                Ok(_) => break,
                Err(error) => return Ok(Some(Status::internal(format!("connection to the pod: {error}")))),
            }
        }
        stream.write(channel::CLOSE, &[DATA]).await?;
        smol::Timer::after(LINGER).await;
        Ok(None)
    };
    let to_pod = async {
        loop {
            match stream.read().await? {
                Chunk::Data { channel: DATA, data } => {
                    if (&*connection).write_all(&data).await.is_err() {
                        // The pod reads no more; what it still says is passed on.
                        break;
                    }
                }
                Chunk::Data { channel: channel::CLOSE, .. } | Chunk::End { .. } => {
                    let _ = connection.get_ref().shutdown(Shutdown::Write);
                    break;
                }
                Chunk::Data { .. } => {}
            }
        }
        stream.closed().await;
        Err(StreamError::Ended)
    };
    let gone = async {
        stream.closed().await;
        Err(StreamError::Ended)
    };
    // What is dropped has nothing left to do.
    future::or(from_pod, future::or(to_pod, gone)).await
}
