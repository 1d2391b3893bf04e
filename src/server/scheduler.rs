//! Pods without a node get one. (Being written.)
