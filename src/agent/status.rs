//! A pod's status from what was observed. Pure.
