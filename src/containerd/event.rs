//! containerd's events about tasks.

use std::time::SystemTime;

use super::{Client, Error};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A process ended. `id` equals `container_id` for the container's first process; else it is an
    /// exec's id.
    TaskExit {
        container_id: String,
        id: String,
        pid: u32,
        code: u32,
        at: SystemTime,
    },
    /// The kernel killed something in the container's cgroup for want of memory.
    TaskOom {
        container_id: String,
    },
    TaskStart {
        container_id: String,
        pid: u32,
    },
    TaskCreate {
        container_id: String,
        pid: u32,
    },
    TaskDelete {
        container_id: String,
        id: String,
        pid: u32,
        code: u32,
        at: SystemTime,
    },
    Other {
        topic: String,
    },
}

/// A running subscription. Dropping it ends it.
pub struct Events {}

impl Events {
    /// The next event. Cancel-safe. After an error the subscription is over: events may have been
    /// missed, so subscribe again and observe everything.
    pub async fn next(&mut self) -> Result<Event, Error> {
        todo!()
    }
}

impl Client {
    /// Subscribes to the task events of this namespace. When this returns, the subscription is in
    /// force: whatever happens from now on is delivered, so observe after it.
    pub async fn events(&self) -> Result<Events, Error> {
        todo!()
    }
}
