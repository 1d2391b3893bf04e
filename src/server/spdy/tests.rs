use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::io::Cursor;
use futures_lite::{AsyncRead, AsyncWrite};

use super::*;

/// What a client sends, and a place for what it gets.
struct Script(Cursor<Vec<u8>>, std::sync::Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        // In small pieces: frames come apart anywhere.
        let length = buf.len().min(7);
        Pin::new(&mut self.0).poll_read(cx, &mut buf[..length])
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.lock().unwrap().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The events of what a client sends, how it ended, and what it got.
fn play(bytes: &[u8]) -> (Vec<Event>, io::Result<()>, Vec<u8>) {
    smol::block_on(async {
        let sent = std::sync::Arc::<Mutex<Vec<u8>>>::default();
        let script: Io = Box::new(Script(Cursor::new(bytes.to_vec()), sent.clone()));
        let (mut reader, writer) = connect(false, script, Bytes::new()).await;
        let mut events = Vec::new();
        let end = loop {
            match reader.next(&writer).await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let sent = sent.lock().unwrap().clone();
        (events, end, sent)
    })
}

fn open(id: u32, block: &[u8]) -> Vec<u8> {
    let body = [&id.to_be_bytes()[..], &[0; 6], block].concat();
    [&b"\x80\x03\0\x01\0"[..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

#[test]
fn what_a_client_does() {
    let mut compress = Compress::default();
    let bytes = [
        open(1, &compress.empty()),
        frame::data(1, b"hello world, in several pieces", true),
        frame::data(1, b"", false),
        frame::ping(5),
        frame::ping(2),
        open(3, &compress.empty()),
        frame::reset(3, 5),
        frame::go_away(0),
    ]
    .concat();
    let (events, end, sent) = play(&bytes);
    end.unwrap();
    let mut text = Vec::new();
    let mut others = Vec::new();
    for event in events {
        match event {
            Event::Data { id: 1, data, fin } => {
                text.extend_from_slice(&data);
                others.extend(fin.then(|| Event::Data { id: 1, data: Bytes::new(), fin }));
            }
            event => others.push(event),
        }
    }
    assert_eq!(text, b"hello world, in several pieces");
    let opened = |id| Event::Open { id, headers: Vec::new(), fin: false };
    let ended = Event::Data { id: 1, data: Bytes::new(), fin: true };
    assert_eq!(others, [opened(1), ended, opened(3), Event::Reset { id: 3 }]);
    assert_eq!(sent, frame::ping(5), "its own pings are answered, the answers to ours are not");
}

#[test]
fn what_no_client_may_send() {
    let mut compress = Compress::default();
    let large = [&b"\x80\x03\0\x01\0\x01\0\0"[..], &[0; 1 << 16]].concat();
    for bytes in [
        &b"\x80\x02\0\x01\0\0\0\0"[..],
        b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x03\0\x01\0\0\0\x02ab",
        b"\x80\x03\0\x06\0\0\0\x01a",
        &open(1, b"no zlib"),
        &[open(1, &compress.empty()), open(3, b"\xff\xff")].concat(),
        &large,
    ] {
        let (events, end, sent) = play(bytes);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        assert!(end.is_err() || events.len() <= 3, "{text}");
        assert!(sent.is_empty(), "{text}");
    }
    // Cut off anywhere: an end, not an error.
    let whole = [open(1, &Compress::default().empty()), frame::data(1, b"abc", true)].concat();
    for length in 0..whole.len() {
        play(&whole[..length]).1.unwrap();
    }
}
