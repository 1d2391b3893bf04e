//! The pod loop: one owner, level-triggered.
