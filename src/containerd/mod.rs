//! Floor 1: containerd's gRPC API, spoken directly over its socket.
