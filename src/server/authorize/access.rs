//! Who has which rules: the bindings as an index, which follows their changes.
//!
//! The index holds the bindings' subjects and references, and the rules of the roles that were asked for.
//! It is made when somebody who is not in `system:masters` first asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::rules::Rule;
use crate::api::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::api::{Kind, Object, Status};
use crate::server::auth::User;
use crate::server::registry::Registry;
use crate::store::Watch;

static BINDINGS: [&Kind; 2] = [CLUSTER_ROLE_BINDING, ROLE_BINDING];
/// What the index is made of.
static KINDS: [&Kind; 4] = [CLUSTER_ROLE_BINDING, ROLE_BINDING, CLUSTER_ROLE, ROLE];

/// The roles and bindings of a cluster, to be asked.
pub struct Access {
    registry: Arc<Registry>,
    index: Mutex<Option<Index>>,
}

struct Index {
    /// In the order of [`KINDS`].
    changes: Vec<Watch>,
    /// By storage key: those of the cluster come first.
    bindings: BTreeMap<Arc<str>, Arc<Binding>>,
    /// By storage key; `None` for one that is not there.
    roles: HashMap<String, Option<Arc<[Rule]>>>,
}

/// A binding, and the rules of its role, if that is there.
type Held = (Arc<Binding>, Option<Arc<[Rule]>>);

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
#[derive(Debug, PartialEq)]
pub struct RoleRef {
    kind: &'static Kind,
    /// "" for a ClusterRole.
    namespace: String,
    name: String,
}

impl RoleRef {
    /// `object` is a binding. None for a reference to what is no role.
    pub fn of(object: &Object) -> Option<Self> {
        let (kind, namespace) = match object.str_at("/roleRef/kind") {
            "ClusterRole" => (CLUSTER_ROLE, ""),
            "Role" => (ROLE, object.namespace()),
            _ => return None,
        };
        let name = object.str_at("/roleRef/name");
        Some(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    fn key(&self) -> String {
        self.kind.key(&self.namespace, &self.name)
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
        let mut wrong = Vec::new();
        for (binding, rules) in self.held(user, namespace)? {
            let Some(subject) = binding.subject(user) else { continue };
            match rules {
                Some(rules) => {
                    if rules.iter().any(|rule| visit(rule, &|| binding.describe(subject))) {
                        return Ok(wrong);
                    }
                }
                None => wrong.push(format!(
                    "{}.rbac.authorization.k8s.io \"{}\" not found",
                    binding.role.kind.singular, binding.role.name
                )),
            }
        }
        Ok(wrong)
    }

    /// The bindings of a user, with the rules that they give: all that is done under the lock. The index is made
    /// outside of it.
    fn held(&self, user: &User, namespace: &str) -> Result<Vec<Held>, Status> {
        let lock = || self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = lock();
        if !index.as_mut().is_some_and(Index::follow) {
            *index = None;
            drop(index);
            let made = Index::new(&self.registry)?;
            index = lock();
            // Two that made one at the same time have the same.
            *index = Some(made);
        }
        let Some(Index { bindings, roles, .. }) = index.as_mut() else { return Ok(Vec::new()) };
        let places = |binding: &Binding| binding.namespace.is_empty() || binding.namespace == namespace;
        let mine = bindings.values().filter(|found| places(found) && found.subject(user).is_some());
        let rules = |binding: &Arc<Binding>| {
            let role = &binding.role;
            let rules = || role.rules(&self.registry).ok().map(Arc::from);
            let rules = roles.entry(role.key()).or_insert_with(rules).clone();
            (binding.clone(), rules)
        };
        Ok(mine.map(rules).collect())
    }

    /// How many bindings and roles the index holds.
    #[cfg(test)]
    pub fn held_at_all(&self) -> (usize, usize) {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.as_ref().map_or((0, 0), |index| (index.bindings.len(), index.roles.len()))
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
        // From before the lists: what changes meanwhile is told once more.
        let revision = store.revision();
        let changes: Result<Vec<Watch>, _> =
            KINDS.iter().map(|kind| store.watch(&kind.prefix(None), revision)).collect();
        let changes = changes.map_err(Status::internal)?;
        let mut index = Self { changes, bindings: BTreeMap::new(), roles: HashMap::new() };
        for kind in BINDINGS {
            for item in registry.all(kind, None)?.items {
                let object = item.object()?;
                index.bind(kind.key(object.namespace(), object.name()).into(), Some(&object));
            }
        }
        Ok(index)
    }

    /// Takes in what changed since. False if that is not known any more, or can't be read.
    fn follow(&mut self) -> bool {
        for (at, kind) in KINDS.iter().enumerate() {
            loop {
                let Some(Ok(event)) = self.changes.get_mut(at).map(Watch::try_next) else { return false };
                let Some(event) = event else { break };
                if !BINDINGS.contains(kind) {
                    self.roles.remove(&*event.key);
                    continue;
                }
                match event.new.as_deref().map(Object::from_slice).transpose() {
                    Ok(object) => self.bind(event.key, object.as_ref()),
                    Err(_) => return false,
                }
            }
        }
        true
    }

    fn bind(&mut self, key: Arc<str>, object: Option<&Object>) {
        let before = match object.and_then(Binding::of) {
            Some(binding) => self.bindings.insert(key, Arc::new(binding)),
            None => self.bindings.remove(&key),
        };
        // The rules of a role that nobody is bound to any more are not kept.
        if let Some(before) = before
            && !self.bindings.values().any(|binding| binding.role == before.role)
        {
            self.roles.remove(&before.role.key());
        }
    }
}
