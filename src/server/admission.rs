//! What the server adds to a new object, or holds against it, that takes more than the object itself: addresses
//! and node ports, priorities, default classes, LimitRanges and ResourceQuotas. The registry asks.

mod classes;
mod limits;
mod quotas;
mod services;

use smol::lock::MutexGuard;

use crate::api::kinds::{INGRESS, POD, PRIORITY_CLASS, RESOURCE_QUOTA, SERVICE};
use crate::api::status::Details;
use crate::api::{Kind, Object, Status};
use crate::plan::node_lifecycle;
use crate::server::config::Cidr;
use crate::server::registry::Registry;
use crate::store::{self, Answer, Durability, Expect};

pub use classes::seed;
pub use quotas::run;

/// What admission knows beside the objects.
pub struct Admission {
    /// Held from the look at what others have to the write's end: a write is seen once it is durable. True while
    /// one is on its way, which may go on without its writer.
    turn: smol::lock::Mutex<bool>,
    /// The services' addresses.
    services: Cidr,
}

impl Admission {
    pub fn new(services: Cidr) -> Self {
        Self { turn: smol::lock::Mutex::default(), services }
    }

    /// The address of the service `kubernetes`.
    pub fn first_address(&self) -> std::net::Ipv4Addr {
        services::first(self.services)
    }
}

/// A writer's turn; none where nobody else could want the same.
pub struct Turn<'r>(Option<MutexGuard<'r, bool>>);

impl Turn<'_> {
    pub const NONE: Turn<'static> = Turn(None);

    /// Waits for the turn's write. Who goes away meanwhile leaves word that it is still on its way.
    pub async fn carry_out<T>(&mut self, write: Answer<T>) -> Result<T, store::Error> {
        self.note(true);
        let answer = write.await;
        self.note(false);
        answer
    }

    fn note(&mut self, on_its_way: bool) {
        if let Some(turn) = &mut self.0 {
            **turn = on_its_way;
        }
    }
}

impl Registry {
    /// Waits for the writer's turn, where two at the same time could both take what is there once.
    pub(in crate::server) async fn turn(&self, kind: &Kind, namespace: &str) -> Turn<'_> {
        let contended =
            [SERVICE, PRIORITY_CLASS].contains(&kind) || kind.namespaced && self.has_quotas(namespace);
        if !contended {
            return Turn::NONE;
        }
        let mut turn = self.admission.turn.lock().await;
        if *turn {
            // Writes are carried out one after the other: this one, which finds nothing, is answered after it.
            drop(self.store().delete("midge/turn", Expect::Any, Durability::Memory).await);
            *turn = false;
        }
        Turn(Some(turn))
    }

    fn has_quotas(&self, namespace: &str) -> bool {
        !self.store().list(&RESOURCE_QUOTA.prefix(Some(namespace)), None, 1).entries.is_empty()
    }

    /// Before an object is validated, when its kind's strategy has prepared it: gives it what it left to the
    /// server. `old` is there on an update.
    pub(in crate::server) fn admit(
        &self,
        kind: &Kind,
        new: &mut Object,
        old: Option<&Object>,
    ) -> Result<(), Status> {
        if kind == SERVICE {
            return services::allocate(self, new, old);
        }
        match old {
            None if kind == POD => {
                classes::set_priority(self, new)?;
                node_lifecycle::tolerate(new);
                limits::default(self, new)
            }
            Some(old) if kind == POD => {
                classes::keep_priority(new, old);
                Ok(())
            }
            None if kind == INGRESS => classes::set_ingress_class(self, new),
            _ => Ok(()),
        }
    }

    /// After an object was found valid: whether the cluster has room for it.
    pub(in crate::server) fn check_room(
        &self,
        kind: &Kind,
        new: &Object,
        old: Option<&Object>,
    ) -> Result<(), Status> {
        if kind == PRIORITY_CLASS {
            return classes::check_default(self, new);
        }
        limits::check(self, kind, new, old)?;
        quotas::check(self, kind, new, old)
    }
}

/// 403 as upstream's admission words it.
fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
    let mut status = Status::forbidden(format!("{} \"{name}\" is forbidden: {why}", kind.resource()));
    status.details = Some(Box::new(Details {
        name: name.to_owned(),
        group: kind.group.to_owned(),
        kind: kind.plural.to_owned(),
        ..Details::default()
    }));
    status
}

#[cfg(test)]
mod tests;
