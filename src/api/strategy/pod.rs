//! pod
use super::Strategy;
/// Rules.
pub struct PodStrategy;
impl Strategy for PodStrategy {}
