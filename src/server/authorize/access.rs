//! Who has which rules: the bindings as an index, which changes make stale.
//!
//! The index holds the bindings' subjects and references, and the rules of the roles that were asked for.
//! It is made when somebody who is not in `system:masters` first asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rules::Rule;
use crate::api::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::api::{Kind, Object, Status};
use crate::server::auth::User;
use crate::server::registry::{Page, Registry, Selectors};
use crate::store::Watch;

/// What all keys of roles and bindings start with.
const PREFIXES: [&str; 2] = ["clusterrole", "role"];

/// The roles and bindings of a cluster, to be asked.
pub struct Access {
    registry: Arc<Registry>,
    index: Mutex<Option<Index>>,
}

struct Index {
    changes: Vec<Watch>,
    bindings: Vec<Binding>,
    /// By storage key; `None` for one that is not there.
    roles: HashMap<String, Option<Arc<[Rule]>>>,
}

/// One (Cluster)RoleBinding.
#[derive(Debug)]
pub struct Binding {
    /// "" for a ClusterRoleBinding.
    namespace: String,
    name: String,
    subjects: Vec<Subject>,
    role: RoleRef,
}

#[derive(Debug)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
}

/// The role that a binding gives.
#[derive(Debug)]
pub struct RoleRef {
    kind: &'static Kind,
    namespace: String,
    name: String,
}

impl RoleRef {
    /// `object` is a binding. None for a reference to what is no role.
    pub fn of(object: &Object) -> Option<Self> {
        let kind = match object.str_at("/roleRef/kind") {
            "ClusterRole" => CLUSTER_ROLE,
            "Role" => ROLE,
            _ => return None,
        };
        let (namespace, name) = (object.namespace(), object.str_at("/roleRef/name"));
        Some(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role's rules.
    ///
    /// # Errors
    /// 404 for a role that is not there.
    pub fn rules(&self, registry: &Registry) -> Result<Vec<Rule>, Status> {
        let role = registry.get(self.kind, &self.namespace, &self.name)?;
        Ok(Rule::list(role.array_at("/rules")))
    }
}

impl Binding {
    fn of(object: &Object) -> Option<Self> {
        let subject = |value: &serde_json::Value| {
            let text = |name: &str| value.get(name).and_then(|text| text.as_str()).unwrap_or("").to_owned();
            let (kind, namespace) = (text("kind"), text("namespace"));
            // Within a namespace, an account is the namespace's unless it says otherwise.
            let namespace = if namespace.is_empty() { object.namespace().to_owned() } else { namespace };
            Subject { kind, namespace, name: text("name") }
        };
        Some(Self {
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            subjects: object.array_at("/subjects").iter().map(subject).collect(),
            role: RoleRef::of(object)?,
        })
    }

    /// The subject that the user is.
    fn subject(&self, user: &User) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.is(user))
    }

    /// `RoleBinding "web/x" of Role "x" to User "jane"`
    fn describe(&self, subject: &Subject) -> String {
        let (kind, namespace) = match self.namespace.as_str() {
            "" => ("ClusterRoleBinding", String::new()),
            namespace => ("RoleBinding", format!("/{namespace}")),
        };
        let whom = match subject.kind.as_str() {
            "ServiceAccount" => format!("{}/{}", subject.name, subject.namespace),
            _ => subject.name.clone(),
        };
        let RoleRef { kind: role_kind, name: role, .. } = &self.role;
        format!(
            "{kind} \"{}{namespace}\" of {} \"{role}\" to {} \"{whom}\"",
            self.name, role_kind.kind, subject.kind
        )
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.is_in(&self.name),
            "ServiceAccount" => {
                let mut parts = user.name.strip_prefix("system:serviceaccount:").unwrap_or("").split(':');
                !self.namespace.is_empty()
                    && parts.next() == Some(&self.namespace)
                    && parts.next() == Some(&self.name)
                    && parts.next().is_none()
            }
            _ => false,
        }
    }
}

impl Access {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, index: Mutex::default() }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Calls `visit` with each rule that a user has in a namespace ("" for the whole cluster), and with a
    /// text that says why, until it returns true. Returns what was wrong meanwhile: roles that are not there.
    ///
    /// # Errors
    /// 500 for stored text that is no object.
    pub fn visit(
        &self,
        user: &User,
        namespace: &str,
        mut visit: impl FnMut(&Rule, &dyn Fn() -> String) -> bool,
    ) -> Result<Vec<String>, Status> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.as_mut().is_none_or(Index::is_stale) {
            *index = None;
            *index = Some(Index::new(&self.registry)?);
        }
        let mut wrong = Vec::new();
        let Some(Index { bindings, roles, .. }) = index.as_mut() else { return Ok(wrong) };
        for binding in
            bindings.iter().filter(|found| found.namespace.is_empty() || found.namespace == namespace)
        {
            let Some(subject) = binding.subject(user) else { continue };
            let role = &binding.role;
            let key = role.kind.key(&role.namespace, &role.name);
            let rules = match roles.get(&key) {
                Some(rules) => rules.clone(),
                None => {
                    let rules = role.rules(&self.registry).ok().map(Arc::from);
                    roles.insert(key, rules.clone());
                    rules
                }
            };
            match rules {
                Some(rules) => {
                    if rules.iter().any(|rule| visit(rule, &|| binding.describe(subject))) {
                        return Ok(wrong);
                    }
                }
                None => wrong.push(format!(
                    "{}.rbac.authorization.k8s.io \"{}\" not found",
                    role.kind.singular, role.name
                )),
            }
        }
        Ok(wrong)
    }

    /// Every rule that a user has in a namespace ("" for the whole cluster), and what was wrong meanwhile.
    ///
    /// # Errors
    /// As [`Access::visit`].
    pub fn rules(&self, user: &User, namespace: &str) -> Result<(Vec<Rule>, Vec<String>), Status> {
        let mut rules = Vec::new();
        let wrong = self.visit(user, namespace, |rule, _| {
            rules.push(rule.clone());
            false
        })?;
        Ok((rules, wrong))
    }
}

impl Index {
    fn new(registry: &Registry) -> Result<Self, Status> {
        let store = registry.store();
        // From before the lists: what changes meanwhile makes the index stale.
        let revision = store.revision();
        let changes: Result<Vec<Watch>, _> =
            PREFIXES.iter().map(|prefix| store.watch(prefix, revision)).collect();
        let changes = changes.map_err(Status::internal)?;
        let mut bindings = Vec::new();
        for kind in [CLUSTER_ROLE_BINDING, ROLE_BINDING] {
            for item in registry.list(kind, None, &Selectors::default(), &Page::default())?.items {
                bindings.extend(Binding::of(&item.object()?));
            }
        }
        Ok(Self { changes, bindings, roles: HashMap::new() })
    }

    /// Whether a role or binding changed since, or may have.
    fn is_stale(&mut self) -> bool {
        self.changes.iter_mut().any(|changes| !matches!(changes.try_next(), Ok(None)))
    }
}
