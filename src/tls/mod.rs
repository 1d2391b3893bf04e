//! Floor 1: certificates, server and client TLS configurations.

mod authority;
mod caller;
mod client;
mod error;
mod identity;
#[cfg(test)]
mod tests;

pub use authority::{Authority, Names};
pub use caller::{Caller, Subject};
pub use client::{
    Trust, client_config_anyone, client_config_pinned, client_config_public, client_config_unverified,
};
pub use error::Error;
pub use identity::ServerIdentity;

/// The name that every agent verifies its server's certificate against, whatever address it dialled.
pub const SERVER_NAME: &str = "midge-server";
