//! When a container that ended is started again.

use std::time::{Duration, SystemTime};

use super::Exit;

/// The wait before the second restart in a row; each further one doubles it.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait before a restart.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long has its back-off forgotten.
pub const BACK_OFF_RESET: Duration = Duration::from_secs(600);

/// When a container that ended so may start again; `now` or earlier means at once.
pub fn restart_at(exit: &Exit, back_off: Duration, now: SystemTime) -> SystemTime {
    let ran = exit.started.and_then(|started| exit.finished.duration_since(started).ok());
    // An exit in the future: the clock was set back, and waiting for it could take for ever.
    if exit.lost || exit.finished > now || ran.is_some_and(|ran| ran > BACK_OFF_RESET) {
        return now;
    }
    exit.finished + back_off
}

/// The wait after the restart that follows `exit`, when the one before it was `back_off`.
pub fn next_back_off(exit: &Exit, back_off: Duration) -> Duration {
    let ran = exit.started.and_then(|started| exit.finished.duration_since(started).ok());
    if exit.lost {
        Duration::ZERO
    } else if back_off.is_zero() || ran.is_some_and(|ran| ran > BACK_OFF_RESET) {
        BACK_OFF_FIRST
    } else {
        (back_off * 2).min(BACK_OFF_MAX)
    }
}
