//! namespace
use super::Strategy;
/// Rules.
pub struct NamespaceStrategy;
impl Strategy for NamespaceStrategy {}
