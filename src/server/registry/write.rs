//! Creating and changing objects.

use std::time::SystemTime;

use super::account::{self, MANAGED_FIELDS};
use super::{Registry, identity};
use crate::api::apply::{Operation, Writer};
use crate::api::kinds::{LEASE, LIMIT_RANGE, NAMESPACE, NODE, POD, RESOURCE_QUOTA, SERVICE};
use crate::api::schema::{self, FieldValidation};
use crate::api::status::Details;
use crate::api::{Cause, CauseReason, Kind, Object, Status, object, strategy, time};
use crate::server::admission::Turn;
use crate::store::{self, Durability, Entry, Expect};

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subresource {
    /// The object but for its status.
    #[default]
    None,
    /// The status alone.
    Status,
    /// A namespace's `spec.finalizers` alone.
    Finalize,
    /// A pod's ephemeral containers alone.
    EphemeralContainers,
    /// All of it, by the server itself (binding, namespace phases, pod ranges): the kind's rules on what may
    /// change do not apply, uid and creation time still cannot.
    Internal,
}

/// How to write; the default is a synced write of the main resource.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions<'a> {
    pub subresource: Subresource,
    pub durability: Durability,
    /// Everything but the write itself.
    pub dry_run: bool,
    /// The object comes with its defaults, and its shape was checked: the registry does neither again.
    pub shaped: bool,
    /// Who owns what changes. An object that was applied has its account of that with it.
    pub writer: Writer<'a>,
}

impl WriteOptions<'static> {
    /// What the server writes by itself.
    pub const DEFAULT: Self = Self {
        subresource: Subresource::None,
        durability: Durability::Synced,
        dry_run: false,
        shaped: false,
        writer: Writer { manager: "midge", operation: Operation::Update, subresource: "" },
    };
    /// What the server knows of an object's state.
    pub const STATUS: Self = Self {
        subresource: Subresource::Internal,
        writer: Writer { subresource: "status", ..Self::DEFAULT.writer },
        ..Self::DEFAULT
    };
}

impl Default for WriteOptions<'static> {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the closure of [`Registry::modify`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Write,
    /// Leave the object alone.
    Keep,
}

/// How often a write is tried again when others write in between, before it is a conflict.
pub(super) const ATTEMPTS: usize = 50;

/// What only the registry sets.
const OWN: [&str; 5] =
    ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];

