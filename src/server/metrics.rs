//! `GET /metrics`: the server's own figures for Prometheus, under upstream's names.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode};

use super::State;
use super::reply::{self, Reply};
use crate::api::kinds::NODE;
use crate::http::exposition::{CONTENT_TYPE, Exposition};
use crate::sys::this_process;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "other"];
const CODES: usize = 6;

/// Answered requests, by method and class of code: a bounded number of counters, whatever clients send.
#[derive(Default)]
pub struct Requests([[AtomicU64; CODES]; METHODS.len()]);

impl Requests {
    pub fn count(&self, method: &Method, code: StatusCode) {
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class = usize::from(code.as_u16() / 100);
        if let Some(counter) = self.0.get(method).and_then(|codes| codes.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Answers it.
pub fn serve(state: &State) -> Result<Reply, crate::api::Status> {
    let mut text = Exposition::default();
    text.build();
    text.family("apiserver_request_total", "counter", "Answered requests by method and class of code.");
    for (method, codes) in METHODS.iter().zip(&state.requests.0) {
        for (class, counter) in codes.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                text.sample(&[("verb", method), ("code", &format!("{class}xx"))], count);
            }
        }
    }
    text.family("apiserver_storage_objects", "gauge", "Number of stored objects by kind.");
    for kind in state.registry.kinds().stored() {
        let found = state.registry.store().list(&kind.prefix(None), None, 1);
        text.sample(&[("resource", &kind.resource())], found.entries.len() + found.more);
    }
    text.family("midge_node_connected", "gauge", "Whether the agent's link is up.");
    let nodes = state.registry.all(NODE, None)?;
    for item in nodes.items {
        let node = item.object()?;
        text.sample(&[("node", node.name())], u8::from(state.links.connected(node.name())));
    }
    Ok(reply::full(StatusCode::OK, CONTENT_TYPE, text.process(&this_process::read()).finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_methods_and_codes_have_their_place() {
        let requests = Requests::default();
        requests.count(&Method::from_bytes(b"BREW").unwrap(), StatusCode::OK);
        requests.count(&Method::GET, StatusCode::from_u16(999).unwrap());
        assert_eq!(requests.0[5][2].load(Ordering::Relaxed), 1);
        assert_eq!(requests.0[0].iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>(), 0);
    }
}
