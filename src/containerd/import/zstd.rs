//! Zstandard (RFC 8878), frame after frame.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::StreamingDecoder;

/// What `source` holds, decompressed.
pub struct Zstd<R: Read> {
    state: State<R>,
}

enum State<R: Read> {
    /// Between two frames.
    Source(R),
    Frame(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    Over,
}

impl<R: BufRead> Zstd<R> {
    pub fn new(source: R) -> Zstd<R> {
        Zstd { state: State::Source(source) }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Source(mut source) => {
                    if source.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    State::Frame(Box::new(StreamingDecoder::new(source).map_err(io::Error::other)?))
                }
                State::Frame(mut frame) => {
                    let count = frame.read(buffer)?;
                    if count > 0 || buffer.is_empty() {
                        self.state = State::Frame(frame);
                        return Ok(count);
                    }
                    State::Source(frame.into_inner())
                }
            };
        }
    }
}
