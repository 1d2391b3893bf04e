//! Floor 0: objects as Kubernetes defines them: the kinds table, metadata, selectors, errors, tables.
//!
//! Everything here is plain data and pure functions: no I/O, no clock (`now` is an argument).

pub mod apply;
pub mod cron;
pub mod discovery;
pub mod hash;
pub mod kinds;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod structural;
pub mod table;
pub mod time;
pub mod yaml;

pub use kinds::{KINDS, Kind};
pub use object::{Object, ObjectError};
pub use status::{Cause, CauseReason, Reason, Status};
pub use strategy::Strategy;
