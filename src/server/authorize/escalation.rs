//! Nobody hands out what it does not have: writes of roles and of bindings.

use super::access::{Access, RoleRef};
use super::rules::{Rule, missing, quoted};
use super::{Attributes, forbid};
use crate::api::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::api::{Kind, Object, Status};
use crate::server::auth::{MASTERS, User};

/// The most rules that a message names.
const MOST_TOLD: usize = 50;

impl Access {
    /// Lets a user write a role or binding (any other object, too) instead of `old`.
    ///
    /// # Errors
    /// 403 in upstream's words, 404 for a binding to a role that is not there.
    pub fn check_escalation(
        &self,
        user: &User,
        kind: &Kind,
        new: &Object,
        old: Option<&Object>,
    ) -> Result<(), Status> {
        let same = |pointer: &str| old.is_some_and(|old| old.at(pointer) == new.at(pointer));
        if user.is_in(MASTERS) {
            return Ok(());
        }
        if [ROLE, CLUSTER_ROLE].contains(&kind) {
            let unchanged = same("/rules") && same("/aggregationRule");
            if unchanged || self.may(user, "escalate", kind, new.namespace(), new.name())? {
                return Ok(());
            }
            self.confirm(user, kind, new, &Rule::list(new.array_at("/rules")))?;
            let aggregates = |role: &Object| role.at("/aggregationRule").is_some();
            if kind == CLUSTER_ROLE && (aggregates(new) || old.is_some_and(aggregates)) {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                let refused = |_| forbid(kind.group, kind.plural, new.name(), why);
                self.confirm(user, kind, new, &Rule::all()).map_err(refused)?;
            }
            return Ok(());
        }
        if [ROLE_BINDING, CLUSTER_ROLE_BINDING].contains(&kind) {
            // A reference to what is no role gives nothing; validation says what is wrong with it.
            let Some(role) = RoleRef::of(new).filter(|_| !(same("/roleRef") && same("/subjects"))) else {
                return Ok(());
            };
            if self.may(user, "bind", role.kind(), new.namespace(), role.name())? {
                return Ok(());
            }
            return self.confirm(user, kind, new, &role.rules(self.registry())?);
        }
        Ok(())
    }

    fn may(&self, user: &User, verb: &str, kind: &Kind, namespace: &str, name: &str) -> Result<bool, Status> {
        let (group, resource) = (kind.group, kind.plural);
        let wanted = Attributes { verb, group, resource, namespace, name, ..Attributes::default() };
        Ok(self.decide(user, &wanted)?.allowed)
    }

    /// Whether the user has all of `rules` itself, where the object is.
    fn confirm(&self, user: &User, kind: &Kind, object: &Object, rules: &[Rule]) -> Result<(), Status> {
        let refused = |why: &str| Err(forbid(kind.group, kind.plural, object.name(), why));
        let (held, wrong) = self.rules(user, object.namespace())?;
        let missing = match missing(&held, rules) {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => missing,
            Err(rights) => {
                return refused(&format!("{rights} single rights at once are too many to be compared"));
            }
        };
        let mut texts: Vec<String> = missing.iter().take(MOST_TOLD).map(Rule::to_string).collect();
        texts.sort_unstable();
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            texts.join("\n")
        );
        if !wrong.is_empty() {
            why = format!("{why}; resolution errors: [{}]", wrong.join(", "));
        }
        refused(&why)
    }
}
