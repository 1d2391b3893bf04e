//! What the node lacks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the node's conditions say. Shared by the loop that finds out and those who tell.
#[derive(Clone, Default)]
pub struct Pressure(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lack: Lack,
    /// Evictions by the signal that led to them.
    counts: BTreeMap<&'static str, u64>,
}

/// The resources that the node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lack {
    pub memory: bool,
    pub disk: bool,
    pub processes: bool,
}

impl Pressure {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lack(&self) -> Lack {
        self.state().lack
    }

    /// Evictions so far, by signal.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.state().counts.iter().map(|(signal, count)| (*signal, *count)).collect()
    }
}
