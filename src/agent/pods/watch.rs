//! What wakes the loop: events of the runtime, and what probes say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smol::channel::Receiver;

use crate::agent::event::Event;
use crate::agent::wake::Wake;
use crate::agent::work::{Context, Outcome};
use crate::containerd::{self, Client};

/// Wakes the loop for each event of the runtime about tasks, and `images` for those about images, for ever.
pub(super) async fn watch(client: Client, wake: Wake, images: Wake, oom: Arc<Mutex<Vec<String>>>) {
    let mut lost = false;
    loop {
        let events = client.events().await;
        // That nothing answers is seen at once, not only at the next look.
        if !std::mem::replace(&mut lost, events.is_err()) && lost {
            wake.wake();
        }
        if let Ok(mut events) = events {
            // Whatever happened before the subscription is seen now.
            wake.wake();
            images.wake();
            while let Ok(event) = events.next().await {
                match event {
                    containerd::Event::TaskExit { container_id, id, .. } if container_id == id => wake.wake(),
                    containerd::Event::TaskOom { container_id } => {
                        let mut hit = oom.lock().unwrap_or_else(PoisonError::into_inner);
                        if hit.len() < 1024 {
                            hit.push(container_id);
                        }
                        drop(hit);
                        wake.wake();
                    }
                    containerd::Event::Image => images.wake(),
                    _ => {}
                }
            }
        }
        smol::Timer::after(Duration::from_secs(1)).await;
    }
}

/// Takes what probes say to where the rest of a pod's events comes from.
pub(super) async fn forward(events: Receiver<(String, Event)>, context: Arc<Context>, wake: Wake) {
    while let Ok((uid, event)) = events.recv().await {
        let _ = context.outcomes.try_send((uid, Outcome::Event(event)));
        wake.wake();
    }
}
