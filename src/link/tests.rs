use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use smol::Timer;
use smol::net::unix::UnixStream;

use super::*;
use crate::Executor;

fn quick(ping: u64, silence: u64) -> Patience {
    Patience { ping: Some(Duration::from_millis(ping)), silence: Duration::from_millis(silence) }
}

const CALM: Patience = Patience { ping: None, silence: Duration::from_secs(60) };

/// Runs `test` with both ends of a link.
fn linked<F: Future<Output = ()>>(
    agent: Patience,
    server: Patience,
    test: impl FnOnce(Connection, Connection) -> F,
) {
    let executor = Executor::default();
    let (one, other) = UnixStream::pair().unwrap();
    let patience = async {
        Timer::after(Duration::from_secs(20)).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(future::or(patience, async {
        let agent = Connection::start(Box::new(one), Bytes::new(), End::Agent, agent, &executor).await;
        let server = Connection::start(Box::new(other), Bytes::new(), End::Server, server, &executor).await;
        test(agent, server).await;
    })));
}

fn log_request() -> StreamRequest {
    StreamRequest::Log(LogRequest { pod: "web".into(), ..LogRequest::default() })
}

async fn message(connection: &Connection) -> Bytes {
    match connection.next().await.unwrap() {
        Received::Message(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

async fn accept(connection: &Connection) -> Stream {
    match connection.next().await.unwrap() {
        Received::Open(_, stream) => stream,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_of_every_size_arrive_in_order() {
    linked(CALM, CALM, |agent, server| async move {
        let sizes = [1_usize, 100, 16 << 10, (16 << 10) + 1, 300_000, MAX_MESSAGE];
        let send = async {
            for size in sizes {
                agent.link().send(vec![3; size]).await.unwrap();
            }
            // Larger than the peer takes: dropped here, instead of the link being lost.
            agent.link().send(vec![3; MAX_MESSAGE + 1]).await.unwrap();
            agent.link().send(vec![4]).await.unwrap();
        };
        let receive = async {
            for size in sizes {
                assert_eq!(message(&server).await.len(), size);
            }
            assert_eq!(message(&server).await, Bytes::from_static(&[4]));
        };
        future::zip(send, receive).await;
    });
}

#[test]
fn a_stalled_reader_holds_up_its_own_stream_only() {
    linked(quick(50, 600), quick(10_000, 600), |agent, server| async move {
        let stalled = server.link().open(&log_request()).unwrap();
        let brisk = server.link().open(&log_request()).unwrap();
        let (to_stalled, to_brisk) = (accept(&agent).await, accept(&agent).await);
        let written = std::cell::Cell::new(0_usize);
        let flood = async {
            loop {
                to_stalled.write(1, &[b'x'; 5000]).await.unwrap();
                written.set(written.get() + 5000);
            }
        };
        let others = async {
            const TOTAL: usize = 3 << 20;
            let write = async {
                to_brisk.write(2, &vec![b'y'; TOTAL]).await.unwrap();
                to_brisk.end(b"").await.unwrap();
            };
            let read = async {
                let mut read = 0;
                loop {
                    match brisk.read().await.unwrap() {
                        Chunk::Data { channel, data } => {
                            assert_eq!(channel, 2);
                            read += data.len();
                        }
                        Chunk::End { status } => break assert!(status.is_empty() && read == TOTAL),
                    }
                }
                assert_eq!(brisk.read().await, Err(StreamError::Ended));
            };
            // Messages and pings go on for longer than silence lasts.
            let chat = async {
                for _ in 0..20 {
                    Timer::after(Duration::from_millis(50)).await;
                    agent.link().send(vec![3]).await.unwrap();
                }
            };
            let hear = async {
                let mut heard = 0;
                while heard < 20 {
                    heard += usize::from(matches!(server.next().await.unwrap(), Received::Message(_)));
                }
            };
            future::zip(future::zip(write, read), future::zip(chat, hear)).await;
        };
        future::or(flood, others).await;
        // The window, and the frames that wait for credit at the writer.
        assert!((40_000..100_000).contains(&written.get()), "{}", written.get());
        // What was held is there, and reading it gives credit again.
        let mut read = 0;
        while read < 60_000 {
            let Chunk::Data { data, .. } = stalled.read().await.unwrap() else { panic!() };
            read += data.len();
        }
        to_stalled.write(1, &[b'x'; 5000]).await.unwrap();
    });
}

#[test]
fn ends_and_cuts_reach_the_other_end() {
    linked(CALM, CALM, |agent, server| async move {
        let stream = server.link().open(&log_request()).unwrap();
        let far = accept(&agent).await;
        far.write(1, b"last words").await.unwrap();
        far.end(b"{\"code\":404}").await.unwrap();
        let Chunk::Data { data, .. } = stream.read().await.unwrap() else { panic!() };
        assert_eq!(data, Bytes::from_static(b"last words"));
        assert_eq!(stream.read().await, Ok(Chunk::End { status: b"{\"code\":404}".to_vec() }));
        drop(stream);

        // A reader that goes away ends the writer, one that writes nothing too.
        let stream = server.link().open(&log_request()).unwrap();
        let far = accept(&agent).await;
        drop(stream);
        far.closed().await;
        assert_eq!(far.write(1, b"x").await, Err(StreamError::Ended));
        drop(far);

        // A bound on streams, and none is leaked.
        for _ in 0..3 {
            let streams: Vec<Stream> =
                (0..MAX_STREAMS).map(|_| server.link().open(&log_request()).unwrap()).collect();
            assert!(server.link().open(&log_request()).is_none());
            for _ in 0..MAX_STREAMS {
                drop(accept(&agent).await);
            }
            for stream in streams {
                assert_eq!(stream.read().await, Err(StreamError::Ended));
            }
        }

        let stream = server.link().open(&log_request()).unwrap();
        let far = accept(&agent).await;
        drop(agent);
        assert_eq!(stream.read().await, Err(StreamError::LinkLost));
        assert_eq!(far.write(1, b"x").await, Err(StreamError::LinkLost));
    });
}

#[test]
fn silence_is_death_and_pings_are_life() {
    linked(quick(40, 400), quick(10_000, 400), |agent, server| async move {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            assert!(matches!(server.next().await, Ok(Received::Alive)));
        }
        agent.link().close(close::GOING_AWAY, "that was it");
        assert!(matches!(agent.link().closed().await, Closed::Here));
        loop {
            match server.next().await {
                Ok(Received::Alive) => {}
                Err(Closed::Peer { code, reason }) => {
                    break assert_eq!((code, reason.as_str()), (close::GOING_AWAY, "that was it"));
                }
                other => panic!("{other:?}"),
            }
        }
    });
    // A peer that takes and says nothing.
    let executor = Executor::default();
    let (one, _mute) = UnixStream::pair().unwrap();
    smol::block_on(executor.run(async {
        let agent =
            Connection::start(Box::new(one), Bytes::new(), End::Agent, quick(20, 200), &executor).await;
        assert!(matches!(agent.next().await, Err(Closed::Silence(_))));
    }));
    let (one, _mute) = UnixStream::pair().unwrap();
    smol::block_on(executor.run(async {
        let agent = Connection::start(Box::new(one), Bytes::new(), End::Agent, CALM, &executor).await;
        agent.link().probe(Duration::from_millis(50));
        assert!(matches!(agent.next().await, Err(Closed::Probe)));
    }));
    linked(CALM, CALM, |agent, server| async move {
        agent.link().probe(Duration::from_millis(200));
        Timer::after(Duration::from_millis(400)).await;
        agent.link().send(vec![3]).await.unwrap();
        assert!(matches!(server.next().await, Ok(Received::Alive | Received::Message(_))));
    });
}

/// What a server makes of bytes that no agent sends.
async fn fate(bytes: &[u8], executor: &Executor) -> Closed {
    let (mut peer, io) = UnixStream::pair().unwrap();
    let server = Connection::start(Box::new(io), Bytes::new(), End::Server, CALM, executor).await;
    let _ = peer.write_all(bytes).await;
    // Whatever the server says meanwhile.
    let drain = async {
        let mut sink = [0; 1024];
        while peer.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        future::pending::<()>().await;
    };
    let end = async {
        loop {
            if let Err(why) = server.next().await {
                break why;
            }
        }
    };
    future::or(end, async {
        drain.await;
        unreachable!()
    })
    .await
}

/// A masked binary WebSocket frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn bad_peers_lose_their_link_and_nothing_else() {
    let executor = Executor::default();
    smol::block_on(executor.run(async {
        // Not WebSocket; unmasked; a frame that says it has 2^62 bytes; one of 65 KiB and more; text; no message.
        let huge = [&[0x82, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
        let large = [&[0x82, 0xff][..], &((64_u64 << 10) + 1).to_be_bytes(), &[0; 4]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0x82, 0x01, 0x03],
            &huge,
            &large,
            &[0x81, 0x81, 0, 0, 0, 0, b'x'],
            &frame(b""),
            &frame(&[33]),
            &frame(&[32, 0, 0, 0, 1, 1, b'{']),
        ] {
            let why = fate(bytes, &executor).await;
            assert!(matches!(why, Closed::Protocol(_)), "{bytes:02x?}: {why}");
        }
        // A message of many frames that never ends.
        let mut endless = frame(&[3; 60_000]);
        endless[0] = 0x02;
        let mut more = frame(&[3; 60_000]);
        more[0] = 0x00;
        let bytes = [endless, more.repeat(MAX_MESSAGE / 60_000 + 1)].concat();
        assert!(matches!(fate(&bytes, &executor).await, Closed::Protocol(_)));
    }));
}

#[test]
fn more_stream_data_than_credit_ends_the_link() {
    let executor = Executor::default();
    smol::block_on(executor.run(async {
        let (mut peer, io) = UnixStream::pair().unwrap();
        let server = Connection::start(Box::new(io), Bytes::new(), End::Server, CALM, &executor).await;
        let stream = server.link().open(&log_request()).unwrap();
        let data = frame(&[&[33, 0, 0, 0, 1, 1][..], &[b'x'; 10_000]].concat());
        for _ in 0..7 {
            let _ = peer.write_all(&data).await;
        }
        assert!(matches!(server.next().await, Err(Closed::Protocol("more stream data than credit"))));
        // One byte a frame fills no more memory than large frames: each costs of the window.
        drop(stream);
        let (mut peer, io) = UnixStream::pair().unwrap();
        let server = Connection::start(Box::new(io), Bytes::new(), End::Server, CALM, &executor).await;
        let _stream = server.link().open(&log_request()).unwrap();
        let data = frame(&[33, 0, 0, 0, 1, 1, b'x']);
        let _ = peer.write_all(&data.repeat((64 << 10) / 33 + 1)).await;
        assert!(matches!(server.next().await, Err(Closed::Protocol("more stream data than credit"))));
    }));
}
