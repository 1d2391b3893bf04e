//! containerd's events about tasks and images.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_lite::future;
use prost::{DecodeError, Message};

use super::call::{Answers, Method, within};
use super::types::{Any, Empty, Timestamp};
use super::{Client, Error};

/// Topic of the event that we publish ourselves to see when a subscription is in force.
const MARKER: &str = "/midge/subscribed";
/// The marker is lost when it overtakes the subscription: it is sent again after this time.
const MARKER_AGAIN: Duration = Duration::from_millis(50);
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(30);

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
    /// An image record came, changed or went.
    Image,
    Other {
        topic: String,
    },
}

/// A running subscription. Dropping it ends it.
pub struct Events {
    answers: Answers,
}

impl Events {
    /// The next event. Cancel-safe. After an error the subscription is over: events may have been
    /// missed, so subscribe again and observe everything.
    pub async fn next(&mut self) -> Result<Event, Error> {
        let call = wire::SUBSCRIBE.name();
        loop {
            let envelope = self.envelope().await?;
            // Late markers.
            if envelope.topic != MARKER {
                return decode(envelope).map_err(|source| Error::Decode { call, source });
            }
        }
    }

    async fn envelope(&mut self) -> Result<wire::Envelope, Error> {
        let call = wire::SUBSCRIBE.name();
        self.answers.next().await?.ok_or(Error::Protocol { call, problem: "ended" })
    }
}

impl Client {
    /// Subscribes to the events about tasks and images of this namespace. When this returns, the subscription is in
    /// force: whatever happens from now on is delivered, so observe after it.
    pub async fn events(&self) -> Result<Events, Error> {
        let call = wire::SUBSCRIBE.name();
        let namespace = self.namespace();
        let request = wire::SubscribeRequest {
            filters: vec![
                format!("namespace=={namespace},topic~=\"^/(tasks|images)/\""),
                format!("namespace=={namespace},topic==\"{MARKER}\""),
            ],
        };
        within(call, SUBSCRIBE_LIMIT, async {
            let mut events = Events { answers: self.server_stream(wire::SUBSCRIBE, &request).await? };
            // containerd sends nothing, not even headers, before the first event, and calls on one connection
            // overtake each other. So make an event and wait for it. Ones about tasks that come before it
            // are older than this call's end, and what the caller observes afterwards includes them.
            let publish = async {
                loop {
                    let event = Any { type_url: "midge/Subscribed".into(), value: Bytes::new() };
                    let request = wire::PublishRequest { topic: MARKER.into(), event: Some(event) };
                    self.unary::<_, Empty>(wire::PUBLISH, &request).await?;
                    smol::Timer::after(MARKER_AGAIN).await;
                }
            };
            let arrive = async {
                while events.envelope().await?.topic != MARKER {}
                Ok(())
            };
            future::or(arrive, publish).await?;
            Ok(events)
        })
        .await
    }
}

fn decode(envelope: wire::Envelope) -> Result<Event, DecodeError> {
    let Some(Any { type_url, value }) = envelope.event else {
        return Ok(Event::Other { topic: envelope.topic });
    };
    let published = envelope.timestamp.and_then(Timestamp::time);
    let time =
        |at: Option<Timestamp>| at.and_then(Timestamp::time).or(published).unwrap_or_else(SystemTime::now);
    // A type URL may carry a host.
    Ok(match type_url.rsplit('/').next().unwrap_or_default() {
        "containerd.events.TaskExit" => {
            let wire::TaskExit { container_id, id, pid, exit_status, exited_at } = Message::decode(value)?;
            Event::TaskExit { container_id, id, pid, code: exit_status, at: time(exited_at) }
        }
        "containerd.events.TaskOOM" => {
            let wire::TaskOom { container_id } = Message::decode(value)?;
            Event::TaskOom { container_id }
        }
        "containerd.events.TaskStart" => {
            let wire::TaskStart { container_id, pid } = Message::decode(value)?;
            Event::TaskStart { container_id, pid }
        }
        "containerd.events.TaskCreate" => {
            let wire::TaskCreate { container_id, pid } = Message::decode(value)?;
            Event::TaskCreate { container_id, pid }
        }
        "containerd.events.TaskDelete" => {
            let wire::TaskDelete { container_id, pid, exit_status, exited_at, id } = Message::decode(value)?;
            Event::TaskDelete { container_id, id, pid, code: exit_status, at: time(exited_at) }
        }
        _ if envelope.topic.starts_with("/images/") => Event::Image,
        _ => Event::Other { topic: envelope.topic },
    })
}

mod wire {
    use super::{Any, Method, Timestamp};

    pub const SUBSCRIBE: Method = Method("/containerd.services.events.v1.Events/Subscribe");
    pub const PUBLISH: Method = Method("/containerd.services.events.v1.Events/Publish");

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SubscribeRequest {
        #[prost(string, repeated, tag = "1")]
        pub filters: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PublishRequest {
        #[prost(string, tag = "1")]
        pub topic: String,
        #[prost(message, optional, tag = "2")]
        pub event: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Envelope {
        #[prost(message, optional, tag = "1")]
        pub timestamp: Option<Timestamp>,
        #[prost(string, tag = "3")]
        pub topic: String,
        #[prost(message, optional, tag = "4")]
        pub event: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TaskExit {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(string, tag = "2")]
        pub id: String,
        #[prost(uint32, tag = "3")]
        pub pid: u32,
        #[prost(uint32, tag = "4")]
        pub exit_status: u32,
        #[prost(message, optional, tag = "5")]
        pub exited_at: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TaskOom {
        #[prost(string, tag = "1")]
        pub container_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TaskStart {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(uint32, tag = "2")]
        pub pid: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TaskCreate {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(uint32, tag = "6")]
        pub pid: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TaskDelete {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(uint32, tag = "2")]
        pub pid: u32,
        #[prost(uint32, tag = "3")]
        pub exit_status: u32,
        #[prost(message, optional, tag = "4")]
        pub exited_at: Option<Timestamp>,
        #[prost(string, tag = "5")]
        pub id: String,
    }
}
