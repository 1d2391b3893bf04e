//! Carries out what a controller planned.

use std::sync::Arc;

use crate::Executor;
use crate::api::{Kind, Object, Reason, Status};
use crate::plan::control::{self, Action, Plan, Told};
use crate::plan::garbage::Propagation;
use crate::server::events::{self, Type};
use crate::server::registry::{Change, DeleteOptions, Registry, WriteOptions};
use crate::store::Durability;

/// One object that was planned for.
pub struct Work {
    pub registry: Arc<Registry>,
    pub executor: Executor,
    pub kind: &'static Kind,
    pub object: Object,
    /// What its events name as their source.
    pub source: &'static str,
}

impl Work {
    /// Carries out a plan. Creations go in batches that double, so that a hundred which nobody may make cost
    /// one refusal; everything that can share an fsync does.
    ///
    /// Errors: the first failure that trying again may mend, after the rest was done.
    pub async fn carry_out(self, plan: Plan) -> Result<(), Status> {
        let this = Arc::new(self);
        let mut outcome = Ok(());
        let mut batch = 1;
        let mut actions = plan.actions.into_iter().peekable();
        while let Some(first) = actions.next() {
            let creates = matches!(first, Action::Create(..));
            let mut together = vec![first];
            while together.len() < batch
                && let Some(next) = actions.next_if(|next| matches!(next, Action::Create(..)) == creates)
            {
                together.push(next);
            }
            let tasks: Vec<_> = together
                .into_iter()
                .map(|action| {
                    let this = this.clone();
                    this.executor.clone().spawn(async move { this.act(action).await })
                })
                .collect();
            let mut failed = false;
            for task in tasks {
                let result = task.await;
                failed |= result.is_err();
                outcome = outcome.and(result);
            }
            match (creates, failed) {
                (true, true) => while actions.next_if(|next| matches!(next, Action::Create(..))).is_some() {},
                _ => batch = (batch * 2).min(64),
            }
        }
        match plan.status {
            Some(status) => outcome.and(this.set_status(status, plan.note).await),
            None => outcome,
        }
    }

    async fn act(&self, action: Action) -> Result<(), Status> {
        match action {
            Action::Create(object, told) => {
                let kind = self.kind_of(&object)?;
                let name = object.name().to_owned();
                let owner = owner_of(&object);
                match self.registry.create(kind, object, WriteOptions::default()).await {
                    Ok(made) => self.tell(&told, "Create", Ok(made.name())).await,
                    Err(status)
                        if status.reason == Reason::AlreadyExists && self.is_there(kind, &name, &owner) => {}
                    Err(status) => {
                        self.tell(&told, "Create", Err(&status)).await;
                        return Err(status);
                    }
                }
            }
            Action::Delete(object, told) => {
                let options = DeleteOptions {
                    uid: Some(object.uid().to_owned()),
                    propagation: Some(Propagation::Background),
                    ..DeleteOptions::default()
                };
                let kind = self.kind_of(&object)?;
                match self.registry.delete(kind, object.namespace(), object.name(), options).await {
                    Ok(_) => self.tell(&told, "Delete", Ok(object.name())).await,
                    // It is gone, or another by its name.
                    Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => {}
                    Err(status) => {
                        self.tell(&told, "Delete", Err(&status)).await;
                        return Err(status);
                    }
                }
            }
            Action::Update(object, told) => {
                let kind = self.kind_of(&object)?;
                match self.registry.update(kind, object, WriteOptions::default()).await {
                    Ok(made) => self.tell(&told, "Update", Ok(made.name())).await,
                    Err(status) if status.reason == Reason::NotFound => {}
                    Err(status) if status.reason == Reason::Conflict => return Err(status),
                    Err(status) => {
                        self.tell(&told, "Update", Err(&status)).await;
                        return Err(status);
                    }
                }
            }
            Action::Event { warning, reason, message } => self.event(warning, reason, &message).await,
        }
        Ok(())
    }

    /// Whether an object by this name is there, and its owner's: another's is in the way.
    fn is_there(&self, kind: &Kind, name: &str, owner: &Option<String>) -> bool {
        let found = self.registry.get(kind, self.object.namespace(), name);
        !name.is_empty() && found.is_ok_and(|found| owner_of(&found) == *owner)
    }

    fn kind_of(&self, object: &Object) -> Result<&'static Kind, Status> {
        let kind = self.registry.kinds().of(object.api_version(), object.kind());
        kind.ok_or_else(|| Status::internal(format!("there is no kind {:?}", object.kind())))
    }

    /// Its meaning can be told again from what it is about: it costs the flash nothing of its own.
    async fn set_status(
        &self,
        status: serde_json::Value,
        note: Option<(&str, String)>,
    ) -> Result<(), Status> {
        let options = WriteOptions { durability: Durability::Lazy, ..WriteOptions::STATUS };
        let set = |object: &mut Object| {
            if object.uid() != self.object.uid() {
                return Ok(Change::Keep);
            }
            object.set("/status", status.clone());
            if let Some((key, value)) = &note {
                object.set_annotation(key, value);
            }
            Ok(Change::Write)
        };
        let (namespace, name) = (self.object.namespace(), self.object.name());
        match self.registry.modify(self.kind, namespace, name, options, set).await {
            Err(status) if status.reason != Reason::NotFound => Err(status),
            _ => Ok(()),
        }
    }

    async fn tell(&self, told: &Told, verb: &str, outcome: Result<&str, &Status>) {
        let (done, failed) = match told {
            Told::Nothing => return,
            Told::Events { done, failed } => (done, failed),
            Told::Reasons { done, failed } => {
                let told = if outcome.is_ok() { done } else { failed };
                if let Some((reason, message)) = told {
                    let error = outcome.err().map_or("", |status| status.message.as_str());
                    self.event(outcome.is_err(), reason, &message.replacen("{}", error, 1)).await;
                }
                return;
            }
        };
        match outcome {
            Ok(name) => self.event(false, &format!("Successful{verb}"), &done.replacen("{}", name, 1)).await,
            Err(status) => {
                let message = failed.replacen("{}", &status.message, 1);
                self.event(true, &format!("Failed{verb}"), &message).await;
            }
        }
    }

    async fn event(&self, warning: bool, reason: &str, message: &str) {
        let kind = if warning { Type::Warning } else { Type::Normal };
        let told = events::record(&self.registry, &self.object, kind, reason, message, self.source).await;
        if let Err(status) = told {
            log::debug!("an event of {} was not kept: {status}", self.object.name());
        }
    }
}

/// The uid of what controls an object.
fn owner_of(object: &Object) -> Option<String> {
    Some(control::controller(object)?["uid"].as_str()?.to_owned())
}
