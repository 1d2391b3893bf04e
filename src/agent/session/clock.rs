//! A board without a clock takes the time from its server.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_settime};

/// The first moment of 2026: midge did not exist before.
const SANE: Duration = Duration::from_secs(1_767_225_600);

/// Sets the clock to the server's, milliseconds since 1970, if ours is before 2026 and the server's is not.
pub(super) fn correct(server: u64) {
    let own = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Some(time) = correction(own, Duration::from_millis(server)) else { return };
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => log::warn!("the clock was not set: it is the server's now"),
        Err(error) => log::warn!("the clock is not set, and taking the server's failed: {error}"),
    }
}

/// What to set the clock to. One that is only somewhat wrong is NTP's business.
fn correction(own: Duration, server: Duration) -> Option<Timespec> {
    if own >= SANE || server < SANE {
        return None;
    }
    let seconds = server.as_secs().try_into().ok()?;
    Some(Timespec { tv_sec: seconds, tv_nsec: server.subsec_nanos().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_not_set_is_set() {
        let server = SANE + Duration::from_millis(86_400_500);
        let set = correction(Duration::from_secs(12), server).unwrap();
        assert_eq!((set.tv_sec, set.tv_nsec), (1_767_312_000, 500_000_000));
        assert!(correction(SANE, server).is_none());
        // A server without a clock either, and one whose clock does not fit into ours.
        assert!(correction(Duration::ZERO, SANE - Duration::from_secs(1)).is_none());
        assert!(correction(Duration::ZERO, Duration::from_secs(u64::MAX)).is_none());
    }
}
