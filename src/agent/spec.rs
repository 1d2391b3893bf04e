//! The OCI runtime specification of a container, from its pod. Pure.
