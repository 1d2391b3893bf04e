//! A board without a clock takes the time from its server.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_settime};

/// The first moment of 2026: midge did not exist before.
const SANE: Duration = Duration::from_secs(1_767_225_600);

/// Sets the clock to the server's, milliseconds since 1970, if ours is before 2026 and the server's is not.
/// A clock that is only somewhat wrong is NTP's business.
pub(super) fn correct(server: u64) {
    let server = Duration::from_millis(server);
    let own = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if own >= SANE || server < SANE {
        return;
    }
    let Ok(seconds) = server.as_secs().try_into() else { return };
    let time = Timespec { tv_sec: seconds, tv_nsec: server.subsec_nanos().into() };
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => log::warn!("the clock was not set: it is the server's now"),
        Err(error) => log::warn!("the clock is not set, and taking the server's failed: {error}"),
    }
}
