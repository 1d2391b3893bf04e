//! The signals that end the process.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use std::io;

/// Completes with the name of the first SIGTERM or SIGINT. The handlers are in place when this
/// returns. Further ones are ignored while the process drains, which is bounded: see the callers.
pub fn shutdown() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    let mut signals = Signals::new([Signal::Term, Signal::Int])?;
    Ok(async move {
        loop {
            match signals.next().await {
                Some(Ok(Signal::Int)) => return "SIGINT",
                Some(Ok(_)) => return "SIGTERM",
                // A failed read of the pipe says nothing about signals.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    })
}
