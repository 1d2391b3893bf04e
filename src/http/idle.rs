//! Connections that wait for their client: for its handshake, or its next request. Anybody can open
//! them and say nothing; when there are too many, the ones that have waited longest are closed, so that
//! they cost little memory and keep nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use smol::channel::{Receiver, Sender, bounded};

use super::Body;

/// Those that wait now, by how long they do.
pub(super) struct Idle {
    most: usize,
    waiting: Mutex<BTreeMap<u64, (IpAddr, Sender<()>)>>,
    next: AtomicU64,
}

/// One connection.
pub(super) struct Seat {
    idle: Arc<Idle>,
    address: IpAddr,
    /// Its place among those that wait.
    place: AtomicU64,
    close: Sender<()>,
    closed: Receiver<()>,
}

/// A request is being answered.
pub(super) struct Busy(Arc<Seat>);

impl Idle {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// A new connection, which waits.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Arc<Seat> {
        let (close, closed) = bounded(1);
        let seat = Seat { idle: self.clone(), address, place: AtomicU64::new(0), close, closed };
        seat.wait();
        Arc::new(seat)
    }
}

impl Seat {
    fn wait(&self) {
        let place = self.idle.next.fetch_add(1, Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
        let mut waiting = self.idle.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(place, (self.address, self.close.clone()));
        if waiting.len() <= self.idle.most {
            return;
        }
        // Of the address that has most of them: one that has few is not made to pay for it.
        let mut counts = HashMap::new();
        waiting.values().for_each(|(address, _)| *counts.entry(*address).or_insert(0_usize) += 1);
        let most = counts.values().max().copied();
        let oldest = waiting.iter().find(|(_, (address, _))| counts.get(address).copied() == most);
        if let Some((_, close)) = oldest.map(|(place, _)| *place).and_then(|place| waiting.remove(&place)) {
            let _ = close.try_send(());
        }
    }

    fn leave(&self) {
        let place = self.place.load(Ordering::Relaxed);
        self.idle.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
    }

    /// Ready once the connection has to go.
    pub(super) async fn closed(&self) {
        let _ = self.closed.recv().await;
    }

    /// A request has come: until what is returned is dropped, nobody waits for the client. If the connection was to
    /// go and has not gone yet, it stays: its client must not lose a request that is being carried out.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.leave();
        let _ = self.closed.try_recv();
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A body; the connection is busy until it is sent.
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _busy: Busy,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_request_that_has_come_is_answered() {
        let idle = Idle::new(1);
        let enter = || idle.enter(Ipv4Addr::LOCALHOST.into());
        let first = enter();
        let _second = enter();
        let busy = first.busy();
        assert!(first.closed.try_recv().is_err(), "its request came before it was closed");
        // It waits again, and another has waited longer.
        drop(busy);
        let _third = enter();
        assert!(first.closed.try_recv().is_ok());
    }
}
