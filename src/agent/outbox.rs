//! What the pod loop has to say to the server, and what it is told: the seam between the loop and the
//! session. It is level-triggered: the latest status of each pod, not a queue of them.
//!
//! ```text
//! #[derive(Clone)] pub struct Outbox                       // shared by the loop and the session
//! pub fn hello(&self) -> Vec<HelloPod{uid, revision, gone}>// the pods for ToServer::Hello; the session adds the rest
//! pub async fn next(&self) -> ToServer                     // cancel-safe: Node, PodStatus, PodGone, Event; waits when there is nothing
//! pub fn reconnected(&self)                                // say everything again: node, every status, every gone pod
//! pub fn receive(&self, message: ToAgent, payload: Vec<u8>)// Put, Remove, Synced, Welcome's pod_cidr etc.; never blocks
//! pub fn open(&self, request: StreamRequest, stream: link::Stream) // serves Log in a task of the agent's, bounded
//! ```
//!
//! Order of calls by the session after each connect: send Hello with `hello()`, get Welcome, hand it to
//! `receive`, call `reconnected()`, then loop over `next()` and incoming frames. A message that `next`
//! returned and that was lost with the connection is repeated after the following `reconnected()`.
