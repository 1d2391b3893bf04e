use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use futures_rustls::rustls::ClientConfig;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use smol::Timer;
use smol::net::{TcpListener, TcpStream};

use super::client::Client;
use super::server::{Limits, serve};
use super::*;
use crate::Executor;
use crate::tls::{Authority, Names, ServerIdentity, client_config_pinned, client_config_unverified};

const PATIENCE: Duration = Duration::from_secs(5);

struct Server {
    executor: Executor,
    url: Url,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    stop: smol::channel::Sender<()>,
    done: smol::Task<()>,
}

impl Server {
    async fn start(name: &str, limits: Limits, executor: &Executor) -> Server {
        let folder: PathBuf = std::env::temp_dir().join(format!("midge-http-{name}-{}", std::process::id()));
        let authority = Arc::new(Authority::open_or_create(&folder).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        let tls = client_config_pinned(authority.certificate_pem()).unwrap();
        let identity = ServerIdentity::new(authority, Names::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let shutdown = async move {
            let _ = stopped.recv().await;
        };
        let handler = |request, _| handle(request);
        let done = executor.spawn(serve(listener, identity, limits, executor.clone(), handler, shutdown));
        let url = format!("https://{address}").parse().unwrap();
        Server { executor: executor.clone(), url, address, tls, stop, done }
    }

    async fn connect(&self) -> Result<Client, client::Error> {
        Client::connect(&self.url, self.tls.clone(), PATIENCE, &self.executor).await
    }

    /// Writes plain bytes and reads until the server closes.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

async fn handle(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/echo" => match body::read(request.into_body(), 100, Duration::from_millis(200)).await {
            Ok(bytes) => Response::new(body::full(bytes)),
            Err(body::ReadError::TooLarge { .. }) => status(413),
            Err(_) => status(408),
        },
        "/slow" => {
            Timer::after(Duration::from_millis(300)).await;
            Response::new(body::full("slow"))
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            smol::spawn(async move {
                let (mut io, _) = unwrap_upgraded(upgrade.await.unwrap()).unwrap();
                io.write_all(b"hello").await.unwrap();
                io.close().await.unwrap();
            })
            .detach();
            let mut response = status(101);
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("x"));
            response
        }
        _ => status(404),
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::new(body.into())).unwrap()
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Executor) -> F) {
    let executor = Executor::default();
    let patience = async {
        Timer::after(Duration::from_secs(20)).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(future::or(patience, test(executor.clone()))));
}

#[test]
fn requests_limits_and_upgrades() {
    run(|executor| async move {
        let server = Server::start("requests", Limits::default(), &executor).await;
        let mut client = server.connect().await.unwrap();
        for _ in 0..2 {
            let answer = client.send(request("/echo", "ping")).await.unwrap();
            assert!(answer.headers().contains_key(header::DATE));
            assert_eq!(body::read(answer.into_body(), 9, PATIENCE).await.unwrap(), Bytes::from("ping"));
        }
        let answer = client.send(request("/echo", vec![0; 101])).await.unwrap();
        assert_eq!(answer.status(), 413);

        let mut client = server.connect().await.unwrap();
        let mut large = request("/echo", "");
        large.headers_mut().insert("x", "y".repeat(40_000).parse().unwrap());
        assert_eq!(client.send(large).await.unwrap().status(), 431);

        let mut client = server.connect().await.unwrap();
        let mut upgrade = request("/upgrade", "");
        upgrade.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        upgrade.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("x"));
        let answer = client.send(upgrade).await.unwrap();
        assert_eq!(answer.status(), 101);
        let (mut io, ahead) = client.upgraded(answer).await.unwrap();
        let mut text = ahead.to_vec();
        io.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"hello");
    });
}

