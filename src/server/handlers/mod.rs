//! The generic handlers: every verb on every kind of the table.

mod admit;
mod collection;
mod delete;
mod eviction;
mod patch;
mod pods;
mod read;
pub(super) mod scale;
mod token;
mod write;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method};

use super::State;
use super::auth::User;
use super::authorize::Attributes;
use super::path::Target;
use super::query::Query;
use super::registry::{Change, Item, WriteOptions};
use super::render::Rendering;
use super::reply::{self, Reply};
use super::{reviews, top};
use crate::api::kinds::COMPUTED;
use crate::api::kinds::events;
use crate::api::{Kind, Object, Status, schema};

/// One request for objects.
pub struct Call<'a> {
    pub state: &'a Arc<State>,
    /// Who asks, and may.
    pub user: &'a User,
    pub target: Target<'a>,
    pub query: Query<'a>,
    pub headers: &'a HeaderMap,
    /// The connection below, for what takes it over.
    pub upgrade: Option<OnUpgrade>,
}

impl Call<'_> {
    /// The namespace, "" for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or("")
    }

    /// The object's name, "" for collections.
    pub fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or("")
    }

    /// Whether who asks may write `new` instead of `old`: roles and bindings that give no more than it has.
    pub fn check_escalation(&self, new: &Object, old: Option<&Object>) -> Result<(), Status> {
        self.state.access.check_escalation(self.user, self.target.kind, new, old)
    }

    /// The kind that is stored.
    pub fn stored(&self) -> &'static Kind {
        self.target.kind.stored()
    }

    /// Stores a new object.
    pub async fn create(&self, mut object: Object, options: WriteOptions<'_>) -> Result<Object, Status> {
        if self.target.kind != self.stored() {
            let causes = events::check(&object);
            if !causes.is_empty() {
                return Err(Status::invalid(self.target.kind, object.name(), causes));
            }
            events::store(&mut object);
        }
        self.state.registry.create(self.stored(), object, options).await
    }

    /// Changes the object that the path names, as it is in the path's kind. Returns it as it is stored.
    pub async fn modify(
        &self,
        options: WriteOptions<'_>,
        change: &mut (dyn FnMut(&mut Object) -> Result<Change, Status> + Send),
    ) -> Result<Object, Status> {
        let (kind, stored) = (self.target.kind, self.stored());
        let change = |object: &mut Object| {
            if kind == stored {
                return change(object);
            }
            schema::convert(kind, object);
            let done = change(object)?;
            events::store(object);
            Ok(done)
        };
        self.state.registry.modify(stored, self.namespace(), self.name(), options, change).await
    }

    /// The answer to a write that led to `object`: the text that was stored, where the answer is that text and it is
    /// still there.
    pub fn written(&self, rendering: &Rendering, object: &Object, options: WriteOptions<'_>) -> Vec<u8> {
        let is_it = |item: &Item| !options.dry_run && object.resource_version() == Some(item.revision);
        let stored = self.state.registry.item(self.stored(), object.namespace(), object.name());
        let text = stored.ok().filter(is_it).and_then(|item| rendering.stored_text(&item));
        text.unwrap_or_else(|| rendering.object(object, true))
    }

    /// Whether who asks may do this as well to what the path names.
    pub fn authorize(&self, verb: &str) -> Result<(), Status> {
        let kind = self.target.kind;
        let wanted = Attributes {
            verb,
            group: kind.group,
            resource: kind.plural,
            namespace: self.namespace(),
            name: self.name(),
            ..Attributes::default()
        };
        self.state.access.authorize(self.user, &wanted)
    }

    /// Whether the kind has the verb, here.
    fn check(&self, verb: &str) -> Result<(), Status> {
        let kind = self.target.kind;
        let verbs = match self.target.subresource {
            // What discovery does not list is refused by its own handler.
            Some(name) => kind.subresource(name).map(|found| found.verbs),
            None => Some(kind.verbs),
        };
        match verbs.is_none_or(|verbs| verbs.contains(&verb)) {
            true => Ok(()),
            false => Err(Status::method_not_allowed()),
        }
    }
}

/// Answers a request for objects.
///
/// # Errors
/// What keeps it from being answered.
pub async fn handle(
    state: &Arc<State>,
    user: &User,
    parts: &Parts,
    target: Target<'_>,
    body: Incoming,
) -> Result<Reply, Status> {
    let warning = target.kind.definition.and_then(|definition| definition.now().warning.clone());
    let mut reply = dispatch(state, user, parts, target, body).await?;
    if let Some(warning) = warning {
        reply::warn(&mut reply, &warning);
    }
    Ok(reply)
}

async fn dispatch(
    state: &Arc<State>,
    user: &User,
    parts: &Parts,
    target: Target<'_>,
    body: Incoming,
) -> Result<Reply, Status> {
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let upgrade = parts.extensions.get().cloned();
    let call = Call { state, user, target, query, headers: &parts.headers, upgrade };
    let named = call.target.name.is_some();
    if COMPUTED.contains(&call.target.kind) {
        let asking = call.target.kind.verbs.contains(&"create");
        let here = !named && call.target.kind.namespaced == call.target.namespace.is_some();
        return match parts.method {
            Method::GET if !asking => top::serve(&call).await,
            Method::POST if asking && here => reviews::create(&call, body).await,
            _ => Err(Status::method_not_allowed()),
        };
    }
    match call.target.subresource {
        None | Some("status" | "ephemeralcontainers" | "finalize") => {}
        Some("scale") => return scale::handle(&call, &parts.method, body).await,
        Some("token") if parts.method == Method::POST => return token::create(&call, body).await,
        Some("token") => return Err(Status::method_not_allowed()),
        Some(subresource) => return pods::handle(&call, subresource, &parts.method, body).await,
    }
    // Objects of all namespaces are read, never written, at once.
    let everywhere = call.target.kind.namespaced && call.target.namespace.is_none();
    match parts.method {
        Method::GET if named => call.check("get").and_then(|()| read::get(&call)),
        Method::GET => {
            call.check("list")?;
            read::list_or_watch(&call)
        }
        Method::POST if !named && !everywhere => {
            call.check("create")?;
            write::create(&call, body).await
        }
        Method::PUT if named => {
            call.check("update")?;
            write::update(&call, body).await
        }
        Method::PATCH if named => {
            call.check("patch")?;
            patch::patch(&call, body).await
        }
        Method::DELETE if named && call.target.subresource.is_none() => {
            call.check("delete")?;
            delete::delete(&call, body).await
        }
        Method::DELETE if !named && !everywhere => {
            call.check("deletecollection")?;
            collection::delete(&call, body).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}
