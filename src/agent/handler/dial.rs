//! TCP connections for probes and hooks: never through a proxy, with Go's words for what goes wrong.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use futures_lite::future;
use smol::Timer;
use smol::net::TcpStream;

/// `host:port`, an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects to the first address of `host` that answers.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => smol::net::resolve((host, port))
            .await
            .map_err(|error| format!("dial tcp: lookup {host}: {}", words(&error)))?,
    };
    let mut failure = format!("dial tcp: lookup {host}: no such host");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = format!("dial tcp {address}: connect: {}", words(&error)),
        }
    }
    Err(failure)
}

/// `work`, or an error of these words once `deadline` has passed.
pub async fn within<T>(
    deadline: Instant,
    words: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    future::or(work, async {
        Timer::at(deadline).await;
        Err(words.to_owned())
    })
    .await
}

/// The error's text as C has it, in lower case and without its number.
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset => "connection reset by peer".into(),
        ErrorKind::HostUnreachable => "no route to host".into(),
        ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        ErrorKind::TimedOut => "connection timed out".into(),
        ErrorKind::UnexpectedEof => "EOF".into(),
        _ => error.to_string(),
    }
}
