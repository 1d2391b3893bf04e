//! One table of fields: defaults, validation, list keys.
