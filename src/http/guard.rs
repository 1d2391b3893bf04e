//! A transport that does not wait for ever on a peer that takes nothing, and is counted while it lives.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use smol::Timer;

/// Wraps `T`; `C` is dropped with it, for instance a counter's guard.
pub(super) struct Guarded<T, C> {
    io: T,
    patience: Duration,
    /// Runs while a write waits for the peer.
    stalled: Option<Timer>,
    _counted: C,
}

impl<T, C> Guarded<T, C> {
    /// A write or flush that makes no progress for `patience`, with nothing heard of the peer, fails with
    /// `TimedOut`.
    pub(super) fn new(io: T, patience: Duration, counted: C) -> Self {
        Self { io, patience, stalled: None, _counted: counted }
    }

    fn watch<R>(&mut self, outcome: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let timer = self.stalled.get_or_insert_with(|| Timer::after(self.patience));
        match Pin::new(timer).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin, C: Unpin> AsyncRead for Guarded<T, C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let patience = self.patience;
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        // A peer that is heard of is there, and only slow: a terminal that was stopped, a pager.
        if let (Poll::Ready(Ok(1..)), Some(timer)) = (&outcome, &mut self.stalled) {
            timer.set_after(patience);
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin, C: Unpin> AsyncWrite for Guarded<T, C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(outcome, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_close(cx);
        self.watch(outcome, cx)
    }
}
