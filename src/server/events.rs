//! Event records. (Being written.)
