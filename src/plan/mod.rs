//! Floor 1: pure decisions. No I/O, no clock, no async: `now` is an argument.

pub mod autoscale;
pub mod control;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod eviction;
pub mod garbage;
pub mod job;
pub mod limits;
pub mod node_lifecycle;
pub mod node_selector;
pub mod pod;
pub mod quota;
pub mod replica_set;
mod resources;
pub mod schedule;
pub mod shutdown;
pub mod stateful_set;
pub mod termination;
pub mod volume;
