//! Floor 2: the node: link client, pod loop, status, streams, images.

pub mod config;
pub mod container;
pub mod desired;
pub mod env;
pub mod etc;
pub mod event;
pub mod images;
pub mod logger;
pub mod logs;
pub mod node;
pub mod outbox;
pub mod pod;
pub mod pods;
pub mod record;
pub mod sandbox;
pub mod session;
pub mod spec;
pub mod status;
pub mod wake;

pub use config::Config;
