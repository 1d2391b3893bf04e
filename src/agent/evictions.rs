//! Pods that the node ends by itself: no memory, no disk. The pod loop takes them, and the pods fail for good.

use std::sync::{Arc, Mutex, PoisonError};

use super::wake::Wake;

/// Why one pod is to end: becomes `status.reason` and `status.message` of a Failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    pub uid: String,
    /// `Evicted`.
    pub reason: &'static str,
    pub message: String,
    /// How long its containers have; what the pod itself gives them if that is less.
    pub grace_seconds: u64,
}

/// Shared by those who find a reason and the pod loop.
#[derive(Clone, Default)]
pub struct Evictions {
    asked: Arc<Mutex<Vec<Eviction>>>,
    /// The pod loop's.
    wake: Wake,
}

impl Evictions {
    pub fn new(wake: Wake) -> Evictions {
        Evictions { asked: Arc::default(), wake }
    }

    /// Asks for one; a pod that is ending already is left alone.
    pub fn evict(&self, eviction: Eviction) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.iter().any(|other| other.uid == eviction.uid) {
            asked.push(eviction);
        }
        drop(asked);
        self.wake.wake();
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Vec<Eviction> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
