//! deletecollection.

use hyper::body::Incoming;

use super::Call;
use super::{delete, read};
use crate::api::Status;
use crate::server::options::ListOptions;
use crate::server::registry::{Item, List, Page};
use crate::server::render::Rendering;
use crate::server::reply::Reply;

/// How many objects are deleted at the same time: they share one fsync.
const TOGETHER: usize = 64;

/// Deletes what the selectors match, and answers with the list of it.
pub async fn delete(call: &Call<'_>, body: Incoming) -> Result<Reply, Status> {
    let kind = call.target.kind;
    let rendering = Rendering::negotiate(kind, call.headers, &call.query)?;
    let selected = ListOptions::parse(kind, &call.query)?;
    let options = delete::options(call, body).await?;
    let registry = &call.state.registry;
    let page = Page { limit: selected.limit, token: selected.token, at: None };
    let list = registry.list(kind, call.target.namespace.as_deref(), &selected.selectors, &page)?;
    let mut items: Vec<Item> = Vec::with_capacity(list.items.len());
    for chunk in list.items.chunks(TOGETHER) {
        let mut tasks = Vec::with_capacity(chunk.len());
        for item in chunk {
            let (object, options, registry) = (item.object()?, options.clone(), registry.clone());
            let deleted = async move {
                registry.delete(kind.stored(), object.namespace(), object.name(), options).await.map(drop)
            };
            tasks.push(call.state.executor.spawn(deleted));
        }
        for (item, task) in chunk.iter().zip(tasks) {
            match task.await {
                Ok(()) => items.push(item.clone()),
                // Somebody else was faster.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
    }
    Ok(read::reply_list(
        rendering,
        List { items, revision: registry.store().revision(), token: None, remaining: None },
    ))
}
