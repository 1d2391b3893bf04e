//! Images: what containerd has, archives in a folder, the pull policy.
