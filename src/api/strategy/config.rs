//! config
use super::Strategy;
/// Rules.
pub struct ConfigMapStrategy;
impl Strategy for ConfigMapStrategy {}
/// Rules.
pub struct SecretStrategy;
impl Strategy for SecretStrategy {}
