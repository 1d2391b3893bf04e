//! Which containers of a pod to start, stop and remove now.
