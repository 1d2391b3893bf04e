//! Floor 1: certificates, server and client TLS configurations.
