//! A pod's sandbox: pinned namespaces and the pod's network.
