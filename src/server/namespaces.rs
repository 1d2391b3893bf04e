//! Namespaces and what is in them. (Being written.)