impl Registry {
    /// Stores a new object after defaulting, the kind's strategy and validation, with a new uid,
    /// creationTimestamp and, with `generateName`, a name. Returns it as stored.
    ///
    /// `object` names its namespace in its metadata. Errors: 409 exists, 404 no such namespace,
    /// 403 namespace terminating, 422 invalid, 400 a resourceVersion is set.
    pub async fn create(
        &self,
        kind: &Kind,
        mut object: Object,
        options: WriteOptions<'_>,
    ) -> Result<Object, Status> {
        if !matches!(object.str_at("/metadata/resourceVersion"), "" | "0") {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        object.set("/apiVersion", kind.api_version().as_ref());
        object.set("/kind", kind.kind);
        let sent = object.remove(MANAGED_FIELDS);
        strip(&mut object);
        for field in OWN {
            object.remove(&format!("/metadata/{field}"));
        }
        if !kind.namespaced {
            object.remove("/metadata/namespace");
        } else if object.namespace().is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        object.set("/metadata/uid", identity::uid()?);
        let now = SystemTime::now();
        object.set("/metadata/creationTimestamp", time::format(now));
        let generated = object.name().is_empty();
        let prefix = object.str_at("/metadata/generateName").to_owned();
        if generated && prefix.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Status::invalid(kind, "", vec![cause]));
        }
        if kind == POD && options.subresource != Subresource::Internal {
            self.admit_to_namespace(kind, &object)?;
            Box::pin(self.give_account(&mut object)).await?;
        }
        let mut turn = self.turn(kind, object.namespace()).await;
        let template = generated.then(|| object.clone());
        for _ in 0..ATTEMPTS {
            if let Some(template) = &template {
                object = template.clone();
                object.set("/metadata/name", identity::name(&prefix)?);
            }
            self.admit_new(kind, &mut object, options)?;
            account::note(kind, &mut object, None, sent.clone(), options.writer, now);
            check_readable(kind, &object)?;
            let (key, value) = (kind.key(object.namespace(), object.name()), object.to_vec());
            // No await between this check and the write's place in the store's queue: a namespace that is marked
            // later is marked after this write, and its emptying finds the object.
            self.admit_to_namespace(kind, &object)?;
            let exists = || Status::already_exists(kind, object.name());
            let revision = if options.dry_run {
                if self.store.get(&key).is_some() { Err(exists()) } else { Ok(0) }
            } else {
                let put = self.store.put(&key, value, Expect::Absent, options.durability);
                match turn.carry_out(put).await {
                    Ok(revision) => Ok(revision),
                    Err(store::Error::Conflict { .. }) => Err(exists()),
                    Err(error) => return Err(failed(&error)),
                }
            };
            match revision {
                Ok(0) => return Ok(object),
                Ok(revision) => return Ok(versioned(object, revision)),
                Err(_) if generated => {}
                Err(exists) => return Err(exists),
            }
        }
        Err(Status::already_exists(kind, &prefix))
    }

    /// Replaces an object. A resourceVersion or uid in `object` must be the current one.
    /// An object whose deletion waited for nothing but finalizers that are now gone is removed.
    ///
    /// Errors: 404, 409, 422.
    pub async fn update(
        &self,
        kind: &Kind,
        object: Object,
        options: WriteOptions<'_>,
    ) -> Result<Object, Status> {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        self.modify(kind, &namespace, &name, options, |current| {
            *current = object.clone();
            Ok(Change::Write)
        })
        .await
    }

    /// Reads, lets `change` alter and writes, again from the start whenever somebody else wrote in between.
    /// A resourceVersion that `change` sets differently from the one read is a precondition (patches).
    pub async fn modify(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: WriteOptions<'_>,
        mut change: impl FnMut(&mut Object) -> Result<Change, Status>,
    ) -> Result<Object, Status> {
        let internal = options.subresource == Subresource::Internal;
        let mut turn = if internal { Turn::NONE } else { self.turn(kind, namespace).await };
        for _ in 0..ATTEMPTS {
            let (entry, old) = self.read(kind, namespace, name)?;
            let mut new = versioned(old.clone(), entry.revision);
            if change(&mut new)? == Change::Keep {
                return Ok(versioned(old, entry.revision));
            }
            check_revision(kind, &new, &old, entry.revision)?;
            let sent = new.remove(MANAGED_FIELDS);
            self.admit_change(kind, &mut new, &old, options)?;
            account::note(kind, &mut new, Some(&old), sent, options.writer, SystemTime::now());
            check_readable(kind, &new)?;
            if options.dry_run || new == old {
                return Ok(versioned(new, entry.revision));
            }
            let expect = Expect::Revision(entry.revision);
            let written = if is_finished(kind, &new) {
                let delete = self.store.delete(&entry.key, expect, options.durability);
                turn.carry_out(delete).await.map(|removed| removed.revision)
            } else {
                turn.carry_out(self.store.put(&entry.key, new.to_vec(), expect, options.durability)).await
            };
            match written {
                Ok(revision) => return Ok(versioned(new, revision)),
                Err(store::Error::Conflict { current: None, .. }) => {
                    return Err(Status::not_found(kind, name));
                }
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Status::modified(kind, name))
    }

    /// The stored object, without its resourceVersion.
    pub(super) fn read(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(Entry, Object), Status> {
        let entry =
            self.store.get(&kind.key(namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        let mut object = Object::from_slice(&entry.value).map_err(Status::internal)?;
        schema::convert(kind, &mut object);
        Ok((entry, object))
    }

    /// New objects need a namespace that is there to stay.
    fn admit_to_namespace(&self, kind: &Kind, object: &Object) -> Result<(), Status> {
        if !kind.namespaced {
            return Ok(());
        }
        let namespace = object.namespace();
        let found = self.item(NAMESPACE, "", namespace)?;
        // Text that says nothing of an end is not parsed: this is asked for every new object.
        let says = |words| object::mentions(&found.value, words);
        if !says("\"deletionTimestamp\":") && !says("Terminating") {
            return Ok(());
        }
        let found = found.object()?;
        if found.deletion_timestamp().is_none() && found.str_at("/status/phase") != "Terminating" {
            return Ok(());
        }
        let mut status = Status::forbidden(format!(
            "{} \"{}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            kind.resource(),
            object.name()
        ));
        status.details = Some(Box::new(Details {
            name: object.name().to_owned(),
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            causes: vec![Cause {
                reason: CauseReason::NamespaceTerminating,
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            }],
            ..Details::default()
        }));
        Err(status)
    }

    /// Defaults and checks a new object.
    fn admit_new(&self, kind: &Kind, object: &mut Object, options: WriteOptions<'_>) -> Result<(), Status> {
        if let Some(definition) = kind.definition {
            definition.admit_new()?;
        }
        let subresource = options.subresource;
        if !options.shaped {
            schema::default(kind, object);
        }
        if subresource != Subresource::Internal {
            if !options.shaped {
                check_shape(kind, object)?;
            }
            refuse(kind, object, schema::unsupported(kind, object))?;
            kind.strategy.prepare_create(object);
            self.admit(kind, object, None)?;
        }
        if counts_generations(kind, object) {
            object.set("/metadata/generation", 1);
        }
        refuse(kind, object, strategy::validate(kind, object, None))?;
        if subresource == Subresource::Internal { Ok(()) } else { self.check_room(kind, object, None) }
    }

    /// Makes of what a writer sent what is stored instead of `old`, and checks it.
    fn admit_change(
        &self,
        kind: &Kind,
        new: &mut Object,
        old: &Object,
        options: WriteOptions<'_>,
    ) -> Result<(), Status> {
        let subresource = options.subresource;
        strip(new);
        new.set("/apiVersion", kind.api_version().as_ref());
        new.set("/kind", kind.kind);
        for field in OWN.into_iter().chain(["name", "namespace"]) {
            strategy::restore(new, old, &format!("/metadata/{field}"));
        }
        match subresource {
            Subresource::Internal => return Ok(()),
            Subresource::None => {
                if !options.shaped {
                    schema::default(kind, new);
                    check_shape(kind, new)?;
                }
                kind.strategy.prepare_update(new, old);
                self.admit(kind, new, Some(old))?;
                if counts_generations(kind, new) && new.at("/spec") != old.at("/spec") {
                    new.set("/metadata/generation", old.generation() + 1);
                }
            }
            Subresource::EphemeralContainers => {
                strategy::keep_all_but_ephemeral_containers(new, old);
                schema::default(kind, new);
                check_shape(kind, new)?;
                refuse(kind, new, schema::unsupported(kind, new))?;
                kind.strategy.prepare_update(new, old);
                if new.at("/spec") != old.at("/spec") {
                    new.set("/metadata/generation", old.generation() + 1);
                }
                return refuse(kind, new, strategy::ephemeral_containers(new, old));
            }
            Subresource::Finalize => {
                let finalizers = new.at("/spec/finalizers").cloned().unwrap_or_else(|| serde_json::json!([]));
                let version = new.at("/metadata/resourceVersion").cloned();
                *new = old.clone();
                version.into_iter().for_each(|version| new.set("/metadata/resourceVersion", version));
                new.set("/spec/finalizers", finalizers);
                check_shape(kind, new)?;
            }
            Subresource::Status => {
                kind.strategy.prepare_status_update(new, old);
                check_shape(kind, new)?;
            }
        }
        refuse(kind, new, strategy::validate(kind, new, Some(old)))?;
        if subresource == Subresource::None { self.check_room(kind, new, Some(old)) } else { Ok(()) }
    }
}

/// An object whose deletion waits for nothing any more.
pub(super) fn is_finished(kind: &Kind, object: &Object) -> bool {
    object.deletion_timestamp().is_some()
        && object.finalizers().next().is_none()
        // A pod's end is its agent's to tell; a namespace is held until it is empty.
        && (kind != NAMESPACE || object.array_at("/spec/finalizers").is_empty())
        && object.i64_at("/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
}

/// The object as clients see it at a revision.
pub(super) fn versioned(mut object: Object, revision: u64) -> Object {
    object.set("/metadata/resourceVersion", revision.to_string());
    object
}

/// What a failed write to the store means to a client.
pub(super) fn failed(error: &store::Error) -> Status {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    match error {
        // It may work again: the disk may get room.
        store::Error::Write { .. } | store::Error::Closed => {
            Status::service_unavailable(format!("{error}{cause}"))
        }
        _ => Status::internal(format!("{error}{cause}")),
    }
}

/// Takes out of an object what is never stored.
fn strip(object: &mut Object) {
    for field in ["resourceVersion", "selfLink"] {
        object.remove(&format!("/metadata/{field}"));
    }
}

/// What can't be read back would be in the way of all that lists its kind.
fn check_readable(kind: &Kind, object: &Object) -> Result<(), Status> {
    if strategy::is_readable(object) {
        return Ok(());
    }
    Err(Status::bad_request(format!("{} {:?} is nested too deep to be stored", kind.kind, object.name())))
}

fn check_shape(kind: &Kind, object: &Object) -> Result<(), Status> {
    schema::validate(kind, object).rejection(kind, object.name(), FieldValidation::Ignore).map_or(Ok(()), Err)
}

fn refuse(kind: &Kind, object: &Object, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(kind, object.name(), causes)) }
}

/// Whether the kind counts changes of its spec in metadata.generation, as upstream's does.
fn counts_generations(kind: &Kind, object: &Object) -> bool {
    object.at("/spec").is_some()
        && ![NODE, NAMESPACE, LEASE, LIMIT_RANGE, RESOURCE_QUOTA, SERVICE].contains(&kind)
}

/// Preconditions that an update carries in its metadata.
fn check_revision(kind: &Kind, new: &Object, old: &Object, revision: u64) -> Result<(), Status> {
    let name = old.name();
    match new.str_at("/metadata/resourceVersion") {
        // Unconditional.
        "" | "0" => {}
        text => match text.parse::<u64>() {
            Ok(expected) if expected == revision => {}
            Ok(_) => return Err(Status::modified(kind, name)),
            Err(_) => {
                let cause =
                    Cause::invalid("metadata.resourceVersion", text, "must be specified for an update");
                return Err(Status::invalid(kind, name, vec![cause]));
            }
        },
    }
    match new.uid() {
        "" => Ok(()),
        uid if uid == old.uid() => Ok(()),
        uid => Err(Status::conflict(
            kind,
            name,
            &format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid()),
        )),
    }
}

/// Marks an object as going: gone for good `grace` seconds from now at the latest.
pub(super) fn mark(object: &mut Object, now: SystemTime, grace: i64) {
    let grace = grace.max(0);
    let end = now + std::time::Duration::from_secs(grace.unsigned_abs());
    object.set("/metadata/deletionTimestamp", time::format(end));
    object.set("/metadata/deletionGracePeriodSeconds", grace);
    if object.generation() > 0 {
        object.set("/metadata/generation", object.generation() + 1);
    }
}
