//! Probes of servers that say all kinds of things.

use std::sync::Mutex;
use std::time::Instant;

use futures_lite::future;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use serde_json::json;
use smol::net::{TcpListener, TcpStream};

use super::*;

/// Answers each connection by `serve`, which gets what the client sent first.
async fn serving<T>(
    serve: impl AsyncFn(TcpStream, String),
    work: impl AsyncFnOnce(u16) -> T,
) -> (T, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Mutex::new(Vec::new());
    let serving = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            asked.lock().unwrap().push(head.clone());
            serve(stream, head).await;
        }
    };
    let result = future::or(async { Some(work(port).await) }, serving).await.unwrap();
    (result, asked.into_inner().unwrap())
}

fn target(container: &Value) -> Target<'_> {
    Target { container_id: "x", container, pod_ip: Some("127.0.0.1".parse().unwrap()) }
}

/// What `httpGet` finds of a server that gives these answers one after the other.
fn http_probe(answers: &[&str], get: Value) -> (Outcome, Vec<String>) {
    let left = Mutex::new(answers.to_vec());
    smol::block_on(serving(
        async |mut stream, _| {
            let answer = {
                let mut left = left.lock().unwrap();
                if left.len() > 1 { left.remove(0) } else { left[0] }
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.close().await;
        },
        async |port| {
            let mut get = get;
            get["port"] = port.into();
            http::probe(&get, &target(&Value::Null), Duration::from_secs(5)).await
        },
    ))
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_http_servers() {
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    let wide = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let failure = |code: u16| Outcome::Failed(format!("HTTP probe failed with statuscode: {code}"));
    let cases: [(&str, Option<Outcome>); 18] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some(Outcome::Success)),
        ("HTTP/1.0 204 No Content\r\n\r\n", Some(Outcome::Success)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Some(Outcome::Success)),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Some(Outcome::Success)),
        (&long, Some(Outcome::Success)),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Some(failure(404))),
        ("HTTP/1.1 503 \r\n\r\n", Some(failure(503))),
        ("HTTP/1.1 999 ?\r\n\r\n", Some(failure(999))),
        (
            "HTTP/1.1 302 Found\r\n\r\nmoved",
            Some(Outcome::Warning("Probe terminated redirects, Response body: moved".into())),
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\ngo",
            Some(Outcome::Warning("Probe terminated redirects, Response body: go".into())),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
            Some(Outcome::Errored { result: "failure", message: "unexpected EOF".into() }),
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Some(failure(101))),
        // Of these it matters only that they fail.
        ("", None),
        ("SSH-2.0-OpenSSH_9.2\r\n", None),
        ("HTTP/1.1 200 OK\r\nbad header\0\r\n\r\n", None),
        ("HTTP/1.1 20", None),
        (&many, None),
        (&wide, None),
    ];
    for (answer, expected) in cases {
        let begin = answer.get(..60.min(answer.len())).unwrap_or("");
        let (found, _) = http_probe(&[answer], json!({"path": "/healthz"}));
        match expected {
            Some(expected) => assert_eq!(found, expected, "{begin}"),
            None => assert!(failed(found).starts_with("Get \"http://127.0.0.1:"), "{begin}"),
        }
    }
}

#[test]
fn requests_and_redirects() {
    let ok = "HTTP/1.1 200 OK\r\n\r\n";
    let (found, asked) = http_probe(
        &["HTTP/1.1 302 Found\r\nLocation: there?x\r\n\r\n", ok],
        json!({"path": "/a/b c", "httpHeaders": [
            {"name": "X-Twice", "value": "1"}, {"name": "x-twice", "value": "2"},
            {"name": "Host", "value": "web.example"}, {"name": "Accept", "value": ""},
            {"name": "Content-Length", "value": "5"},
        ]}),
    );
    assert_eq!(found, Outcome::Success);
    assert!(
        asked[0].starts_with("GET /a/b%20c HTTP/1.1\r\n")
            && asked[1].starts_with("GET /a/there?x HTTP/1.1\r\n")
    );
    for head in &asked {
        let lower = head.to_ascii_lowercase();
        for expected in [
            "x-twice: 1\r\n",
            "x-twice: 2\r\n",
            "host: web.example\r\n",
            "user-agent: kube-probe/1.37\r\n",
            "connection: close\r\n",
        ] {
            assert!(lower.contains(expected), "{expected} in {head}");
        }
        assert!(!lower.contains("accept") && !lower.contains("content-length"), "{head}");
    }

    let (found, asked) = http_probe(&["HTTP/1.1 301 Moved\r\nLocation: /again\r\n\r\n"], json!({}));
    assert!(failed(found).ends_with("/again\": stopped after 10 redirects"));
    assert_eq!(asked.len(), 10);

    let (found, asked) = http_probe(&[ok], json!({"httpHeaders": [{"name": "A", "value": "secret\nX: y"}]}));
    assert_eq!(found, Outcome::unknown("net/http: invalid header field value for \"A\""));
    assert!(asked.is_empty());
}

