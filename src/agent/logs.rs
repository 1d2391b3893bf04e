//! Serves the Log stream from a container's log files.
