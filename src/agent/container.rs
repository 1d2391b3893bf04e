//! One container's life: create, start, stop, remove.
