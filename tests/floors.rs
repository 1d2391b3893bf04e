//! The map of `src/lib.rs` holds: a room imports from floors below its own, and from the few siblings
//! that are named here.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// Room, floor, siblings on its floor that it may import.
const ROOMS: &[(&str, u8, &[&str])] = &[
    ("api", 0, &[]),
    ("sys", 0, &[]),
    ("store", 1, &[]),
    ("plan", 1, &[]),
    ("containerd", 1, &[]),
    ("cni", 1, &[]),
    ("token", 1, &[]),
    ("tls", 1, &["token"]),
    ("http", 1, &["tls"]),
    ("link", 1, &["http", "tls", "token"]),
    ("server", 2, &[]),
    ("agent", 2, &[]),
    ("cli", 3, &[]),
];

/// What `plan` must not name: it neither waits nor looks at the world.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "smol::",
    "std::fs",
    "std::net",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "crate::sys",
];

#[test]
fn imports_go_downward_only() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        let Some((_, floor, siblings)) = ROOMS.iter().find(|(name, ..)| *name == room) else {
            wrong.push(format!("{}: the room `{room}` is not on the map", path.display()));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for imported in imports(line) {
                let Some((_, below, _)) = ROOMS.iter().find(|(name, ..)| *name == imported) else { continue };
                seen += 1;
                let allowed = imported == room || below < floor || siblings.contains(&imported);
                if !allowed {
                    wrong.push(format!("{}:{}: `{room}` imports `{imported}`", path.display(), number + 1));
                }
            }
            if room == "plan"
                && let Some(impure) = IMPURE.iter().find(|impure| line.contains(**impure))
            {
                wrong.push(format!("{}:{}: `plan` names `{impure}`", path.display(), number + 1));
            }
        }
    }
    assert!(seen > 20, "the check found only {seen} imports: it does not read the sources");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_import_is_found() {
    assert_eq!(imports("use crate::server::State;").collect::<Vec<_>>(), ["server"]);
    assert_eq!(imports("use crate::{api::Object, sys};").collect::<Vec<_>>(), ["api", "sys"]);
    assert_eq!(imports("    let x = crate::token::parse(y)?;").collect::<Vec<_>>(), ["token"]);
}

/// The rooms that a line names after `crate::`, on one level of braces.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).flat_map(|rest| {
        let (list, depth_zero) = match rest.strip_prefix('{') {
            Some(list) => (list, false),
            None => (rest, true),
        };
        let mut depth = 0i32;
        let mut names = Vec::new();
        let mut start = true;
        let mut word = 0..0;
        for (at, letter) in list.char_indices() {
            if letter.is_alphanumeric() || letter == '_' {
                if start && depth == 0 {
                    if word.is_empty() {
                        word.start = at;
                    }
                    word.end = at + letter.len_utf8();
                }
                continue;
            }
            if !word.is_empty() {
                names.push(&list[word.clone()]);
                word = 0..0;
            }
            start = false;
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                ' ' if depth == 0 => start = names.is_empty() || list[..at].ends_with(','),
                _ => {}
            }
            if depth_zero || depth < 0 {
                break;
            }
        }
        if !word.is_empty() {
            names.push(&list[word]);
        }
        names
    })
}

/// The first part of a path below `src`: `agent` of `src/agent/pods.rs`, `token` of `src/token.rs`.
fn room_of(path: &Path) -> Option<String> {
    let below = path.strip_prefix(root().join("src")).ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    let room = first.trim_end_matches(".rs").to_string();
    (!matches!(room.as_str(), "lib" | "main")).then_some(room)
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs") => found.push((path.clone(), fs::read_to_string(&path).unwrap())),
                _ => {}
            }
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
