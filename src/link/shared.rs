//! What a link's driver, its handles and its streams share: bounded queues and who waits for them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connection::{Closed, End};
use super::message::StreamRequest;

/// The bytes that may be under way to a reader of a stream that does not read.
pub(super) const WINDOW: u32 = 64 << 10;
/// The most bytes of one data frame.
pub(super) const MAX_DATA: usize = 16 << 10;
/// What a data frame costs of the window besides its bytes, so that tiny ones fill no memory.
pub(super) const FRAME_COST: u32 = 32;
/// Streams at once on one link.
pub const MAX_STREAMS: usize = 256;
/// Data frames of one stream that wait for the socket.
const MAX_QUEUED: usize = 2;
/// Bytes of messages that wait for the socket before [`State::may_send`] is false.
const MAX_CONTROL: usize = 64 << 10;
/// Bytes of messages that wait for their reader before the socket is read no more.
const MAX_INBOX: usize = 64 << 10;
/// The most bytes of the status that ends a stream.
const MAX_STATUS: usize = 16 << 10;

// Types of messages that are streams'. Each is followed by the stream's id, 4 bytes, big endian.
const OPEN: u8 = 32; // a request
const DATA: u8 = 33; // a channel byte, bytes
const CREDIT: u8 = 34; // 4 bytes, big endian
const END: u8 = 35; // a status, or nothing
const CUT: u8 = 36;

pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(end: End) -> Self {
        Self(Mutex::new(State {
            end,
            control: VecDeque::new(),
            control_bytes: 0,
            streams: Vec::new(),
            turn: 0,
            next_id: 1,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            alive: false,
            probe: None,
            closing: None,
            closed: None,
            driver: Wakers::default(),
            waiting: Wakers::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tasks that wait. A task is in it once, so it is as short as there are tasks.
#[derive(Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(super) fn add(&mut self, cx: &Context<'_>) {
        if !self.0.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.0.push(cx.waker().clone());
        }
    }

    pub(super) fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

pub(super) struct State {
    end: End,
    control: VecDeque<Vec<u8>>,
    control_bytes: usize,
    streams: Vec<Entry>,
    /// Whose turn it is to write.
    turn: usize,
    next_id: u32,
    inbox: VecDeque<Inbound>,
    inbox_bytes: usize,
    /// The peer was heard of since the reader was told.
    pub(super) alive: bool,
    /// The peer is to be heard of within this time, from a ping on that is to be sent.
    pub(super) probe: Option<Duration>,
    /// What the peer is told, and how long this end waits for that to get through and be answered.
    pub(super) closing: Option<(u16, String, Instant)>,
    pub(super) closed: Option<Closed>,
    pub(super) driver: Wakers,
    /// Readers of the inbox and senders of messages.
    pub(super) waiting: Wakers,
}

pub(super) enum Inbound {
    Message(Bytes),
    Open(StreamRequest, u32),
}

/// How the peer's direction of a stream ended.
pub(super) enum PeerEnd {
    Status(Vec<u8>),
    /// Also after the status was read.
    Over,
}

pub(super) struct Entry {
    id: u32,
    /// Channel, bytes, cost. Frames of one channel are put together.
    incoming: VecDeque<(u8, Vec<u8>, u32)>,
    /// What the peer may still send.
    window: u32,
    /// What was read, and the peer not told yet.
    returned: u32,
    /// What may still be sent to the peer.
    credit: u32,
    outgoing: VecDeque<Vec<u8>>,
    pub(super) peer_end: Option<PeerEnd>,
    /// No handle is left; the entry goes when `outgoing` is empty.
    detached: bool,
    pub(super) waiting: Wakers,
}

impl Entry {
    fn new(id: u32) -> Self {
        Self {
            id,
            incoming: VecDeque::new(),
            window: WINDOW,
            returned: 0,
            credit: WINDOW,
            outgoing: VecDeque::new(),
            peer_end: None,
            detached: false,
            waiting: Wakers::default(),
        }
    }

    /// Takes what came, if something did.
    pub(super) fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (channel, data, cost) = self.incoming.pop_front()?;
        self.returned += cost;
        Some((channel, data))
    }

    /// Queues a part of `data`, as much as credit and queue allow, and says how much.
    pub(super) fn queue_data(&mut self, channel: u8, data: &[u8]) -> usize {
        let room = usize::try_from(self.credit.saturating_sub(FRAME_COST)).unwrap_or(0);
        let length = data.len().min(room).min(MAX_DATA);
        if length == 0 || self.outgoing.len() >= MAX_QUEUED {
            return 0;
        }
        self.credit -= FRAME_COST + length as u32;
        let mut frame = frame(DATA, self.id, 1 + length);
        frame.push(channel);
        frame.extend_from_slice(&data[..length]);
        self.outgoing.push_back(frame);
        length
    }

    pub(super) fn queue_end(&mut self, status: &[u8]) {
        let status = &status[..status.len().min(MAX_STATUS)];
        let mut frame = frame(END, self.id, status.len());
        frame.extend_from_slice(status);
        self.outgoing.push_back(frame);
        self.detached = true;
    }
}

fn frame(kind: u8, id: u32, more: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + more);
    frame.push(kind);
    frame.extend_from_slice(&id.to_be_bytes());
    frame
}

