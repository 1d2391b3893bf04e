//! What the node remembers of a pod's containers: exits, attempts, back-off.
