//! Join tokens and node keys. (Being written.)