impl State {
    pub(super) fn stream(&mut self, id: u32) -> Option<&mut Entry> {
        self.streams.iter_mut().find(|entry| entry.id == id)
    }

    /// Begins a stream, or says that there are too many.
    pub(super) fn open(&mut self, request: &[u8]) -> Option<u32> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        while self.streams.iter().any(|entry| entry.id == self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let mut opening = frame(OPEN, id, request.len());
        opening.extend_from_slice(request);
        let mut entry = Entry::new(id);
        entry.outgoing.push_back(opening);
        self.streams.push(entry);
        self.driver.wake();
        Some(id)
    }

    /// The handle of a stream is gone without an end.
    pub(super) fn cut(&mut self, id: u32) {
        let Some(entry) = self.stream(id) else { return };
        if entry.detached {
            return;
        }
        entry.detached = true;
        entry.incoming.clear();
        // An opening that was not sent yet must not be taken back alone: the peer may know the id.
        entry.outgoing.truncate(usize::from(entry.outgoing.front().is_some_and(|first| first[0] == OPEN)));
        if entry.peer_end.is_none() || !entry.outgoing.is_empty() {
            entry.outgoing.push_back(frame(CUT, id, 0));
        }
        self.sweep();
        self.driver.wake();
    }

    pub(super) fn may_send(&self) -> bool {
        self.control.is_empty() || self.control_bytes < MAX_CONTROL
    }

    pub(super) fn queue_message(&mut self, message: Vec<u8>) {
        self.control_bytes += message.len();
        self.control.push_back(message);
        self.driver.wake();
    }

    pub(super) fn may_receive(&self) -> bool {
        self.inbox_bytes < MAX_INBOX
    }

    /// What is to be written next: messages, then credit, then streams' data in turn.
    pub(super) fn next_out(&mut self) -> Option<Vec<u8>> {
        if let Some(message) = self.control.pop_front() {
            self.control_bytes -= message.len();
            self.waiting.wake();
            return Some(message);
        }
        for entry in &mut self.streams {
            if entry.returned >= WINDOW / 2 && !entry.detached {
                let mut credit = frame(CREDIT, entry.id, 4);
                credit.extend_from_slice(&entry.returned.to_be_bytes());
                entry.window += entry.returned;
                entry.returned = 0;
                return Some(credit);
            }
        }
        for offset in 0..self.streams.len() {
            let index = (self.turn + offset) % self.streams.len();
            let entry = &mut self.streams[index];
            if let Some(frame) = entry.outgoing.pop_front() {
                entry.waiting.wake();
                self.turn = index + 1;
                self.sweep();
                return Some(frame);
            }
        }
        None
    }

    fn sweep(&mut self) {
        self.streams.retain(|entry| !(entry.detached && entry.outgoing.is_empty()));
    }

    pub(super) fn take_inbound(&mut self) -> Option<Inbound> {
        let inbound = self.inbox.pop_front()?;
        let full = !self.may_receive();
        self.inbox_bytes -= inbound.cost();
        if full {
            self.driver.wake();
        }
        Some(inbound)
    }

    fn push_inbound(&mut self, inbound: Inbound) {
        self.inbox_bytes += inbound.cost();
        self.inbox.push_back(inbound);
        self.waiting.wake();
    }

