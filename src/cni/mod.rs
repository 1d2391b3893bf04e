//! Floor 1: CNI plugins, run as the specification (v1.0.0) says.