#[test]
fn silence_ends_in_time() {
    let limit = Duration::from_millis(300);
    let silent = |answer: &'static [u8]| {
        async move |mut stream: TcpStream, _: String| {
            let _ = stream.write_all(answer).await;
            Timer::after(Duration::from_secs(20)).await;
        }
    };
    let port = |port: u16| json!({"port": port});
    let started = Instant::now();
    smol::block_on(async {
        let (found, _) = serving(silent(b""), async |number| {
            http::probe(&port(number), &target(&Value::Null), limit).await
        })
        .await;
        assert!(
            failed(found)
                .ends_with("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
        );
        let (found, _) = serving(silent(b"HTTP/1.1 200 OK\r\n\r\nmore to come"), async |number| {
            http::probe(&port(number), &target(&Value::Null), limit).await
        })
        .await;
        let Outcome::Errored { result: "failure", message } = found else { panic!("{found:?}") };
        assert!(message.contains("while reading body"), "{message}");
        for tls in [b"".as_slice(), b"\x16\x03\x03\x40\x00"] {
            let (found, _) = serving(silent(tls), async |number| {
                let get = json!({"port": number, "scheme": "HTTPS"});
                http::probe(&get, &target(&Value::Null), limit).await
            })
            .await;
            assert!(failed(found).contains("while awaiting headers"));
        }
        for h2 in [b"".as_slice(), b"\0\0\0\x04\0\0\0\0\0"] {
            let (found, _) = serving(silent(h2), async |number| {
                grpc::probe(&port(number), &target(&Value::Null), limit).await
            })
            .await;
            assert_eq!(failed(found), "timeout: health rpc did not complete within 0s");
        }
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn what_speaks_no_tls_and_no_grpc() {
    let answer = async |mut stream: TcpStream, _: String| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    smol::block_on(async {
        let container = Value::Null;
        let (found, _) = serving(answer, async |port| {
            let get = json!({"port": port, "scheme": "HTTPS"});
            let hook = http::hook(&get, &target(&container), Duration::from_secs(5)).await;
            (http::probe(&get, &target(&container), Duration::from_secs(5)).await, hook)
        })
        .await;
        assert!(failed(found.0).ends_with("http: server gave HTTP response to HTTPS client"));
        assert_eq!(found.1, Ok(()), "a hook asks again without TLS, and takes any answer");
        let (found, _) = serving(answer, async |port| {
            grpc::probe(&json!({"port": port}), &target(&container), Duration::from_secs(5)).await
        })
        .await;
        assert!(failed(found).starts_with("error: health rpc probe failed: "));
    });
}

/// Valid answers with some bytes changed, cut anywhere. What is found does not matter: it ends, in time and in order.
#[test]
fn garbled_answers_end() {
    let seeds: [&[u8]; 3] = [
        b"HTTP/1.1 302 Found\r\nLocation: /a?b#c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        // TLS: a handshake record that begins a ServerHello.
        b"\x16\x03\x03\x00\x30\x02\x00\x00\x2c\x03\x03 0123456789abcdef0123456789abcdef\x00\x13\x01\x00\x00\x04\x00\x2b",
        // HTTP/2: settings, headers with `:status 200`, data.
        b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x07\0\x01\0\0\0\x01\0\0\0\0\x02\x08\x01",
    ];
    let mut state = 0x9e37_79b9_u32;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let limit = Duration::from_millis(100);
    let started = Instant::now();
    for round in 0..150 {
        let mut answer = seeds[round % seeds.len()].to_vec();
        for _ in 0..random(4) {
            let at = random(answer.len());
            answer[at] = random(256) as u8;
        }
        answer.truncate(1 + random(answer.len()));
        let answer = &answer;
        let serve = async |mut stream: TcpStream, _: String| {
            let _ = stream.write_all(answer).await;
            let _ = stream.close().await;
        };
        let probing = serving(serve, async |port| {
            let scheme = if round % 3 == 1 { "HTTPS" } else { "HTTP" };
            let action = json!({"port": port, "scheme": scheme});
            match round % 3 {
                2 => grpc::probe(&action, &target(&Value::Null), limit).await,
                _ => http::probe(&action, &target(&Value::Null), limit).await,
            }
        });
        let (found, _) = smol::block_on(probing);
        let succeeded = matches!(found, Outcome::Success | Outcome::Warning(_));
        assert!(!succeeded || round % 3 != 1, "no TLS server answered: {answer:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn sockets_and_ports() {
    let container = json!({"ports": [{"containerPort": 81}, {"name": "web", "containerPort": 80}]});
    let target = target(&container);
    for (port, found) in [
        (json!(8080), Ok(8080)),
        (json!("web"), Ok(80)),
        (json!("81"), Ok(81)),
        (json!("no"), Err("strconv.Atoi: parsing \"no\": invalid syntax")),
        (json!(0), Err("invalid port number: 0")),
        (json!(70_000), Err("invalid port number: 70000")),
        (json!("-1"), Err("invalid port number: -1")),
        (Value::Null, Err("invalid port number: 0")),
    ] {
        assert_eq!(target.port(&json!({"port": port})), found.map_err(str::to_owned));
    }
    let limit = Duration::from_secs(5);
    smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connect(&json!({"port": port}), &target, limit).await, Outcome::Success);
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(connect(&json!({"port": port}), &target, limit).await, Outcome::Failed(refused));
        let homeless = Target { pod_ip: None, ..target.clone() };
        let found = connect(&json!({"port": 1}), &homeless, limit).await;
        assert_eq!(found, Outcome::unknown("the pod has no address"));
    });
}

/// A health service: `status` by the service's name.
async fn health(stream: TcpStream, status: impl Fn(&str) -> Result<u8, (u16, &'static str)>) {
    use crate::containerd::grpc::Socket;
    let mut connection = h2::server::handshake(Socket(Box::new(stream))).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let agent = request.headers().get("user-agent").cloned();
        let mut body = request.into_body();
        let answering = async {
            let data = body.data().await.unwrap().unwrap();
            let service = String::from_utf8_lossy(data.get(7..).unwrap_or(b"")).into_owned();
            let head = ::http::Response::builder().header("content-type", "application/grpc");
            assert_eq!(agent.unwrap(), "kube-probe/1.37");
            match status(&service) {
                Ok(status) => {
                    let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                    stream.send_data(vec![0, 0, 0, 0, 2, 8, status].into(), false).unwrap();
                    let mut trailers = ::http::HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                }
                Err((code, message)) => {
                    let head = head.header("grpc-status", code).header("grpc-message", message);
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
            }
        };
        let driving = async { connection_driven(&mut connection).await };
        future::or(answering, driving).await;
    }
}

async fn connection_driven(
    connection: &mut h2::server::Connection<crate::containerd::grpc::Socket, bytes::Bytes>,
) {
    let _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
}

#[test]
fn health_services() {
    let status = |service: &str| match service {
        "" => Ok(1),
        "sick" => Ok(2),
        "odd" => Ok(9),
        "old" => Err((12, "unknown service grpc.health.v1.Health")),
        _ => Err((5, "unknown service")),
    };
    let found: Vec<Outcome> = smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asking = async {
            let mut found = Vec::new();
            for service in ["", "sick", "odd", "old", "none"] {
                let check = json!({"port": port, "service": service});
                found.push(grpc::probe(&check, &target(&Value::Null), Duration::from_secs(5)).await);
            }
            found
        };
        let executor = crate::Executor::default();
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                executor.spawn(health(stream, status)).detach();
            }
        };
        executor.run(future::or(asking, serving)).await
    });
    let failure = |text: &str| Outcome::Failed(text.to_owned());
    assert_eq!(
        found,
        [
            Outcome::Success,
            failure("service unhealthy (responded with \"NOT_SERVING\")"),
            failure("service unhealthy (responded with \"9\")"),
            failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): \
                 unknown service grpc.health.v1.Health"
            ),
            failure("error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"),
        ]
    );
}
