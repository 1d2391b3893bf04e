//! Quantities: `500m`, `64Mi`, `1e3`.

use std::fmt;

/// An amount, exact to a billionth.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
}

/// Text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseQuantityError;

impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    }
}
impl std::error::Error for ParseQuantityError {}

impl Quantity {
    pub fn parse(_text: &str) -> Result<Quantity, ParseQuantityError> {
        todo!()
    }
    /// From JSON: a string or a bare number.
    pub fn from_json(_value: &serde_json::Value) -> Result<Quantity, ParseQuantityError> {
        todo!()
    }
    /// Thousandths, rounded up: a CPU's unit.
    pub fn milli(self) -> i64 {
        todo!()
    }
    /// Whole units, rounded up: bytes, pods.
    pub fn value(self) -> i64 {
        todo!()
    }
    pub fn nanos(self) -> i128 {
        self.nanos
    }
}
