//! The program behind a container's output: containerd starts it, CRI log lines come out.
