//! Load on a server: clients that keep their connections, a thread each. They use the standard library's blocking
//! sockets and rustls, and read of an answer no more than they must: what is measured is the server.

use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Whom to ask, and as whom.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// `None` is plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    pub token: String,
}

pub struct Client {
    io: BufReader<Transport>,
    head: String,
    left: Left,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What is left of the answer's body.
enum Left {
    Length(usize),
    Chunks,
}

pub struct Answer {
    pub code: u16,
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(target: &Target) -> io::Result<Client> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let io = match &target.tls {
            None => Transport::Plain(stream),
            Some(config) => {
                let name = ServerName::try_from(midge::tls::SERVER_NAME).map_err(io::Error::other)?;
                let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                Transport::Tls(Box::new(StreamOwned::new(tls, stream)))
            }
        };
        let head = match target.token.trim() {
            "" => String::from("Host: bench\r\n"),
            token => format!("Host: bench\r\nAuthorization: Bearer {token}\r\n"),
        };
        Ok(Client { io: BufReader::with_capacity(64 << 10, io), head, left: Left::Length(0) })
    }

    /// A request and its whole answer.
    pub fn ask(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        let code = self.send(method, path, content_type, body)?;
        let mut all = Vec::new();
        while let Some(piece) = self.piece()? {
            all.extend_from_slice(&piece);
        }
        Ok(Answer { code, body: all })
    }

    /// Sends a request and reads the answer's header.
    pub fn send(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<u16> {
        let mut text = format!("{method} {path} HTTP/1.1\r\n{}", self.head).into_bytes();
        if !body.is_empty() {
            write!(text, "Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())?;
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(body);
        self.io.get_mut().write_all(&text)?;
        let code = self.line()?.get(9..12).and_then(|code| code.parse().ok());
        self.left = Left::Length(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return code.ok_or_else(|| io::Error::other("no status"));
            } else if let Some(length) = line.strip_prefix("content-length: ") {
                self.left = Left::Length(length.parse().map_err(io::Error::other)?);
            } else if line == "transfer-encoding: chunked" {
                self.left = Left::Chunks;
            }
        }
    }

    /// The next piece of the body: all of it, or one chunk, which for a watch is an event.
    pub fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = match self.left {
            Left::Length(length) => length,
            Left::Chunks => usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?,
        };
        let mut piece = vec![0; length];
        self.io.read_exact(&mut piece)?;
        match self.left {
            Left::Chunks => drop(self.line()?),
            Left::Length(_) => self.left = Left::Length(0),
        }
        if length == 0 {
            self.left = Left::Length(0);
        }
        Ok((length > 0).then_some(piece))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.io.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One request of a load, by its number.
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Request {
    pub fn get(path: &str) -> Request {
        Request { method: "GET", path: path.to_owned(), content_type: "", body: Vec::new() }
    }
}

/// `count` requests by `clients` clients at once, each taking the next one when it has its answer; all must be
/// answered with 200 or 201. Connecting does not count.
pub fn run(target: &Target, clients: usize, count: usize, make: impl Fn(usize) -> Request + Sync) -> Rate {
    let next = AtomicUsize::new(0);
    let gate = std::sync::Barrier::new(clients + 1);
    let start = std::sync::OnceLock::new();
    let work = || {
        let mut client = Client::connect(target).unwrap();
        client.ask("GET", "/version", "", b"").unwrap();
        gate.wait();
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return times;
            }
            let Request { method, path, content_type, body } = make(number);
            let begun = Instant::now();
            let code = client.send(method, &path, content_type, &body).unwrap();
            while let Some(piece) = client.piece().unwrap() {
                assert!(code < 300, "{method} {path}: {code} {}", String::from_utf8_lossy(&piece));
            }
            times.push(begun.elapsed());
        }
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let small = || std::thread::Builder::new().stack_size(512 << 10);
        let threads: Vec<_> = (0..clients).map(|_| small().spawn_scoped(scope, work).unwrap()).collect();
        gate.wait();
        let _ = start.set(Instant::now());
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let elapsed = start.get().unwrap().elapsed();
    times.sort_unstable();
    Rate { a_second: count as f64 / elapsed.as_secs_f64(), times, elapsed }
}

pub struct Rate {
    pub a_second: f64,
    /// Of each request, the shortest first.
    pub times: Vec<Duration>,
    pub elapsed: Duration,
}

impl Rate {
    pub fn text(&self) -> String {
        let at = |part: usize| self.times[(self.times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        format!("{:.0}/s, median {:.1} ms, 99th percentile {:.1} ms", self.a_second, at(50), at(99))
    }
}
