//! Content negotiation: which of the shapes that a client takes is answered.
//!
//! Answers are JSON. What varies is what the JSON holds: the object itself, a `meta.k8s.io/v1` Table,
//! or metadata alone; the `as`, `g` and `v` parameters of a media type choose it.

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The object or list itself.
    Plain,
    /// `meta.k8s.io/v1` Table: what `kubectl get` prints.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata, or its list for a list.
    Metadata,
    /// `apidiscovery.k8s.io/v2` APIGroupDiscoveryList.
    Discovery,
}

/// The shapes of reads of objects.
pub const READ: &[Shape] = &[Shape::Plain, Shape::Table, Shape::Metadata];
/// The shapes of `/api` and `/apis`.
pub const DISCOVERY: &[Shape] = &[Shape::Plain, Shape::Discovery];
/// JSON as it is.
pub const PLAIN: &[Shape] = &[Shape::Plain];

/// The group and version that Tables and PartialObjectMetadata say they are of, and the older spelling.
pub const META: &str = "meta.k8s.io/v1";
pub const OLD_META: &str = "meta.k8s.io/v1beta1";

/// Picks the first shape in `header` that is in `offered`, in the client's order of preference
/// (`q`, then place), and the version of `meta.k8s.io` for it. An absent or empty header takes anything.
/// `None` is a 406.
pub fn negotiate(header: Option<&str>, offered: &[Shape]) -> Option<(Shape, &'static str)> {
    let header = header.map(str::trim).filter(|text| !text.is_empty());
    let Some(header) = header else { return Some((Shape::Plain, META)) };
    let mut best: Option<(Shape, &'static str, f32)> = None;
    for clause in header.split(',').take(32) {
        let Some((shape, meta, quality)) = parse(clause) else { continue };
        if quality > 0.0 && offered.contains(&shape) && best.is_none_or(|(.., best)| quality > best) {
            best = Some((shape, meta, quality));
        }
    }
    best.map(|(shape, meta, _)| (shape, meta))
}

/// One clause's shape, version of it and quality; `None` when it names something that is never answered.
fn parse(clause: &str) -> Option<(Shape, &'static str, f32)> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    if !matches!(media.as_str(), "application/json" | "application/*" | "*/*") {
        return None;
    }
    let (mut kind, mut group, mut version, mut quality) = ("", "", "", 1.0);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match name.trim() {
            "as" => kind = value,
            "g" => group = value,
            "v" => version = value,
            "q" => quality = value.parse().ok()?,
            // `stream=watch`, `charset=utf-8`, `profile=nopeer`: no choice lies in them.
            _ => {}
        }
    }
    let shape = match (kind, group, version) {
        ("", _, _) => Shape::Plain,
        ("Table", "meta.k8s.io", "v1" | "v1beta1") => Shape::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => {
            Shape::Metadata
        }
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Shape::Discovery,
        _ => return None,
    };
    Some((shape, if version == "v1beta1" { OLD_META } else { META }, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(header: Option<&str>, offered: &[Shape]) -> Option<Shape> {
        super::negotiate(header, offered).map(|(shape, _)| shape)
    }

    #[test]
    fn clients_that_exist() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(negotiate(Some(kubectl), READ), Some(Shape::Table));
        assert_eq!(negotiate(Some(kubectl), PLAIN), Some(Shape::Plain));
        let typed = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(negotiate(Some(typed), READ), Some(Shape::Plain));
        let old =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(negotiate(Some(old), DISCOVERY), Some(Shape::Plain));
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(negotiate(Some(new), DISCOVERY), Some(Shape::Discovery));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                        application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(negotiate(Some(metadata), READ), Some(Shape::Metadata));
    }

    #[test]
    fn old_clients_get_their_version() {
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(super::negotiate(Some(old), READ), Some((Shape::Table, OLD_META)));
        let new = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(super::negotiate(Some(new), READ), Some((Shape::Table, META)));
    }

    #[test]
    fn quality_and_refusal() {
        let preferred = "application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9";
        assert_eq!(negotiate(Some(preferred), READ), Some(Shape::Table));
        assert_eq!(negotiate(Some("text/html, */*;q=0.8"), READ), Some(Shape::Plain));
        assert_eq!(negotiate(Some("application/json;as=Table;v=v9;g=meta.k8s.io"), READ), None);
        assert_eq!(negotiate(Some("application/vnd.kubernetes.protobuf"), READ), None);
        assert_eq!(negotiate(Some("application/json;q=0"), READ), None);
        assert_eq!(negotiate(Some(""), READ), Some(Shape::Plain));
    }
}