#[test]
fn bad_and_slow_clients() {
    run(|executor| async move {
        let limits = Limits {
            handshake: Duration::from_millis(300),
            header: Duration::from_millis(300),
            per_address: 3,
            ..Limits::default()
        };
        let server = Server::start("slow", limits, &executor).await;
        assert!(server.raw(b"GET / HTTP/1.1\r\n\r\n").await.starts_with(b"HTTP/1.0 400 Bad Request\r\n"));
        // Garbage, half a record, nothing: closed, at the latest when the handshake's time is over.
        let begun = Instant::now();
        for bytes in [&b"\x00\xffgarbage"[..], b"\x16\x03\x01\x40\x00", b""] {
            server.raw(bytes).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        // Connected, and then silent.
        let idle = server.connect().await.unwrap();
        Timer::after(Duration::from_millis(600)).await;
        let mut idle = idle;
        assert!(idle.send(request("/echo", "")).await.is_err());
        // As many as one address may have.
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(TcpStream::connect(server.address).await.unwrap());
        }
        Timer::after(Duration::from_millis(50)).await;
        let mut fourth = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();
        assert_eq!(fourth.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(begun.elapsed() < Duration::from_millis(200));
        Timer::after(Duration::from_millis(600)).await;
        server.connect().await.unwrap();
    });
}

#[test]
fn trust_and_reach() {
    run(|executor| async move {
        let one = Server::start("trust-one", Limits::default(), &executor).await;
        let other = Server::start("trust-other", Limits::default(), &executor).await;
        let wrong = Client::connect(&one.url, other.tls.clone(), PATIENCE, &executor).await;
        assert!(matches!(wrong, Err(client::Error::Untrusted { .. })));
        Client::connect(&one.url, client_config_unverified().unwrap(), PATIENCE, &executor).await.unwrap();
        let closed: Url = "https://127.0.0.1:1".parse().unwrap();
        let nobody = Client::connect(&closed, one.tls.clone(), PATIENCE, &executor).await;
        assert!(matches!(nobody, Err(client::Error::Connect { .. })));
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mute: Url = format!("https://{}", plain.local_addr().unwrap()).parse().unwrap();
        let late = Client::connect(&mute, one.tls.clone(), Duration::from_millis(200), &executor).await;
        assert!(matches!(late, Err(client::Error::TimedOut { .. })));
    });
}

#[test]
fn the_end_lets_requests_finish() {
    run(|executor| async move {
        let server = Server::start("drain", Limits::default(), &executor).await;
        let mut busy = server.connect().await.unwrap();
        let mut idle = server.connect().await.unwrap();
        idle.send(request("/echo", "")).await.unwrap();
        let request = async { busy.send(request("/slow", "")).await.unwrap().status() };
        let stop = async {
            Timer::after(Duration::from_millis(100)).await;
            server.stop.send(()).await.unwrap();
            server.done.await;
        };
        let begun = Instant::now();
        let (status, ()) = future::zip(request, stop).await;
        assert_eq!(status, 200);
        assert!(begun.elapsed() < Duration::from_secs(2), "an idle connection does not hold up the end");
        assert!(TcpStream::connect(server.address).await.is_err());
    });
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    run(|executor| async move {
        let limits = Limits { idle: 4, ..Limits::default() };
        let server = Server::start("crowd", limits, &executor).await;
        let mut first = server.connect().await.unwrap();
        let mut mute = Vec::new();
        // Without a handshake, then with one.
        for _ in 0..8 {
            mute.push(TcpStream::connect(server.address).await.unwrap());
        }
        assert_eq!(mute[0].read(&mut [0]).await.unwrap_or(0), 0, "the longest silence goes");
        assert!(first.send(request("/echo", "a")).await.is_err());
        let mut busy = server.connect().await.unwrap();
        let slow = executor.spawn(async move { busy.send(request("/slow", "")).await.map(|r| r.status()) });
        Timer::after(Duration::from_millis(100)).await;
        let mut talking = Vec::new();
        for _ in 0..8 {
            let mut client = server.connect().await.unwrap();
            assert_eq!(client.send(request("/echo", "b")).await.unwrap().status(), 200);
            talking.push(client);
        }
        assert_eq!(slow.await.unwrap(), 200, "who is being answered is not idle");
        drop(server.stop);
        server.done.await;
    });
}
