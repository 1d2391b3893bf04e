//! Objects over the store: uids, revisions, rules, watches. (Being written.)

/// Placeholder until the registry is there.
pub struct Registry {}
