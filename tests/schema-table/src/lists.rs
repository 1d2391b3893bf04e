//! How lists and maps merge, in the table's words.

use std::fmt::Write;

use crate::error::Error;
use crate::openapi::{Field, Shape, Strategy, Types};
use crate::protobuf::Markers;
use crate::table::mark;

/// The list type of a field without markers, as far as k8s-openapi tells it.
pub fn of_strategy(types: &Types, field: &Field) -> Result<String, Error> {
    let Shape::List(item) = &field.shape else {
        return Ok(mark(field.strategy == Some(Strategy::Atomic), " atomic").to_owned());
    };
    Ok(match (&field.strategy, &**item) {
        (Some(Strategy::Set), _) => " set".to_owned(),
        (Some(Strategy::Keys(keys)), Shape::Struct(of, name)) => {
            let item = types.read(of, name)?;
            let is_key = |name: &&String| keys.contains(&crate::plain(name));
            let names: Vec<&str> = item.keys().filter(is_key).map(String::as_str).collect();
            format!(" map={}", names.join(","))
        }
        _ => " atomic".to_owned(),
    })
}

/// The two crates must agree on how a list merges.
pub fn check(path: &str, field: &Field, markers: &Markers) -> Result<(), Error> {
    let plain = |keys: Vec<&str>| Strategy::Keys(keys.into_iter().map(crate::plain).collect());
    let merge_key = markers.values("patchMergeKey");
    let is_merged = markers.values("patchStrategy").iter().any(|value| value.contains("merge"));
    let marked = match field.shape {
        Shape::List(_) if is_merged && !merge_key.is_empty() => plain(merge_key),
        Shape::List(_) => match markers.value("listType") {
            Some("map") => plain(markers.values("listMapKey")),
            Some("set") => Strategy::Set,
            _ if is_merged => Strategy::Set,
            _ => Strategy::Atomic,
        },
        Shape::Map(_) if markers.has("mapType=atomic") => Strategy::Atomic,
        Shape::Map(_) => Strategy::Granular,
        _ => return Ok(()),
    };
    if field.strategy.as_ref() == Some(&marked) {
        return Ok(());
    }
    Err(Error::MergeStrategy { field: path.to_owned(), marked, merged: field.strategy.clone() })
}

/// The list type and the patch strategy, as the table writes them.
pub fn of_markers(markers: &Markers) -> String {
    let mut marks = String::new();
    match markers.value("listType") {
        Some("map") => {
            let _ = write!(marks, " map={}", markers.values("listMapKey").join(","));
        }
        Some(other) => {
            let _ = write!(marks, " {other}");
        }
        None => {}
    }
    if markers.has("mapType=atomic") || markers.has("structType=atomic") {
        marks.push_str(" atomic");
    }
    let strategies: Vec<&str> =
        markers.values("patchStrategy").into_iter().flat_map(|value| value.split(',')).collect();
    if strategies.contains(&"merge") {
        marks.push_str(" merge");
        if let Some(key) = markers.value("patchMergeKey") {
            let _ = write!(marks, "={key}");
        }
    }
    marks.push_str(mark(strategies.contains(&"retainKeys"), " retain"));
    marks
}
