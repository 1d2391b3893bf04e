//! node
use super::Strategy;
/// Rules.
pub struct EventStrategy;
impl Strategy for EventStrategy {}
/// Rules.
pub struct LeaseStrategy;
impl Strategy for LeaseStrategy {}
/// Rules.
pub struct NodeStrategy;
impl Strategy for NodeStrategy {}
