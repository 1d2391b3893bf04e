//! Who gets which names in a group (apiextensions `naming_controller.go`).

use serde_json::{Map, Value, json};

use crate::api::kinds::KINDS;
use crate::api::strategy::set_condition;
use crate::api::{Object, kinds};

/// The names of one definition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    plural: String,
    singular: String,
    short_names: Vec<String>,
    kind: String,
    list_kind: String,
    categories: Vec<String>,
}

/// What becomes of the names that a definition asks for.
pub struct Verdict {
    /// Those that it may use.
    pub names: Names,
    /// Why it does not get all: a reason and a message.
    pub conflict: Option<(&'static str, String)>,
}

impl Names {
    fn read(value: Option<&Value>) -> Names {
        let text = |key: &str| value.and_then(|value| value.get(key)?.as_str()).unwrap_or("").to_owned();
        let list = |key: &str| {
            let list = value.and_then(|value| value.get(key)?.as_array()).into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        Names {
            plural: text("plural"),
            singular: text("singular"),
            short_names: list("shortNames"),
            kind: text("kind"),
            list_kind: text("listKind"),
            categories: list("categories"),
        }
    }

    /// As the status tells them.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("plural".to_owned(), json!(self.plural));
        map.insert("kind".to_owned(), json!(self.kind));
        for (key, text) in [("singular", &self.singular), ("listKind", &self.list_kind)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), json!(text));
            }
        }
        for (key, list) in [("shortNames", &self.short_names), ("categories", &self.categories)] {
            if !list.is_empty() {
                map.insert(key.to_owned(), json!(list));
            }
        }
        Value::Object(map)
    }

    fn has_resource(&self, word: &str) -> bool {
        self.plural == word || self.singular == word || self.short_names.iter().any(|short| short == word)
    }

    fn has_kind(&self, word: &str) -> bool {
        self.kind == word || self.list_kind == word
    }
}

/// Gives a definition what others of its group, and midge's own kinds, do not have.
pub fn judge<'n>(definition: &Object, others: impl Iterator<Item = &'n Names>) -> Verdict {
    let group = definition.str_at("/spec/group");
    let own = KINDS.iter().chain(kinds::VIEWS).chain(kinds::COMPUTED).filter(|kind| kind.group == group).map(
        |kind| Names {
            plural: kind.plural.to_owned(),
            singular: kind.singular.to_owned(),
            short_names: kind.short_names.iter().map(|name| (*name).to_owned()).collect(),
            kind: kind.kind.to_owned(),
            list_kind: kind.list_kind.to_owned(),
            categories: Vec::new(),
        },
    );
    let others: Vec<Names> = others.cloned().chain(own).collect();
    let resource = |word: &str| !word.is_empty() && others.iter().any(|names| names.has_resource(word));
    let kind = |word: &str| !word.is_empty() && others.iter().any(|names| names.has_kind(word));
    let asked = Names::read(definition.at("/spec/names"));
    let mut names = Names::read(definition.at("/status/acceptedNames"));
    let mut conflict = None;
    let mut give = |has: &mut String, wants: &String, taken: bool, reason: &'static str| {
        if taken {
            conflict = Some((reason, format!("\"{wants}\" is already in use")));
        } else {
            has.clone_from(wants);
        }
    };
    give(&mut names.plural, &asked.plural, resource(&asked.plural), "PluralConflict");
    give(&mut names.singular, &asked.singular, resource(&asked.singular), "SingularConflict");
    let mut taken = asked.short_names.iter().filter(|word| resource(word)).peekable();
    let (mut short, wanted) = (String::new(), taken.peek().map(|word| (*word).clone()).unwrap_or_default());
    if taken.peek().is_some() {
        give(&mut short, &wanted, true, "ShortNamesConflict");
    } else {
        names.short_names.clone_from(&asked.short_names);
    }
    give(&mut names.kind, &asked.kind, kind(&asked.kind), "KindConflict");
    give(&mut names.list_kind, &asked.list_kind, kind(&asked.list_kind), "ListKindConflict");
    names.categories = asked.categories;
    Verdict { names, conflict }
}

impl Verdict {
    /// Puts names and conditions into the status.
    pub fn write(&self, definition: &mut Object, is_established: bool, now: &str) {
        definition.set("/status/acceptedNames", self.names.to_json());
        match &self.conflict {
            None => {
                set_condition(definition, "NamesAccepted", true, "NoConflicts", "no conflicts found", now)
            }
            Some((reason, message)) => {
                set_condition(definition, "NamesAccepted", false, reason, message, now)
            }
        }
        if is_established {
            let message = "the initial names have been accepted";
            set_condition(definition, "Established", true, "InitialNamesAccepted", message, now);
        } else if definition.condition_status("Established") != "True" {
            set_condition(definition, "Established", false, "NotAccepted", "not all names are accepted", now);
        }
        let group = definition.str_at("/spec/group");
        if [".k8s.io", ".kubernetes.io"].iter().any(|end| group.ends_with(end)) {
            let approval = definition.annotation("api-approved.kubernetes.io").unwrap_or("").to_owned();
            let of = "KubernetesAPIApprovalPolicyConformant";
            match approval.starts_with("unapproved") {
                true => {
                    let message = format!("not approved: \"{approval}\"");
                    set_condition(definition, of, false, "UnapprovedAnnotation", &message, now);
                }
                false => {
                    let message = format!("approved in {approval}");
                    set_condition(definition, of, true, "ApprovedAnnotation", &message, now);
                }
            }
        }
    }
}
