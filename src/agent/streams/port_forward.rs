//! One TCP connection to a port of a pod's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use smol::Async;

use super::Streams;
use crate::agent::handler::dial::words;
use crate::api::{Reason, Status};
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
        Some(Ok((connection, netns))) => {
            let failure = copy(&connection, &stream).await?;
            let status = failure.map(|why| failed(request, &within(netns.as_deref(), &why)));
            stream.end(&status.map_or(Vec::new(), |status| status.to_vec())).await
        }
    }
}

/// The connection, and the pod's network; None: the host's.
async fn connect(
    streams: &Streams,
    request: &PortForwardRequest,
) -> Result<(Async<TcpStream>, Option<PathBuf>), Status> {
    let PortForwardRequest { port, uid, .. } = request;
    let (pod, _) = streams.pod(uid, &request.pod).await?;
    let netns = (!pod.host_network).then(|| streams.run_dir.join("netns").join(uid));
    if netns.as_ref().is_some_and(|netns| !namespace::is_namespace(netns)) {
        return Err(failed(request, &format!("network namespace for sandbox \"{uid}\" is closed")));
    }
    let connection = local(netns.as_deref(), *port).await.map_err(|[four, six]| {
        let why = format!(
            "failed to connect to localhost:{port} inside namespace \"{uid}\", \
             IPv4: dial tcp4 127.0.0.1:{port}: connect: {} IPv6 dial tcp6 [::1]:{port}: connect: {}",
            words(&four),
            words(&six)
        );
        failed(request, &within(netns.as_deref(), &why))
    })?;
    Ok((connection, netns))
}

/// As the kubelet and its runtime word it; there, the pod is the runtime's name for it.
fn failed(request: &PortForwardRequest, why: &str) -> Status {
    let PortForwardRequest { port, pod, uid, .. } = request;
    Status::new(Reason::InternalError, format!("error forwarding port {port} to pod {pod}, uid {uid}: {why}"))
}

fn within(netns: Option<&Path>, why: &str) -> String {
    let netns = netns.unwrap_or(Path::new("host"));
    format!("failed to execute portforward in network namespace \"{}\": {why}", netns.display())
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
async fn copy(connection: &Async<TcpStream>, stream: &Stream) -> Result<Option<String>, StreamError> {
    let from_pod = async {
        let mut block = vec![0; BLOCK];
        loop {
            match (&*connection).read(&mut block).await {
                Ok(length @ 1..) => stream.write(DATA, &block[..length]).await?,
                Ok(_) => break,
                Err(error) => return Ok(Some(format!("read tcp: read: {}", words(&error)))),
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
