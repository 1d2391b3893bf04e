//! The folder of manifests: what its files hold.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::api::{Object, yaml};

/// The longest file, and the most JSON that it may mean.
const LIMIT: u64 = 3 << 20;

/// One file, with its objects in their order, or why it can't be used.
pub struct Manifest {
    pub name: String,
    pub objects: Result<Vec<(Object, Vec<u8>)>, String>,
}

/// What a folder says.
#[derive(Default)]
pub struct Manifests {
    pub files: Vec<Manifest>,
    /// Files that are to be left alone: there is a `NAME.skip` beside them.
    pub skipped: BTreeSet<String>,
}

/// Reads a folder's files, in the order of their names.
///
/// # Errors
/// When the folder can't be read. A file that can't be says so in its place.
pub fn read(folder: &Path) -> io::Result<Manifests> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Follows links; a folder is no manifest. What can't be looked at is there, and says so when it is read.
        if fs::metadata(entry.path()).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        names.extend(entry.file_name().into_string());
    }
    let mut found = Manifests::default();
    for name in &names {
        if let Some(skipped) = name.strip_suffix(".skip") {
            found.skipped.insert(skipped.to_owned());
        }
    }
    for name in names {
        let known = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        if known && !name.starts_with('.') && !found.skipped.contains(&name) {
            let objects = text(&folder.join(&name)).and_then(|text| parse(&text));
            found.files.push(Manifest { name, objects });
        }
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.take(LIMIT + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > LIMIT {
        return Err(format!("the file is longer than {LIMIT} bytes"));
    }
    Ok(text)
}

/// The objects of a text, those in `v1` Lists one by one, each with its JSON.
fn parse(text: &str) -> Result<Vec<(Object, Vec<u8>)>, String> {
    const MOST: usize = 2 * LIMIT as usize;
    let mut objects = Vec::new();
    for json in yaml::documents(text, MOST).map_err(|error| error.to_string())? {
        let object = Object::from_slice(&json).map_err(|error| crate::chain(&error))?;
        if object.kind() != "List" || object.api_version() != "v1" {
            objects.push((object, json));
            continue;
        }
        for item in object.array_at("/items") {
            let text = item.to_string().into_bytes();
            objects.push((Object::from_value(Value::clone(item)).map_err(|error| error.to_string())?, text));
        }
    }
    // What is being written, or what a power cut has left of it. Nothing is said by removing the file.
    if objects.is_empty() {
        return Err("there is no object in it: remove the file to remove its objects".to_owned());
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_says() {
        let folder = std::env::temp_dir().join(format!("midge-manifests-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(folder.join("sub.yaml")).unwrap();
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("b.yaml", &format!("{}---\n---\n{}", map("b1"), map("b2")));
        write("a.json", r#"{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod"},{"kind":"Node"}]}"#);
        write("c.yml", "a: [");
        write("d.yaml", &map("d"));
        write("d.yaml.skip", "");
        write("notes.txt", "x");
        write(".e.yaml.swp", "x");
        let found = read(&folder).unwrap();
        let told: Vec<String> = found
            .files
            .iter()
            .map(|file| match &file.objects {
                Ok(objects) => {
                    let kinds: Vec<&str> = objects.iter().map(|(object, _)| object.kind()).collect();
                    format!("{}={}", file.name, kinds.join("+"))
                }
                Err(_) => format!("{}=?", file.name),
            })
            .collect();
        assert_eq!(told, ["a.json=Pod+Node", "b.yaml=ConfigMap+ConfigMap", "c.yml=?"]);
        assert!(found.skipped.contains("d.yaml"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(read(&folder).is_err());
    }
}
