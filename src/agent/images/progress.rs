//! How far a pull is.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::wake::Wake;

/// News of a pull wakes the pod loop this often at most.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Others are pulled first.
    Waiting,
    Resolving,
    /// Bytes of the layers.
    Fetching {
        done: u64,
        total: u64,
    },
    Unpacking {
        layers: usize,
    },
}

pub struct Progress {
    wake: Wake,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    told: Instant,
}

impl Progress {
    pub fn new(wake: Wake) -> Progress {
        Progress { wake, state: Mutex::new(State { stage: Stage::Waiting, told: Instant::now() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stage(&self) -> Stage {
        self.state().stage
    }

    pub fn set(&self, stage: Stage) {
        let mut state = self.state();
        state.stage = stage;
        if state.told.elapsed() >= PERIOD {
            state.told = Instant::now();
            self.wake.wake();
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Waiting => f.write_str("waiting for other pulls"),
            Stage::Resolving => f.write_str("asking the registry"),
            Stage::Fetching { done, total } => write!(f, "{} of {}", Bytes(*done), Bytes(*total)),
            Stage::Unpacking { layers } => write!(f, "unpacking {layers} layers"),
        }
    }
}

/// `1.5 MB`
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit * 10 / unit);
        let ((whole, tenth), name) = match self.0 {
            0..1_000 => return write!(f, "{} B", self.0),
            1_000..1_000_000 => (tenths(1_000), "kB"),
            1_000_000..1_000_000_000 => (tenths(1_000_000), "MB"),
            _ => (tenths(1_000_000_000), "GB"),
        };
        write!(f, "{whole}.{tenth} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in
            [(999, "999 B"), (1_000, "1.0 kB"), (1_560_000, "1.5 MB"), (2_000_000_000, "2.0 GB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(Stage::Fetching { done: 0, total: 1_200 }.to_string(), "0 B of 1.2 kB");
    }
}
