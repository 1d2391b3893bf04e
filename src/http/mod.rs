//! Floor 1: HTTP/1.1 server and client over hyper.