    /// Takes one message from the peer to where it belongs.
    pub(super) fn dispatch(&mut self, message: Bytes) -> Result<(), Closed> {
        let malformed = Closed::Protocol("a malformed stream frame");
        let kind = *message.first().ok_or(Closed::Protocol("an empty message"))?;
        if !(OPEN..=47).contains(&kind) {
            self.push_inbound(Inbound::Message(message));
            return Ok(());
        }
        let id: [u8; 4] = message.get(1..5).and_then(|id| id.try_into().ok()).ok_or(malformed.clone())?;
        let (id, rest) = (u32::from_be_bytes(id), &message[5..]);
        if kind == OPEN {
            return self.opened(id, rest);
        }
        // An unknown stream is one that ended here while this was under way.
        let Some(entry) = self.stream(id) else { return Ok(()) };
        match kind {
            DATA => {
                let (&channel, data) = rest.split_first().ok_or(malformed)?;
                if entry.peer_end.is_some() {
                    return Err(Closed::Protocol("data after a stream's end"));
                }
                let cost = u32::try_from(data.len()).unwrap_or(u32::MAX).saturating_add(FRAME_COST);
                entry.window =
                    entry.window.checked_sub(cost).ok_or(Closed::Protocol("more stream data than credit"))?;
                if entry.detached {
                    return Ok(());
                }
                match entry.incoming.back_mut() {
                    Some(last) if last.0 == channel && last.1.len() + data.len() <= MAX_DATA => {
                        last.1.extend_from_slice(data);
                        last.2 += cost;
                    }
                    _ => entry.incoming.push_back((channel, data.to_vec(), cost)),
                }
            }
            CREDIT => {
                let credit = rest.try_into().map_err(|_| malformed)?;
                entry.credit = entry.credit.saturating_add(u32::from_be_bytes(credit)).min(4 * WINDOW);
            }
            END if rest.len() > MAX_STATUS => return Err(malformed),
            END if entry.peer_end.is_none() => entry.peer_end = Some(PeerEnd::Status(rest.to_vec())),
            CUT if entry.peer_end.is_none() => {
                entry.peer_end = Some(PeerEnd::Over);
                entry.outgoing.clear();
            }
            _ => {}
        }
        entry.waiting.wake();
        self.sweep();
        Ok(())
    }

    fn opened(&mut self, id: u32, request: &[u8]) -> Result<(), Closed> {
        if self.end == End::Server {
            return Err(Closed::Protocol("a stream opened by an agent"));
        }
        if self.stream(id).is_some() {
            return Err(Closed::Protocol("a stream opened twice"));
        }
        let request =
            StreamRequest::decode(request).map_err(|_| Closed::Protocol("a malformed stream request"))?;
        let refusal = match request {
            Some(request) if self.streams.len() < MAX_STREAMS => {
                self.streams.push(Entry::new(id));
                self.push_inbound(Inbound::Open(request, id));
                return Ok(());
            }
            Some(_) => {
                Closed::refusal(503, "ServiceUnavailable", "the node serves as many streams as it may")
            }
            None => Closed::refusal(501, "", "the node's version of midge does not know this kind of stream"),
        };
        if !self.may_send() {
            return Err(Closed::Protocol("too many streams"));
        }
        let mut end = frame(END, id, refusal.len());
        end.extend_from_slice(refusal.as_bytes());
        self.queue_message(end);
        Ok(())
    }

    /// The end of everything: whoever waits is told, what was to be sent is dropped.
    pub(super) fn finish(&mut self, closed: Closed) {
        self.closed.get_or_insert(closed);
        self.control = VecDeque::new();
        for entry in &mut self.streams {
            entry.outgoing = VecDeque::new();
            entry.waiting.wake();
        }
        self.sweep();
        self.driver.wake();
        self.waiting.wake();
    }

    pub(super) fn next_probe(&mut self, now: Instant) -> Option<Instant> {
        self.probe.take().map(|patience| now + patience)
    }
}

impl Inbound {
    /// What it counts in the inbox; more than nothing, whatever its size.
    fn cost(&self) -> usize {
        match self {
            Self::Message(bytes) => bytes.len() + 64,
            Self::Open(..) => 512,
        }
    }
}
