//! The agents' links. (Being written.)

/// Placeholder until links are there.
pub struct Links {}
