//! The kernel's news about links, addresses and routes (rtnetlink).

use std::io;

/// A stream of "the network changed".
pub struct Changes {}

/// Listens to links, addresses and routes of the current network namespace.
pub fn changes() -> io::Result<Changes> {
    todo!()
}

impl Changes {
    /// Waits for a change that can matter to a connection: an interface went up or down, an address
    /// or a route came or went. Bursts are one change (quiet for 250 ms, 1 s at most). What pods'
    /// own interfaces do is left out. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<()> {
        todo!()
    }
}
