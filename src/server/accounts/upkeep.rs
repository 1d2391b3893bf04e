//! The loop that gives every namespace its `default` account and the cluster's root certificate, and every Secret
//! that is to hold a token one. Woken by changes only.

use std::sync::Arc;

use data_encoding::BASE64;

use super::{Accounts, NAME_ANNOTATION, SECRET_TYPE, UID_ANNOTATION};
use crate::Executor;
use crate::api::kinds::{CONFIG_MAP, NAMESPACE, SECRET, SERVICE_ACCOUNT};
use crate::api::{Kind, Object, Reason, Status};
use crate::server::failures::Failures;
use crate::server::registry::{Change, DeleteOptions, Registry, Subresource, WriteOptions};
use crate::store;

/// The ConfigMap that holds the certificate to trust the API by.
pub const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Runs the loop until the task is dropped.
pub fn run(accounts: Arc<Accounts>, certificate: String, executor: &Executor) -> smol::Task<()> {
    executor.spawn(async move {
        let mut failures = Failures::default();
        loop {
            let revision = accounts.registry.store().revision();
            match accounts.pass(&certificate).await {
                Ok(()) => {
                    failures.end();
                    accounts.changed(revision).await;
                }
                Err(status) => {
                    failures.rest("look after the service accounts", &status).await;
                }
            }
        }
    })
}

impl Accounts {
    /// Waits for a change that this loop acts on.
    async fn changed(&self, revision: u64) {
        let [namespaces, accounts, maps, secrets] =
            [NAMESPACE, SERVICE_ACCOUNT, CONFIG_MAP, SECRET].map(|kind| kind.prefix(None));
        let Ok(mut watch) = self.registry.store().watch("", revision) else { return };
        let concerns = |event: &store::Event| {
            event.key.starts_with(&namespaces)
                || event.key.starts_with(&accounts)
                || event.key.starts_with(&maps) && event.key.ends_with(ROOT_CA)
                || event.key.starts_with(&secrets) && event.new.as_ref().is_some_and(|new| holds_token(new))
        };
        loop {
            match watch.next().await {
                Ok(event) if concerns(&event) => break,
                Ok(_) => {}
                // Fallen behind: look at everything.
                Err(_) => return,
            }
        }
    }

    pub(super) async fn pass(&self, certificate: &str) -> Result<(), Status> {
        let registry = &self.registry;
        let list = |kind| registry.all(kind, None);
        for item in list(NAMESPACE)?.items {
            let namespace = item.object()?;
            if namespace.deletion_timestamp().is_none() {
                ensure_account(registry, namespace.name()).await?;
                ensure_root(registry, namespace.name(), certificate).await?;
            }
        }
        for item in list(SECRET)?.items {
            if holds_token(&item.value) {
                self.fill(&item.object()?, certificate).await?;
            }
        }
        Ok(())
    }

    /// Puts a token into a Secret of the type; removes one whose account is gone, as upstream does, but not one whose
    /// account has not come yet, as upstream does too: in a manifest the Secret may be the first.
    async fn fill(&self, secret: &Object, certificate: &str) -> Result<(), Status> {
        let (namespace, name) = (secret.namespace(), secret.name());
        let account = secret.annotation(NAME_ANNOTATION).unwrap_or("");
        if secret.str_at("/type") != SECRET_TYPE || secret.deletion_timestamp().is_some() {
            return Ok(());
        }
        let bound = secret.annotation(UID_ANNOTATION).unwrap_or("");
        let account = self.registry.get(SERVICE_ACCOUNT, namespace, account);
        let account = match account {
            Ok(account) if bound.is_empty() || bound == account.uid() => account,
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ if bound.is_empty() => return Ok(()),
            _ => {
                let options =
                    DeleteOptions { uid: Some(secret.uid().to_owned()), ..DeleteOptions::default() };
                return settled(self.registry.delete(SECRET, namespace, name, options).await.map(drop));
            }
        };
        let has = |key: &str| !secret.str_at(&format!("/data/{key}")).is_empty();
        let root = BASE64.encode(certificate.as_bytes());
        if !bound.is_empty() && has("token") && has("namespace") && secret.str_at("/data/ca.crt") == root {
            return Ok(());
        }
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let fill = |secret: &mut Object| {
            secret.set("/metadata/annotations/kubernetes.io~1service-account.uid", account.uid());
            if secret.str_at("/data/token").is_empty() {
                let token =
                    self.for_secret(secret, &account).ok_or_else(|| Status::internal("no random numbers"))?;
                secret.set("/data/token", BASE64.encode(token.as_bytes()));
            }
            secret.set("/data/namespace", BASE64.encode(namespace.as_bytes()));
            secret.set("/data/ca.crt", root.as_str());
            Ok(Change::Write)
        };
        settled(self.registry.modify(SECRET, namespace, name, options, fill).await.map(drop))
    }
}

/// Before it is parsed.
fn holds_token(secret: &[u8]) -> bool {
    secret.windows(SECRET_TYPE.len()).any(|part| part == SECRET_TYPE.as_bytes())
}

/// Gives a namespace its `default` account.
pub async fn ensure_account(registry: &Registry, namespace: &str) -> Result<(), Status> {
    ensure(registry, SERVICE_ACCOUNT, namespace, "default", |_| {}).await
}

async fn ensure_root(registry: &Registry, namespace: &str, certificate: &str) -> Result<(), Status> {
    if let Ok(found) = registry.get(CONFIG_MAP, namespace, ROOT_CA) {
        if found.str_at("/data/ca.crt") == certificate {
            return Ok(());
        }
        let options = WriteOptions { subresource: Subresource::Internal, ..WriteOptions::default() };
        let repair = |found: &mut Object| {
            found.set("/data", serde_json::json!({ "ca.crt": certificate }));
            Ok(Change::Write)
        };
        return settled(registry.modify(CONFIG_MAP, namespace, ROOT_CA, options, repair).await.map(drop));
    }
    ensure(registry, CONFIG_MAP, namespace, ROOT_CA, |map| {
        map.set("/metadata/annotations/kubernetes.io~1description", DESCRIPTION);
        map.set("/data/ca.crt", certificate);
    })
    .await
}

async fn ensure(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    name: &str,
    fill: impl FnOnce(&mut Object),
) -> Result<(), Status> {
    if registry.item(kind, namespace, name).is_ok() {
        return Ok(());
    }
    let mut object = Object::new(kind, namespace, name);
    fill(&mut object);
    settled(registry.create(kind, object, WriteOptions::default()).await.map(drop))
}

/// Made, changed or deleted by somebody else in between.
fn settled(outcome: Result<(), Status>) -> Result<(), Status> {
    let others = [Reason::AlreadyExists, Reason::NotFound, Reason::Forbidden, Reason::Conflict];
    outcome.or_else(|status| if others.contains(&status.reason) { Ok(()) } else { Err(status) })
}
