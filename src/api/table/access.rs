//! The columns of roles and their bindings.

use super::Column;
use super::columns::{AGE, NAME};
use super::policy::CREATED_AT;
use crate::api::Object;

pub const ROLE: &[Column] = &[NAME, CREATED_AT];

pub const ROLE_BINDING: &[Column] = &[
    NAME,
    Column::text("Role", "The role that its subjects get.", |binding, _| {
        format!("{}/{}", binding.str_at("/roleRef/kind"), binding.str_at("/roleRef/name")).into()
    }),
    AGE,
    Column::text("Users", "Users among its subjects.", |binding, _| subjects(binding, "User").into()).wide(),
    Column::text("Groups", "Groups among its subjects.", |binding, _| subjects(binding, "Group").into())
        .wide(),
    Column::text("ServiceAccounts", "ServiceAccounts among its subjects.", |binding, _| {
        subjects(binding, "ServiceAccount").into()
    })
    .wide(),
];

fn subjects(binding: &Object, kind: &str) -> String {
    let subjects = binding.array_at("/subjects").iter().filter(|subject| subject["kind"] == kind);
    let names: Vec<String> = subjects
        .map(|subject| {
            let name = subject["name"].as_str().unwrap_or("");
            match kind {
                "ServiceAccount" => format!("{}/{name}", subject["namespace"].as_str().unwrap_or("")),
                _ => name.to_owned(),
            }
        })
        .collect();
    names.join(", ")
}
